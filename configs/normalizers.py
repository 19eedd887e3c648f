"""Every normalizer of the library, in batches of 2 to 128 examples.

Command:  python -m bnresearch.main --config=configs/normalizers.py \\
              --launcher=vectorized
Expected: test accuracy of 94% without a normalizer, 96% to 99% with one; less
          in batches of 128, where the learning rate is too high for many.
Time:     about 1 s a point on two busy CPU cores, compiling included.

After a colon, comma-separated:
  data=digits|mnist|fashion_mnist
  seeds=1                runs seeds 0 ... seeds-1 of each point
  examples=7168          that each run sees, in batches of any size
  sizes=2+8+32+128       batch sizes, joined by +

All runs see equally many examples, so a run with batches of 2 makes 64 times as
many updates as one with batches of 128. The learning rate is proportional to
the batch size (Goyal et al. 2017, 1706.02677). The network is LeNet with ReLUs.
Its two convolutions have the normalizer; its dense layers, which instance
normalization does not suit, have none.
"""

from configs import default

NORMS = (
  'none',
  'affine',
  'batch',
  'batch_renorm',
  'noisy_batch',
  'lp',
  'iterative_whitening',
  'evonorm_b0',
  'switchable',
  'evonorm_s0',
  'filter_response',
  'group',
  'instance',
  'layer',
  'rms',
)
SIZES = (2, 8, 32, 128)
_RATE = 0.05  # at batches of 32, with a momentum of 0.9


def get_config(arg: str = ''):
  """Returns the sweep over normalizers, batch sizes and seeds."""
  chosen = default.parse(
    arg,
    data='digits',
    seeds=1,
    examples=7168,
    sizes='+'.join(map(str, SIZES)),
  )
  config = default.get_config()
  config.data.name = chosen['data']
  config.model.name = 'lenet'
  config.model.stem = 'small'
  config.model.activation = 'relu'
  config.model.initializer = 'kaiming'
  config.norm.channel_groups = 2  # of 6 and 16 channels
  config.optim.momentum = 0.9
  config.optim.schedule = 'cosine'
  sizes = [int(size) for size in chosen['sizes'].split('+')]
  config.sweep = tuple(
    _of_a_size(size, norm, chosen['examples'])
    | {
      'label': f'{norm}-{size}',
      'norm.name': norm,
      'norm.sites': () if norm == 'none' else ('hidden*=none',),
      'seed': seed,
    }
    for seed in range(chosen['seeds'])
    for norm in NORMS
    for size in sizes
  )
  return config


def _of_a_size(size, norm, examples):
  """Returns the knobs that make runs with batches of a size comparable."""
  row = max(1, examples // (8 * size))
  steps = 8 * row
  result = {
    'train.batch_size': size,
    'train.steps': steps,
    'train.log_every': row,
    'eval.every': steps,
    'checkpoint.every': steps,
    'optim.learning_rate': _RATE * size / 32,
    # Running statistics average over as many examples.
    'norm.momentum': 1 - size / 1280,
  }
  if norm == 'batch_renorm':  # as in configs/batch_size.py
    result |= {
      'norm.renorm_start': steps // 16,
      'norm.d_max_at': max(1, 5 * steps // 16),
      'norm.r_max_at': max(1, steps // 2),
    }
  return result
