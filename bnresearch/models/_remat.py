"""What is kept of the way forward for the way back, and what is made again.

Backpropagation needs what layers gave on the way forward. Of a block of them,
only some is kept, and the rest made again from the block's input when its turn
comes, so that there is only one block's at a time (Chen et al. 2016,
1604.06174). Results are the same, and running statistics follow once.
"""

from collections.abc import Callable

import flax.linen as nn
import jax

from bnresearch.statistics.groups import STATISTICS

LINEAR = 'linear'  # the name that convolutions and dense layers give outputs

# By name, what is kept of a block besides its input. Of 'linear', normalizers
# and activations are made again: no multiplication by a kernel, and no
# collective. Of 'blocks', all is.
_KEPT = {'linear': (LINEAR, STATISTICS), 'blocks': ()}
KINDS = ('none', *_KEPT)


def of_a_loop(cls: type[nn.Module], kind: str) -> type[nn.Module]:
  """Returns the class of a loop's body, each turn of which is a block."""
  if kind == 'none':
    return cls
  return nn.remat(cls, policy=policy(kind), prevent_cse=False)


def policy(kind: str) -> Callable[..., bool]:
  """Returns what `jax.checkpoint` keeps, of a kind that is not 'none'."""
  return jax.checkpoint_policies.save_only_these_names(*_KEPT[kind])
