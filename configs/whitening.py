"""Whitening of a network's inputs, or of all its layers, beside BN.

Command:  python -m bnresearch.main --config=configs/whitening.py \\
              --launcher=vectorized
Expected: at the best rates, test accuracy of 97.3% to 98.1%; 96.3% to 97.0%
          with whitened inputs.
Time:     about 2 s a point on two busy CPU cores, compiling included.

After a colon, comma-separated:
  data=digits|mnist|fashion_mnist
  seeds=1                runs seeds 0 ... seeds-1 of each point
  steps=600

The network has three layers of 100 ReLUs, which IterNorm whitens in blocks of
50, or of 10. Each method has the same learning rates; a study may take the one
that suits it.
"""

from configs import default

BLOCK = 64  # channels that IterNorm whitens together, at most: the default
# {name: (data.whitening, norm.name, norm.whitened_channels)}.
METHODS = {
  'none': ('none', 'none', BLOCK),
  'inputs by PCA': ('pca', 'none', BLOCK),
  'inputs by ZCA': ('zca', 'none', BLOCK),
  'BN': ('none', 'batch', BLOCK),
  'BN, inputs by ZCA': ('zca', 'batch', BLOCK),
  'IterNorm': ('none', 'iterative_whitening', BLOCK),
  'IterNorm, blocks of 10': ('none', 'iterative_whitening', 10),
}
RATES = (0.1, 0.3, 1.0)


def get_config(arg: str = ''):
  """Returns the sweep over methods, learning rates and seeds."""
  chosen = default.parse(arg, data='digits', seeds=1, steps=600)
  config = default.get_config()
  config.data.name = chosen['data']
  config.model.activation = 'relu'
  config.model.initializer = 'kaiming'
  config.norm.momentum = 0.9
  config.train.steps = chosen['steps']
  config.train.log_every = 10
  config.eval.every = config.checkpoint.every = chosen['steps']
  config.probes.names = ('channel_correlation',)
  config.probes.every = chosen['steps']
  config.sweep = tuple(
    ({'norm.whitened_channels': block} if block != BLOCK else {})
    | {
      'data.whitening': inputs,
      'norm.name': norm,
      'optim.learning_rate': rate,
      'seed': seed,
    }
    for seed in range(chosen['seeds'])
    for inputs, norm, block in METHODS.values()
    for rate in RATES
  )
  return config
