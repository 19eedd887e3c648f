"""How training goes forward: `advance` by a few steps, from either feed.

`Resident` keeps the training split on the device and gathers its batches
there; `Stream` takes them from the host, where they are made ahead of time.
Both see the same batches.
"""

import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from bnresearch.data import Arrays, Source
from bnresearch.ops import scanning
from bnresearch.training import parallel, stream
from bnresearch.training.order import Order
from bnresearch.training.state import State
from bnresearch.training.step import Metrics, TrainStep
from bnresearch.training.stream import Examples

_IN_FLIGHT = 2  # steps that a stream runs ahead of the device


def is_resident(source: Source, chosen: str = 'auto') -> bool:
  """Returns whether the training split shall live on the device.

  Args:
    source: the training split.
    chosen: 'auto' (if the split is small), 'always' or 'never'.

  Raises:
    ValueError: 'always', but the images differ in size.
  """
  fixed = isinstance(source, Arrays)
  if chosen == 'always' and not fixed:
    raise ValueError(
      "data.on_device = 'always': the images have sizes of their own and are "
      'cropped on the host. Use auto or never.'
    )
  small = fixed and source.images_NHWC.nbytes <= stream.RESIDENT_BYTES
  return chosen == 'always' or (chosen == 'auto' and small)


class Resident:
  """The training split on the device.

  Attributes:
    waited: seconds that the host spent on choosing examples; the device has
      waited no longer.
  """

  def __init__(
    self,
    train_step: TrainStep,
    source: Arrays,
    order: Order,
    state: State,
    scan: str = 'auto',
    length: int = 0,
  ):
    """Puts the split onto the devices of the mesh in use.

    Args:
      train_step: see `step.make_train_step`.
      source: the training split.
      order: which examples make which batch.
      state: for its shapes.
      scan: see `make_advance`.
      length: likewise.
    """
    self._order, self.waited = order, 0.0
    self._split = parallel.shared(Examples(source.images_NHWC, source.labels_N))
    indices_N = np.zeros(order.batch_size, np.int32)
    example = state, self._split, indices_N
    self._call = make_advance(train_step, scan, example, length)

  def advance(
    self, state: State, steps: range, key: jax.Array
  ) -> tuple[State, Metrics]:
    """Makes T steps; returns the new state, and each step's metrics (T,).

    `state` is donated: use the returned one.
    """
    began = time.monotonic()
    indices_TN = self._order.indices(steps)
    self.waited += time.monotonic() - began
    return self._call(state, self._split, indices_TN, key)

  def close(self) -> None:
    """Does nothing: there is nothing to end."""


class Stream:
  """Batches that the host makes while the device computes.

  Attributes:
    waited: seconds that training has waited for data.
  """

  def __init__(
    self,
    train_step: TrainStep,
    batches: Callable[[range, stream.Host], stream.Batches],
    last: int,
  ):
    """Makes nothing yet.

    Args:
      train_step: see `step.make_train_step`.
      batches: makes the batches at given steps, see `stream.training`.
      last: the run's last step.
    """
    self._make, self._last = batches, last
    self._step = jax.jit(train_step, donate_argnums=0)
    self._batches, self._next = None, None
    self.waited = 0.0

  def advance(
    self, state: State, steps: range, key: jax.Array
  ) -> tuple[State, Metrics]:
    """Makes T steps; returns the new state, and each step's metrics (T,).

    `state` is donated: use the returned one.
    """
    if self._next != steps.start:
      self.close()
      host = stream.Host(jax.process_index(), jax.process_count())
      self._batches = self._make(range(steps.start, self._last), host)
    self._next = steps.stop
    rows = []
    for _ in steps:
      began = time.monotonic()
      batch = next(self._batches)
      self.waited += time.monotonic() - began
      state, metrics = self._step(state, parallel.split(batch), key)
      rows.append(metrics)
      if len(rows) > _IN_FLIGHT:  # or else all T batches lie on the device
        rows[-1 - _IN_FLIGHT]['loss'].block_until_ready()
    return state, _stacked(rows)

  def close(self) -> None:
    """Ends the processes that make batches."""
    if self._batches is not None:
      self._batches.close()
      self._batches = None


def _compiled(function, axis):
  return jax.jit(function, donate_argnums=0)


def make_advance(
  train_step: TrainStep,
  scan: str,
  example: tuple[State, Examples, np.ndarray],
  length: int = 0,
  compiled: Callable[[Callable, int], Callable] = _compiled,
) -> Callable[..., tuple[State, Metrics]]:
  """Returns `advance(state, split, indices_TN, key) -> (state, metrics)`.

  It makes T steps, the t-th on the examples `indices_TN[t]` of a split that
  lives on the device, and returns each step's metrics, (T,). `state` is
  donated: use the returned one.

  Args:
    train_step: see `make_train_step`.
    scan: 'always' compiles the T steps into one `lax.scan`, 'never' calls the
      compiled step T times, 'auto' scans unless that is slow, see `scanning`.
    example: a state, a split and the indices of a step, for the shapes.
    length: T of most calls, which alone are scanned: other lengths would be
      compiled one by one. 0 for all.
    compiled: compiles a function of (state, split, indices, key) that donates
      the state. Its second argument is the axis of indices and metrics along
      which several states lie, if there are several.
  """

  def one(state, split, indices_N, key):
    return train_step(state, _batch_at(split, indices_N), key)

  def scanned(state, split, indices_TN, key):
    # All T batches are gathered before the loop: a loop that holds the whole
    # split risks a copy of it in every step.
    return jax.lax.scan(
      lambda state, batch: train_step(state, batch, key),
      state,
      _batch_at(split, indices_TN),
    )

  call_one = compiled(one, 0)

  def called(state, split, indices_TN, key):
    rows = []
    for indices_N in indices_TN:
      state, metrics = call_one(state, split, indices_N, key)
      rows.append(metrics)
    return state, _stacked(rows)

  if scan == 'auto':
    # Asked of the compiled step, which is then traced only once.
    slow = scanning.is_slow(call_one, *example, jax.random.key(0))
    scan = 'never' if slow else 'always'
  if scan == 'never':
    return called
  call_many = compiled(scanned, 1)

  def advance(state, split, indices_TN, key):
    make = call_many if len(indices_TN) == length else called
    return make(state, split, indices_TN, key)

  return advance if length else call_many


def _batch_at(split, indices):
  # Rows of bytes: XLA gathers them six times faster than images.
  N, *image_shape = split.images.shape
  rows = split.images.reshape(N, -1)[indices]
  images = rows.reshape(*indices.shape, *image_shape)
  return Examples(images, split.labels[indices])


def _stacked(rows):
  return jax.tree.map(lambda *column: jnp.stack(column), *rows)
