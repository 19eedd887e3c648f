"""The self-test's cases: every option of batch norm, and a step of each."""

import functools
import types
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from bnresearch import lookup
from bnresearch.models import Layers, lenet, mlp
from bnresearch.training import objective, parallel

SHARE = 8  # examples per device
# Of groups: where only two examples count, some unit has hardly any variance.
# With epsilon = 1e-5, rounding errors would then grow up to 300 times, and as
# much again in the gradient, on one device as on many.
EPSILON = 0.01


class Case(NamedTuple):
  """An option of batch normalization.

  Attributes:
    name: of the row.
    norm: a file of bnresearch/norms.
    options: of the normalizer.
    masked: whether some examples do not count.
    model: the network.
  """

  name: str
  norm: str = 'batch'
  options: Mapping[str, Any] = types.MappingProxyType({})
  masked: bool = False
  model: Any = mlp


def cases(devices: int) -> list[Case]:
  """Returns all cases, with groups smaller and larger than a device's share."""
  sizes = {'half a share': SHARE // 2, 'a share': SHARE}
  sizes |= {'two shares': 2 * SHARE} if devices % 2 == 0 else {}
  whole = {
    'whole batch': {},
    'debiased': {'debias': True},
    'biased': {'running_variance': 'biased'},
    'one-pass variance': {'variance': 'one_pass'},
    'by autodiff': {'backward': 'autodiff'},
    'statistics as constants': {'stop_gradient': True},
    'per activation': {'per_activation': True},
    'frozen statistics': {'frozen_statistics': True},
    'frozen affine': {'frozen_affine': True},
  }
  groups = {
    f'groups of {k}': {'group_size': v, 'epsilon': EPSILON}
    for k, v in sizes.items()
  }
  pooled = {
    f'{k}, pooled': v | {'group_variance': 'pooled'} for k, v in groups.items()
  }
  largest = {'group_size': max(sizes.values())}
  norms = 'batch_renorm', 'noisy_batch', 'lp', 'switchable', 'evonorm_b0'
  return [
    *(Case(k, options=v) for k, v in (whole | groups | pooled).items()),
    *(
      Case(f'{k}, masked', options=v, masked=True)
      for k, v in ({'whole batch': {}} | groups).items()
    ),
    *(Case(norm, norm) for norm in (*norms, 'iterative_whitening')),
    *(Case(f'{norm}, largest groups', norm, largest) for norm in norms),
    *(Case(norm, norm) for norm in ('group', 'layer', 'none')),
    Case('convolutions', model=lenet),
    Case('convolutions, largest groups', options=largest, model=lenet),
  ]


def program(case: Case, backend: str, N: int) -> tuple[Any, ...]:
  """Returns a step of `case`, compiled when it is called, and its arguments.

  The arguments are parameters, collections, N examples and a key.
  """
  cls = lookup.find('norms', case.norm).Norm
  norm = functools.partial(cls, **case.options)
  layers = Layers(norm=lambda site: norm)
  options = {'features': (24, 16)} if case.model is mlp else {}
  model = case.model.Model(10, layers, **options)
  optimizer = optax.sgd(0.1, momentum=0.9)
  batch = _batch(case, N)

  def gradient(params, collections, batch, key):
    x_NHWC, labels_N, mask_N = batch

    def loss_fn(params):
      (logits_NK, _), new = model.apply(
        {'params': params, **collections},
        x_NHWC,
        train=True,
        mask=mask_N if case.masked else None,
        mutable=list(collections),
        rngs={'dropout': key},
      )
      loss_N = objective.cross_entropy(logits_NK, labels_N)
      return jnp.where(mask_N, loss_N, 0).mean(), (loss_N, new)

    grads, (loss_N, new) = jax.grad(loss_fn, has_aux=True)(params)
    return grads, new, loss_N

  @jax.jit
  def make_step(params, collections, batch, key):
    grads, new, loss_N = parallel.distributed(gradient, backend)(
      params, collections, batch, key
    )
    updates, _ = optimizer.update(grads, optimizer.init(params), params)
    return {
      'loss': loss_N,
      'gradients': grads,
      'statistics': new,
      'parameters': optax.apply_updates(params, updates),
    }

  # Not compiled as a whole, so that the cases share what they have in common.
  variables = model.init(jax.random.key(0), batch[0][:1], train=False)
  return make_step, variables.pop('params'), variables, batch, jax.random.key(1)


def _batch(case, N):
  """Returns Gaussian images whose mean is their class's, labels and a mask."""
  random = np.random.RandomState(0)
  side = 28 if case.model is lenet else 6
  labels_N = random.randint(0, 10, N).astype(np.int32)
  mean_N = 1 + labels_N[:, None, None, None] / 5
  x_NHWC = random.normal(mean_N, 1, (N, side, side, 1)).astype(np.float32)
  mask_N = np.arange(N) % 3 > 0 if case.masked else np.ones(N, bool)
  return x_NHWC, labels_N, mask_N
