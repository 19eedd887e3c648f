"""Normalizers of an LSTM, on sequences of fixed and of variable length.

Command:  python -m bnresearch.main --config=configs/recurrent.py
Expected: on Fashion-MNIST, test accuracy of 70% to 85%.
Time:     about 15 s a point on one CPU core.

After a colon, comma-separated:
  data=fashion_mnist     or digits, mnist
  seeds=1                runs seeds 0 ... seeds-1 of each point
  steps=500

An image is read row by row: 28 steps, or up to its last row that is not blank.
Cooijmans et al. 2016, 1603.09025, give each time step statistics of its own,
and begin with a gamma of 0.1; Ba et al. 2016, 1607.06450, normalize by layer.
"""

from configs import default

NETWORKS = {
  'none': {'norm.name': 'none'},
  'separate': {'norm.name': 'batch'},
  'shared': {'norm.name': 'batch', 'model.step_statistics': 'shared'},
  'gamma_1': {'norm.name': 'batch', 'model.recurrent_scale': 1.0},
  'layer': {'norm.name': 'layer', 'model.recurrent_scale': 1.0},
}
SEQUENCES = ('whole', 'until_blank')


def get_config(arg: str = ''):
  """Returns the sweep over sequences, normalizers and seeds."""
  chosen = default.parse(arg, data='fashion_mnist', seeds=1, steps=500)
  config = default.get_config()
  config.data.name = chosen['data']
  # Fashion-MNIST's own. A blank row of zeros has no variance, and layer
  # normalization divides by it.
  config.data.mean, config.data.std = (0.286,), (0.353,)
  config.model.name = 'lstm'
  config.model.units = 32
  config.train.steps = chosen['steps']
  config.optim.name = 'adam'
  config.optim.learning_rate = 0.005
  config.optim.clip_norm = 1.0
  config.train.log_every = max(1, chosen['steps'] // 10)
  config.eval.every = config.train.log_every
  config.checkpoint.every = chosen['steps']
  config.sweep = tuple(
    {**network, 'model.sequence': sequence, 'seed': seed}
    for seed in range(chosen['seeds'])
    for sequence in SEQUENCES
    for name, network in NETWORKS.items()
    if sequence == 'whole' or name != 'gamma_1'
  )
  return config
