"""What is minimized, and what is counted beside it."""

import jax
import optax


def cross_entropy(logits_NK: jax.Array, labels_N: jax.Array) -> jax.Array:
  """Returns each example's softmax cross-entropy (N,), in nats."""
  one_hot_NK = jax.nn.one_hot(labels_N, logits_NK.shape[-1])
  return optax.softmax_cross_entropy(logits_NK, one_hot_NK)


def correct(logits_NK: jax.Array, labels_N: jax.Array) -> jax.Array:
  """Returns whether each example's largest logit is its label's (N,)."""
  return logits_NK.argmax(-1) == labels_N
