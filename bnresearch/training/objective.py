"""The loss that is minimized, and the accuracies beside it."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from bnresearch.models import AUXILIARY

Passes = tuple[tuple[float, ...], ...]


def cross_entropy(logits_NK: jax.Array, targets: jax.Array) -> jax.Array:
  """Returns each example's softmax cross-entropy (N,), in nats.

  The targets are labels (N,), or probabilities (N, K).
  """
  if targets.ndim == 1:
    targets = jax.nn.one_hot(targets, logits_NK.shape[-1])
  return optax.softmax_cross_entropy(logits_NK, targets)


def correct(logits_NK: jax.Array, labels_N: jax.Array) -> jax.Array:
  """Returns whether each example's largest logit is its label's (N,)."""
  return logits_NK.argmax(-1) == labels_N


def in_top5(logits_NK: jax.Array, labels_N: jax.Array) -> jax.Array:
  """Returns whether each label's logit is among the five largest (N,).

  Among equal logits the first comes first, and NaN comes before all numbers,
  as in `correct`.
  """
  own_N1 = jnp.take_along_axis(logits_NK, labels_N[:, None], axis=1)
  places_K = jnp.arange(logits_NK.shape[-1])
  behind_NK = (logits_NK == own_N1) & (places_K[None] >= labels_N[:, None])
  ahead_NK = ~(logits_NK < own_N1) & ~behind_NK
  return ahead_NK.sum(-1) < 5


def heads(logits: jax.Array, taps: dict[str, jax.Array]) -> list[jax.Array]:
  """Returns the logits (N, K) of all heads: the network's, the auxiliary ones.

  The auxiliary ones are in order from bottom to top.
  """
  names = sorted(name for name in taps if name.startswith(AUXILIARY))
  return [of_examples(logits), *(taps[name] for name in names)]


def of_examples(logits: jax.Array) -> jax.Array:
  """Returns (N, K): logits of a map (N, h, w, K) are averaged over it."""
  return logits.mean((1, 2)) if logits.ndim == 4 else logits


def count_heads(model: nn.Module, image_shape: tuple[int, int, int]) -> int:
  """Returns how many heads a network has, without running it."""

  def of_one(x):
    outputs, _ = model.init_with_output(jax.random.key(0), x, train=False)
    return heads(*outputs)

  x = jax.ShapeDtypeStruct((1, *image_shape), np.float32)
  return len(jax.eval_shape(of_one, x))


def passes(
  count: int,
  auxiliary: str,
  auxiliary_weight: float,
) -> Passes:
  """Returns the passes of one step: each has a weight for every head's loss.

  Args:
    count: of the heads, see `heads`.
    auxiliary: 'none', one pass, of the network's own loss; 'weighted', one
      pass, which adds `auxiliary_weight` times the loss of each auxiliary head
      (Szegedy et al. 2014, 1409.4842); 'alternating', a pass for each head,
      from the lowest one up to the network's own; 'alternating_whole', the
      same, but the network's own first. See also `is_cut`.
    auxiliary_weight: see above.
  """
  rest = count - 1
  if auxiliary.startswith('alternating'):
    own, *above = range(count)
    order = [*above, own] if is_cut(auxiliary) else [own, *above]
    return tuple(
      tuple(float(head == of) for head in range(count)) for of in order
    )
  return (
    (1.0, *[auxiliary_weight if auxiliary == 'weighted' else 0.0] * rest),
  )


def is_cut(auxiliary: str) -> bool:
  """Returns whether each pass goes only up to its head, see `passes`.

  If not, 'alternating_whole', each goes through the whole network, all of whose
  running statistics follow.
  """
  return auxiliary == 'alternating'


def weighted_loss(
  heads: list[jax.Array], targets: jax.Array, weights: tuple[float, ...]
) -> jax.Array:
  """Returns the heads' mean cross-entropies, weighted and added, in nats.

  Heads past the last weight do not count. For the targets see `cross_entropy`.
  """
  return sum(
    weight * cross_entropy(logits_NK, targets).mean()
    for logits_NK, weight in zip(heads, weights)
    if weight
  )
