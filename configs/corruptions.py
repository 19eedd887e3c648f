"""A small CNN with BN, trained on clean images.

Command:  python -m bnresearch.main --config=configs/corruptions.py
Expected: on Fashion-MNIST, test accuracy of about 90%.
Time:     about 30 s a point on one CPU core.

After a colon, comma-separated:
  data=fashion_mnist     or digits, mnist
  seeds=1                runs seeds 0 ... seeds-1
  steps=2000

For `experiments/schneider2020_corruptions`, which corrupts the test images.
"""

from configs import default


def get_config(arg: str = ''):
  """Returns the sweep over seeds."""
  chosen = default.parse(arg, data='fashion_mnist', seeds=1, steps=2000)
  config = default.get_config()
  config.data.name = chosen['data']
  config.model.name = 'lenet'
  config.model.activation = 'relu'
  config.model.initializer = 'kaiming'
  config.train.steps = chosen['steps']
  config.optim.learning_rate = 0.05
  config.optim.momentum = 0.9
  config.optim.schedule = 'cosine'
  config.eval.every = 1000
  config.sweep = tuple({'seed': seed} for seed in range(chosen['seeds']))
  return config
