"""The largest learning rate and the worst initialization that still train.

Command:  python -m bnresearch.main --config=configs/learning_rate_tolerance.py
          with --launcher=vectorized
Expected: with BN, 91 to 95% at every rate up to 30, from every deviation;
          without a normalizer, more than 90% only at rates of 0.03 to 3, from
          large deviations.
Time:     about 2 minutes for the 162 points on two busy CPU cores.

After a colon, comma-separated:
  data=digits|mnist|fashion_mnist
  seeds=1                runs seeds 0 ... seeds-1 of each point
  steps=2000
  rates=9                learning rates, each 10**0.5 times the one before
  stds=6                 deviations of the initial weights, likewise

The network is Figure 1's. Of these normalizers, only BN was made for its
sigmoids. The rates go beyond the paper's, to see where each normalizer fails.
"""

from configs import default

NORMS = ('none', 'batch', 'layer')
RATES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
STDS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3)


def get_config(arg: str = ''):
  """Returns the sweep over norms, learning rates, initializations, seeds."""
  chosen = default.parse(
    arg,
    data='digits',
    seeds=1,
    steps=2000,
    rates=len(RATES),
    stds=len(STDS),
  )
  for key, all_of_them in (('rates', RATES), ('stds', STDS)):
    if chosen[key] > len(all_of_them):
      raise ValueError(
        f'{key}={chosen[key]} after the colon: there are {len(all_of_them)}.'
      )
  config = default.get_config()
  config.data.name = chosen['data']
  config.data.binarize = True
  config.norm.momentum = 0.9  # forgets the initial statistics in 100 steps
  config.train.steps = chosen['steps']
  config.eval.every = chosen['steps']
  config.checkpoint.every = chosen['steps']
  config.sweep = tuple(
    {
      'norm.name': norm,
      'optim.learning_rate': rate,
      'model.init_std': std,
      'seed': seed,
    }
    for norm in NORMS
    for rate in RATES[: chosen['rates']]
    for std in STDS[: chosen['stds']]
    for seed in range(chosen['seeds'])
  )
  return config
