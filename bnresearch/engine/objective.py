"""What is minimized, and what is counted beside it."""

import jax
import optax

from bnresearch.models import AUXILIARY

Passes = tuple[tuple[float, ...], ...]


def cross_entropy(logits_NK: jax.Array, labels_N: jax.Array) -> jax.Array:
  """Returns each example's softmax cross-entropy (N,), in nats."""
  one_hot_NK = jax.nn.one_hot(labels_N, logits_NK.shape[-1])
  return optax.softmax_cross_entropy(logits_NK, one_hot_NK)


def correct(logits_NK: jax.Array, labels_N: jax.Array) -> jax.Array:
  """Returns whether each example's largest logit is its label's (N,)."""
  return logits_NK.argmax(-1) == labels_N


def heads(logits_NK: jax.Array, taps: dict[str, jax.Array]) -> list[jax.Array]:
  """Returns the logits (N, K) of all heads: the network's, the auxiliary ones.

  The auxiliary ones come from the bottom to the top.
  """
  names = sorted(name for name in taps if name.startswith(AUXILIARY))
  return [logits_NK, *(taps[name] for name in names)]


def passes(count: int, auxiliary: str, auxiliary_weight: float) -> Passes:
  """Returns the passes of one step: in each, what each head's loss weighs.

  Args:
    count: of the heads, see `heads`.
    auxiliary: 'none', one pass, of the network's own loss; 'weighted', one
      pass, of it and `auxiliary_weight` times the loss of each auxiliary head
      (Szegedy et al. 2014, 1409.4842); 'alternating', a pass for each head,
      the network's own first.
    auxiliary_weight: see above.
  """
  rest = count - 1
  if auxiliary == 'alternating':
    return tuple(
      tuple(float(head == of) for head in range(count)) for of in range(count)
    )
  return (
    (1.0, *[auxiliary_weight if auxiliary == 'weighted' else 0.0] * rest),
  )


def weighted_loss(
  heads: list[jax.Array], labels_N: jax.Array, weights: tuple[float, ...]
) -> jax.Array:
  """Returns the heads' mean cross-entropies, weighted and added, in nats.

  The heads past the last weight count nothing.
  """
  return sum(
    weight * cross_entropy(logits_NK, labels_N).mean()
    for logits_NK, weight in zip(heads, weights)
    if weight
  )
