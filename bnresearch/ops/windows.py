"""Windows that slide over a map, as slices of it: one for each tap.

What convolution and pooling have in common. A tap is a place in the window; its
slice is what all windows have there, so that one works tap by tap. On a CPU,
XLA makes one vectorized loop of a sum of slices, but takes the windows
themselves number by number.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

Pair = tuple[int, int]
Padding = str | Sequence[tuple[int, int]]

FEW_TAPS = 9


class Windows(NamedTuple):
  """Where the windows are on a map.

  Attributes:
    size: of the map, (height, width).
    window: its own size.
    strides: from a window to the next.
    pads: (before, after) of both axes.
  """

  size: Pair
  window: Pair
  strides: Pair
  pads: tuple[Pair, Pair]

  @property
  def out(self) -> Pair:
    """How many windows there are, (height, width)."""
    return tuple(
      (n + sum(pads) - k) // s + 1
      for n, k, s, pads in zip(self.size, self.window, self.strides, self.pads)
    )

  @property
  def taps(self) -> Iterator[Pair]:
    """The places in a window, row by row."""
    return itertools.product(*map(range, self.window))

  def padded(self, x_NHWC: jax.Array, value: float = 0) -> jax.Array:
    """Returns the map with its padding."""
    return _pad(x_NHWC, self.pads, value)

  def slices(
    self, x_NHWC: jax.Array, value: float = 0, *, copy: bool = False
  ) -> Iterator[tuple[Pair, jax.Array]]:
    """Yields each tap, and what the windows have there.

    Args:
      x_NHWC: the map.
      value: of its padding.
      copy: whether the slices are surely of one copy of the map with padding,
        which is faster where each is more than added to the others. If not, a
        few slices between strides have a padding of their own each: they are
        small, and so it is faster.

    Yields:
      The tap, (N, h, w, C).
    """
    few = math.prod(self.window) <= FEW_TAPS and max(self.strides) > 1
    where = self
    if copy or not few:
      size = tuple(n + sum(pads) for n, pads in zip(self.size, self.pads))
      where = self._replace(size=size, pads=((0, 0), (0, 0)))
      x_NHWC = self.padded(x_NHWC, value)
    for tap in self.taps:
      yield tap, where._slice(x_NHWC, tap, value)

  def _slice(self, x_NHWC, tap, value):
    N, _, _, C = x_NHWC.shape
    first, last = zip(
      *map(_within, tap, self.size, self.strides, self.pads, self.out)
    )
    if first[0] > last[0] or first[1] > last[1]:
      return jnp.full((N, *self.out, C), value, x_NHWC.dtype)
    begin, end = (
      [
        a * s + i - before
        for a, s, i, (before, _) in zip(windows, self.strides, tap, self.pads)
      ]
      for windows in (first, last)
    )
    end = N, end[0] + 1, end[1] + 1, C
    there = lax.slice(x_NHWC, (0, *begin, 0), end, (1, *self.strides, 1))
    margins = [(a, h - 1 - b) for a, b, h in zip(first, last, self.out)]
    return _pad(there, margins, value)

  def gather(
    self, term: Callable[..., jax.Array], *values: tuple[jax.Array, float]
  ) -> jax.Array:
    """Returns for each pixel the sum of what its windows have for it.

    The transpose of a sum of slices. Pixels that lie alike between the strides
    meet the same taps, each of them in a shifted slice of the windows.

    Args:
      term: from a tap, and `values` at its windows, to what is summed.
      *values: (N, h, w, C) of the windows, and of those that are missing.

    Returns:
      (N, H, W, C).
    """
    rows, columns = map(
      _axis, self.size, self.window, self.strides, self.pads, self.out
    )
    margins = rows.margins, columns.margins
    values = [_pad(value, margins, fill) for value, fill in values]
    N, _, _, C = values[0].shape

    def phase(row, column):
      total = None
      for (i, top), (j, left) in itertools.product(row, column):
        stop = N, top + rows.count, left + columns.count, C
        there = [lax.slice(value, (0, top, left, 0), stop) for value in values]
        added = term((i, j), *there)
        total = added if total is None else total + added
      return total

    phases = [[phase(r, c) for c in columns.phases] for r in rows.phases]
    some = next(p for row in phases for p in row if p is not None)
    nothing = jnp.zeros_like(some)  # strides may step over pixels
    phases = [[nothing if p is None else p for p in row] for row in phases]
    H, W = self.size
    return _interleaved(phases)[:, :H, :W]


def of(
  shape: Sequence[int],
  window: Sequence[int],
  strides: Sequence[int],
  padding: Padding,
) -> Windows | None:
  """Returns the windows on maps (N, H, W, C).

  None if there is none on them, or if padding is negative and cuts.
  """
  size, window, strides = tuple(shape[1:3]), tuple(window), tuple(strides)
  if isinstance(padding, str):
    padding = lax.padtype_to_pads(size, window, strides, padding)
  pads = tuple((int(before), int(after)) for before, after in padding)
  windows = Windows(size, window, strides, pads)
  cuts = min(sum(pads, ())) < 0
  return None if cuts or min(*windows.out, *shape) < 1 else windows


def wide(x: jax.Array) -> jax.Array:
  """Returns `x` in the dtype in which it is summed, at least float32."""
  return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def _within(i, n, s, pads, windows):
  """Returns the first and the last window that has tap `i` on the map."""
  first = -(-(pads[0] - i) // s)
  last = (n - 1 + pads[0] - i) // s
  return max(0, first), min(windows - 1, last)


class _Axis(NamedTuple):
  """The pixels of an axis, by where they lie between the strides.

  `phases` has the taps that meet the pixels `phase + s * k`, each with where
  its slice of `count` windows begins, once they have more before and after.
  """

  phases: list[list[Pair]]
  count: int
  margins: Pair


def _axis(n, k, s, pads, windows):
  count = -(-n // s)
  shifts = [
    {
      i: (phase + pads[0] - i) // s
      for i in range(k)
      if (phase + pads[0] - i) % s == 0
    }
    for phase in range(s)
  ]
  ends = [shift for phase in shifts for shift in phase.values()]
  before, after = max(0, -min(ends)), max(0, max(ends) + count - windows)
  phases = [[(i, a + before) for i, a in phase.items()] for phase in shifts]
  return _Axis(phases, count, (before, after))


def _interleaved(phases):
  """Returns the map whose pixels are, in turns, those of `phases`."""
  s, t = len(phases), len(phases[0])
  N, h, w, C = phases[0][0].shape
  map_NhswtC = jnp.stack([jnp.stack(row, 3) for row in phases], 2)
  return map_NhswtC.reshape(N, h * s, w * t, C)


def _pad(x_NHWC, pads, value):
  widths = [(0, 0, 0), *((*pair, 0) for pair in pads), (0, 0, 0)]
  return lax.pad(x_NHWC, jnp.asarray(value, x_NHWC.dtype), widths)
