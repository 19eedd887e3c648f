"""What is kept of the way forward for the way back, and what is made again.

Backpropagation needs what layers gave on the way forward. Of a block of layers
only some is kept. The rest is made again from the block's input when its turn
comes, so that memory holds one block's at a time (Chen et al. 2016,
1604.06174). Results are the same, and running statistics follow once.
"""

from collections.abc import Callable

import flax.linen as nn
import jax

from bnresearch.statistics.groups import STATISTICS

LINEAR = 'linear'  # the name that convolutions and dense layers give outputs

# By name, what is kept of a block besides its input. 'linear' makes normalizers
# and activations again, but no product with a kernel and no collective;
# 'blocks' makes all again.
_KEPT = {'linear': (LINEAR, STATISTICS), 'blocks': ()}
KINDS = ('none', *_KEPT)


def of_a_loop(cls: type[nn.Module], kind: str) -> type[nn.Module]:
  """Returns the class of a loop's body, with each turn as a block."""
  if kind == 'none':
    return cls
  return nn.remat(cls, policy=policy(kind), prevent_cse=False)


def policy(kind: str) -> Callable[..., bool]:
  """Returns what `jax.checkpoint` keeps, of a kind that is not 'none'."""
  return jax.checkpoint_policies.save_only_these_names(*_KEPT[kind])
