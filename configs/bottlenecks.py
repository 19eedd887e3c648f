"""MobileNetV2's units: expansion, and what ends them. Sandler et al. 2018.

Command:  python -m bnresearch.main --config=configs/bottlenecks.py
Expected: on Fashion-MNIST, test accuracy of 80% to 88%.
Time:     about 15 s a point on one CPU core.

After a colon, comma-separated:
  data=fashion_mnist     or digits, mnist
  seeds=1                runs seeds 0 ... seeds-1 of each point
  steps=400
  points=all             or activations: ReLU6 and ReLU, expansion 6

Three stages of a small network, each of its units widened by 1 to 10 and
narrowed by a 1x1 with ReLU6 or without; with the published expansion of 6 also
ReLU in place of ReLU6.
"""

from configs import default

PUBLISHED = 6
EXPANSIONS = (1, 3, PUBLISHED, 10)


def get_config(arg: str = ''):
  """Returns the sweep over expansions, projections, activations and seeds."""
  chosen = default.parse(
    arg, data='fashion_mnist', seeds=1, steps=400, points='all'
  )
  if chosen['points'] not in ('all', 'activations'):
    raise ValueError(
      f'points={chosen["points"]} after the colon: needs all or activations.'
    )
  config = default.get_config()
  config.data.name = chosen['data']
  config.model.name = 'mobilenet_v2'
  config.model.blocks = (1, 2, 2)
  config.model.width = 0.35
  config.model.min_width = 8
  config.model.dropout_rate = 0.0
  config.train.steps = chosen['steps']
  config.optim.learning_rate = 0.05
  config.optim.momentum = 0.9
  config.optim.schedule = 'cosine'
  config.eval.every = chosen['steps']
  config.checkpoint.every = chosen['steps']
  points = {
    'all': [
      {'model.expansion': expansion, 'model.linear_projection': linear}
      for expansion in EXPANSIONS
      for linear in (True, False)
    ],
    'activations': [
      {
        'model.expansion': PUBLISHED,
        'model.linear_projection': True,
        **activation,
      }
      for activation in ({}, {'model.activation': 'relu'})
    ],
  }
  config.sweep = tuple(
    {**point, 'seed': seed}
    for seed in range(chosen['seeds'])
    for point in points[chosen['points']]
  )
  return config
