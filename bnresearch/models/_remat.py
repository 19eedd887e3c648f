"""What the forward pass keeps for the backward pass; the rest is recomputed.

Backpropagation needs the layers' outputs. A block of layers keeps only some of
them. The backward pass recomputes the others from the block's input, so memory
holds those of one block at a time (Chen et al. 2016, 1604.06174). Results are
the same, and running statistics are updated once.
"""

from collections.abc import Callable

import flax.linen as nn
import jax

from bnresearch.statistics.groups import STATISTICS

LINEAR = 'linear'  # names the outputs of convolutions and dense layers

# What a block keeps besides its input. 'linear' recomputes normalizers and
# activations, but no product with a kernel and no collective; 'blocks'
# recomputes everything.
_KEPT = {'linear': (LINEAR, STATISTICS), 'blocks': ()}
KINDS = ('none', *_KEPT)


def of_a_loop(cls: type[nn.Module], kind: str) -> type[nn.Module]:
  """Returns the class of a loop's body, with each iteration as a block."""
  if kind == 'none':
    return cls
  return nn.remat(cls, policy=policy(kind), prevent_cse=False)


def policy(kind: str) -> Callable[..., bool]:
  """Returns the `jax.checkpoint` policy of a kind other than 'none'."""
  return jax.checkpoint_policies.save_only_these_names(*_KEPT[kind])
