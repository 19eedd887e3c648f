"""Section 3 of Ioffe & Szegedy 2015: BN with and without gamma and beta.

Command:  python -m bnresearch.main --config=configs/affine.py
Expected: about the same test accuracy with and without; see
          experiments/affine.py for what the sigmoids get.
Time:     about 15 s a point on one CPU core.

After a colon, comma-separated:
  data=digits|mnist|fashion_mnist
  seeds=1                runs seeds 0 ... seeds-1 of each point
  steps=50000

The network is Figure 1's, from the easy start.
"""

from configs import default

AFFINE = (True, False)


def get_config(arg: str = ''):
  """Returns the sweep over scale and bias, and seeds."""
  chosen = default.parse(arg, data='digits', seeds=1, steps=50_000)
  config = default.get_config()
  config.data.name = chosen['data']
  config.data.binarize = True
  config.model.init_std = 0.1
  config.train.steps = chosen['steps']
  config.train.log_every = 500
  config.probes.names = ('affine', 'saturation')
  config.sweep = tuple(
    {'norm.use_scale': affine, 'norm.use_bias': affine, 'seed': seed}
    for seed in range(chosen['seeds'])
    for affine in AFFINE
  )
  return config
