"""A normalizer that is checked: inputs, variables, compiled passes."""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

SHAPES = ((16, 6), (16, 3, 5, 6))
# Unequal counts: of eight devices [2 2 1 2 0 2 0 1], of four [4 3 2 1].
MASK = np.arange(16) % 5 < 2 + 2 * (np.arange(16) < 8)


def gaussian(shape: Sequence[int], seed: int = 0) -> jax.Array:
  """Returns data whose channels and examples have means of their own.

  On constant or centred data, most bugs of a normalizer do not show.

  Args:
    shape: (N, ..., C).
    seed: of the random numbers.
  """
  random = np.random.RandomState(seed)
  mean_C = random.normal(2, 3, shape[-1])
  label_N = np.arange(shape[0]) % 4
  offset = random.normal(0, 2, (4, shape[-1]))[label_N]
  middle = (1,) * (len(shape) - 2)
  offset = offset.reshape(shape[0], *middle, shape[-1])
  x = random.normal(mean_C.reshape(1, *middle, -1) + offset, 1.5, shape)
  return jnp.asarray(x, jnp.float32)


def states(variables: Any) -> tuple[str, ...]:
  """Returns the names of the collections that are not parameters."""
  return tuple(name for name in variables if name != 'params')


def training_pass(
  norm: nn.Module, variables: Any, x: jax.Array, mask: Any = None
) -> tuple[jax.Array, Any, Any]:
  """Returns output, new collections, and gradients of a scalar, in training.

  The scalar weighs every output that counts differently: the plain sum of a
  normalized batch is constant, and its gradient zero.

  Args:
    norm: the normalizer.
    variables: its own.
    x: (N, ..., C).
    mask: (N,) bool, or None.
  """

  def scalar(params, x):
    y, new = norm.apply(
      {**variables, 'params': params},
      x,
      train=True,
      mask=mask,
      mutable=states(variables),
    )
    weights = jnp.sin(jnp.arange(y.size, dtype=jnp.float32)).reshape(y.shape)
    counted = y
    if mask is not None:
      counted = jnp.where(mask.reshape(-1, *(1,) * (y.ndim - 1)), y, 0)
    return (counted * weights).sum(), (y, new)

  params = variables.get('params', {})
  gradient = jax.grad(scalar, argnums=(0, 1), has_aux=True)
  gradients, (y, new) = gradient(params, x)
  return y, new, gradients


def over_devices(
  devices: Sequence[jax.Device], variables: Any, x: Any, mask: Any
) -> tuple[Any, Any, Any]:
  """Returns them on a mesh: examples split, variables on every device."""
  mesh = jax.make_mesh(
    (len(devices),),
    ('data',),
    axis_types=(jax.sharding.AxisType.Auto,),
    devices=devices,
  )
  variables = jax.device_put(variables, jax.NamedSharding(mesh, jax.P()))
  x, mask = jax.device_put((x, mask), jax.NamedSharding(mesh, jax.P('data')))
  return variables, x, mask


class Case(NamedTuple):
  """An input, and a normalizer's variables after an update on it."""

  x: jax.Array
  variables: Any


class Subject:
  """A normalizer, and what is compiled of it once for all promises.

  Attributes:
    norm: the module.
    trains: `training_pass`, compiled.
    shapes: those of `SHAPES` that it takes.
  """

  def __init__(self, norm: nn.Module):
    self.norm = norm
    self.trains = jax.jit(functools.partial(training_pass, norm))
    needy = getattr(norm, 'needs_positions', False)
    self.shapes = [shape for shape in SHAPES if len(shape) > 2 or not needy]
    self.case = functools.cache(self._case)
    self.initial = jax.jit(
      functools.partial(norm.init, jax.random.key(0), train=False)
    )
    self._apply = jax.jit(norm.apply, static_argnames=('train', 'mutable'))

  @property
  def cases(self) -> list[Case]:
    """A case of each shape."""
    return [self.case(shape) for shape in self.shapes]

  def apply(
    self, variables: Any, x: Any, train: bool, mutable: Any = False
  ) -> Any:
    """Returns `norm.apply`, compiled."""
    return self._apply(variables, x, train=train, mutable=mutable)

  def _case(self, shape):
    x = gaussian(shape)
    variables = self.initial(x)
    mutable = states(variables)
    _, updated = self.apply(variables, x, True, mutable)
    return Case(x, {**variables, **updated})
