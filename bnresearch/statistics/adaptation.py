"""Batch norms adapted to the examples that they are applied to.

Schneider et al. 2020, 2006.16971: the statistics of training, which count as
N examples, are mixed with those of the n examples at hand,

  mean = N / (N + n) * mean of training + n / (N + n) * mean of the examples

and the same for the variance. With N = 0 only the examples count, which is the
prediction-time batch normalization of Nado et al. 2020, 2006.10963.
"""

import contextlib
from collections.abc import Generator
from typing import Any

import flax.linen as nn
import jax

# How a norm that mixes differs from one that trains: see `population`.
_MIXING: dict[str, Any] = {
  'debias': False,
  'frozen_statistics': False,
  'group_size': 0,
  'running_variance': 'biased',
}


@contextlib.contextmanager
def adapted(prior: float | jax.Array) -> Generator[None]:
  """Lets networks that are applied in the body adapt to their examples.

    with adapted(16):
      logits_NK, taps = model.apply(variables, x_NHWC, train=False)

  Each batch norm mixes its running statistics with those of its input, which
  the layers below have normalized by such mixtures too. A norm of
  `bnresearch.norms` takes part if it has a `momentum`; the others stay as they
  are. No collection changes.

  Args:
    prior: N, how many examples the running statistics count for; 0 or more.
  """
  busy: list[nn.Module] = []

  def adapt(following, args, kwargs, context):
    norm = context.module
    of_batches = context.method_name == '__call__' and hasattr(norm, 'momentum')
    if busy or not of_batches or norm.is_initializing():
      return following(*args, **kwargs)
    busy.append(norm)
    y = _by_mixture(norm, prior, *args, **kwargs)
    busy.remove(norm)
    return y

  with nn.intercept_methods(adapt):
    yield


def _by_mixture(norm, prior, x, *, train, mask=None):
  """Applies a norm by its statistics mixed with those of `x`."""
  del train
  n = x.shape[0] if mask is None else mask.sum()
  options = {key: v for key, v in _MIXING.items() if hasattr(norm, key)}
  mixing = norm.clone(parent=None, momentum=prior / (prior + n), **options)
  variables = norm.variables
  _, mixed = mixing.apply(
    variables, x, train=True, mask=mask, mutable=['batch_stats']
  )
  return mixing.apply({**variables, **mixed}, x, train=False, mask=mask)
