"""Internal covariate shift by gradients. Santurkar et al. 2018, 1805.11604.

Command:  python -m bnresearch.main --config=configs/covariate_shift.py
Expected: at step 1,000 the gradient of the first layer is 40,000 times larger
          with BN, and the shift is larger too; later the order reverses.
Time:     about 20 s a point on one CPU core.

After a colon, comma-separated:
  data=digits|mnist|fashion_mnist
  init=tight|easy|both   initial weights with std 0.01, 0.1, or each
  seeds=1                runs seeds 0 ... seeds-1 of each point
  steps=50000

The networks are those of Figure 1 of the BN paper, probed at steps 1, 2, 5, 10
and so on, and every 500. Santurkar et al. used VGG on CIFAR-10 and a deep
linear network.
"""

from configs import figure1

FIRST = (1, 2, 5, 10, 20, 50, 100, 200)


def get_config(arg: str = ''):
  """Returns the sweep of Figure 1 with probes of gradients."""
  config = figure1.get_config(arg)
  config.probes.names = (
    'gradient_norm',
    'gradient_shift',
    'activation_percentiles',
  )
  config.probes.steps = tuple(s for s in FIRST if s <= config.train.steps)
  return config
