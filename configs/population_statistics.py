"""Running statistics of long and short memory, compared with population ones.

Command:  python -m bnresearch.main --config=configs/population_statistics.py
Expected: training is the same at each point; test accuracies differ early and
          agree late.
Time:     about 3 s a point on one CPU core.

After a colon, comma-separated:
  data=digits|mnist|fashion_mnist
  seeds=1                runs seeds 0 ... seeds-1 of each point
  steps=3200             a multiple of 100

Keeps a checkpoint every 100 steps, for `experiments/population_statistics`.
"""

from configs import default

EVERY = 100
# (momentum, debias)
AVERAGES = ((0.9, False), (0.99, False), (0.999, False), (0.999, True))


def get_config(arg: str = ''):
  """Returns the sweep over memories of the running statistics, and seeds."""
  chosen = default.parse(arg, data='digits', seeds=1, steps=3200)
  config = default.get_config()
  config.data.name = chosen['data']
  config.train.steps = chosen['steps']
  config.eval.every = EVERY
  config.checkpoint.every = EVERY
  config.checkpoint.keep = max(1, chosen['steps'] // EVERY)
  config.sweep = tuple(
    {'norm.momentum': momentum, 'norm.debias': debias, 'seed': seed}
    for seed in range(chosen['seeds'])
    for momentum, debias in AVERAGES
  )
  return config
