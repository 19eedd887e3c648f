"""How loss and gradient vary along the next update. Santurkar et al. 2018.

1805.11604, section 3.2 and figure 4: the loss, and the gradient's change, at
points [1/2, 4] times the learning rate down the gradient. Here they lie along
the optimizer's own next update, at the learning rate in force: with plain SGD
that is the paper's line, with momentum or Adam it is where training goes.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from bnresearch.probes import NetworkView, _trees

SCALARS = ('loss_range', 'change', 'relative', 'smoothness')
WALKS = True


def measure(
  view: NetworkView, *, step_lengths: Sequence[float]
) -> dict[str, jax.Array]:
  """Returns what L step lengths meet.

  'losses' (L,), in nats; 'changes' (L,), ||G' - G||, in nats per unit. Of
  these, 'loss_range' is the largest loss less the smallest; 'change', the
  largest change: the smaller, the better the gradient predicts;
  'relative', the same over ||G||; 'smoothness', effective beta-smoothness: the
  largest ratio of change to distance, in nats per unit squared. It is NaN if
  the update is zero. It takes L gradients and L losses.

  Args:
    view: of the network.
    step_lengths: in updates.
  """
  losses, changes = [], []
  for length in step_lengths:
    there = _trees.moved(view.params, view.update, length)
    losses.append(view.loss_at(there))
    change = _trees.moved(view.gradient_at(there), view.gradient, -1)
    changes.append(_trees.norm(change))
  far = _trees.norm(view.update)
  return _numbers(
    losses, changes, step_lengths, far, _trees.norm(view.gradient)
  )


@jax.jit
def _numbers(losses, changes, step_lengths, far, norm):
  losses, changes = jnp.stack(losses), jnp.stack(changes)
  return {
    'losses': losses,
    'changes': changes,
    'loss_range': losses.max() - losses.min(),
    'change': changes.max(),
    'relative': changes.max() / norm,
    'smoothness': (changes / (jnp.stack(step_lengths) * far)).max(),
  }
