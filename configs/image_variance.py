"""The variance of BN: of all values, or the mean of the images' variances.

Command:  python -m bnresearch.main --config=configs/image_variance.py \\
              --launcher=vectorized
Expected: test accuracy of 98.7% whatever the variance.
Time:     about 7 s a point on two busy CPU cores, compiling included.

After a colon, comma-separated:
  data=digits|mnist|fashion_mnist
  seeds=1                runs seeds 0 ... seeds-1 of each point
  steps=2000

The network is LeNet with tanh. Its two convolutions have BN; its dense layers,
where an image has one value a unit and so no variance, have none.
"""

from configs import default

VARIANCES = ('two_pass', 'per_image')


def get_config(arg: str = ''):
  """Returns the sweep over variances, with gamma and without, and seeds."""
  chosen = default.parse(arg, data='digits', seeds=1, steps=2000)
  config = default.get_config()
  config.data.name = chosen['data']
  config.model.name = 'lenet'
  config.model.stem = 'small'
  config.norm.sites = ('hidden*=none',)
  config.norm.momentum = 0.9
  config.train.steps = chosen['steps']
  config.eval.every = config.checkpoint.every = chosen['steps']
  config.sweep = tuple(
    {'norm.variance': variance, 'norm.use_scale': scale, 'seed': seed}
    for seed in range(chosen['seeds'])
    for variance in VARIANCES
    for scale in (True, False)
  )
  return config
