"""Dropout and L2, with and without BN: does BN replace them?

Command:  python -m bnresearch.main --config=configs/regularization.py \\
              --launcher=vectorized
Expected: on Fashion-MNIST, test accuracy of 86.6 to 90.2% without BN and 88.4
          to 90.6% with it; dropout lowers it; L2 raises it with BN.
Time:     7 minutes a seed on two cores of an AMD EPYC.

After a colon, comma-separated:
  data=fashion_mnist     or mnist, digits, cifar10, ...
  seeds=1                runs seeds 0 ... seeds-1 of each point
  steps=20000            20 epochs of 60,000 images: enough to overfit

The network has three hidden layers of 300 ReLUs, each with dropout. Optimizer
and learning rate are the same for all points.
"""

from configs import default

DROPOUT = (0.0, 0.2, 0.5)  # rates
L2 = (0.0, 1e-4, 5e-4)  # the last two differ by the paper's factor of 5


def get_config(arg: str = ''):
  """Returns the sweep over norms, dropout rates, L2 weights and seeds."""
  chosen = default.parse(arg, data='fashion_mnist', seeds=1, steps=20_000)
  config = default.get_config()
  config.data.name = chosen['data']
  config.model.features = (300, 300, 300)
  config.model.activation = 'relu'
  config.model.initializer = 'kaiming'
  config.train.steps = chosen['steps']
  config.optim.learning_rate = 0.02
  config.optim.momentum = 0.9
  config.optim.schedule = 'cosine'
  config.eval.every = 1000
  config.sweep = tuple(
    {
      'norm.name': norm,
      'model.dropout_rate': rate,
      'optim.l2': weight,
      'seed': seed,
    }
    for seed in range(chosen['seeds'])
    for norm in ('none', 'batch')
    for rate in DROPOUT
    for weight in L2
  )
  return config
