"""How few examples BN needs to normalize, and which norms need fewer.

Command:  python -m bnresearch.main --config=configs/batch_size.py
Expected: test accuracy of 98% with BN over four or more examples, 55% over two,
          10% over one.
Time:     1 to 3 s a point on one CPU core.

After a colon, comma-separated:
  data=digits|mnist|fashion_mnist
  seeds=1                runs seeds 0 ... seeds-1 of each point
  steps=2000

Every update sees 128 examples; only the number of examples that share
statistics changes. So gradient noise does not enter the comparison, as it would
if the batch itself shrank. group, layer and none use no groups of examples: one
run a seed. batch_renorm keeps the variance within groups, which a group of one
does not have, so it begins at two.
"""

from configs import default

GROUP_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)
BY_BATCH = ('batch', 'batch_renorm')
BY_EXAMPLE = ('group', 'layer', 'none')


def get_config(arg: str = ''):
  """Returns the sweep over norms, group sizes and seeds."""
  chosen = default.parse(arg, data='digits', seeds=1, steps=2000)
  steps = chosen['steps']
  config = default.get_config()
  config.data.name = chosen['data']
  config.model.activation = 'relu'  # as in the published networks
  # One example has a variance of 0, without an unbiased estimate. Pooled over
  # groups, the running variance is that of all 128, whatever the group size.
  config.norm.group_variance = 'pooled'
  # Ioffe 2017 begins at 5,000 steps and ends at 25,000 and 40,000, a small part
  # of a long run. Here it is 1/16, 5/16 and 1/2 of a short one.
  config.norm.renorm_start = steps // 16
  config.norm.d_max_at = max(1, 5 * steps // 16)
  config.norm.r_max_at = max(1, steps // 2)
  config.train.steps = steps
  config.train.batch_size = 128
  config.sweep = tuple(
    overrides | {'seed': seed}
    for seed in range(chosen['seeds'])
    for overrides in _points()
  )
  return config


def _points():
  return [
    {'norm.name': name, 'norm.group_size': size}
    for name in BY_BATCH
    for size in GROUP_SIZES
    if (name, size) != ('batch_renorm', 1)
  ] + [{'norm.name': name} for name in BY_EXAMPLE]
