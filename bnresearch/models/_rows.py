"""A row of a layer table, such as those of the Inception papers, as data.

  1x1 64 | 1x1 48, 5x5 64 | avg 3x3, 1x1 32

Branches stand side by side, `|`, and are concatenated; the steps of a branch
follow each other, `,`. A step is one of

  3x3 64          a convolution with its normalizer and activation
  3x3/2 V 64      with stride 2, without padding (VALID)
  max 3x3/2 V     pooling, also `avg`
  (1x3 8 | 3x1 8) branches within a branch
"""

import functools
import re
from collections.abc import Iterator
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from bnresearch.models._layers import Conv, pool
from bnresearch.models._network_call import NetworkCall

_STEP = re.compile(
  r'(?:(?P<kind>max|avg) )?(?P<height>N)x(?P<width>N)(?:/(?P<strides>N))?'
  r'(?P<valid> V)?(?: (?P<features>N))?'.replace('N', r'[1-9]\d*')
)


class Step(NamedTuple):
  """A convolution ('conv') or a pooling ('max', 'avg', without features)."""

  kind: str
  window: tuple[int, int]
  strides: int
  padding: str
  features: int


Branch = tuple['Step | Branches', ...]
Branches = tuple[Branch, ...]


@functools.cache
def parse(row: str | Branches) -> Branches:
  """Returns the branches of a row; if it has been parsed, the row itself.

  Raises:
    ValueError: it is none; the message has the step at fault.
  """
  if not isinstance(row, str):
    return row
  return tuple(
    tuple(
      parse(step[1:-1]) if step.startswith('(') else _step(step)
      for step in _split(branch, ',')
    )
    for branch in _split(row, '|')
  )


def _split(text, separator):
  """Splits at the separators that are in no parentheses."""
  parts, depth = [''], 0
  for character in text:
    depth += (character == '(') - (character == ')')
    if depth < 0:
      break
    if character == separator and depth == 0:
      parts.append('')
    else:
      parts[-1] += character
  if depth:
    raise ValueError(
      f"{text!r}: its parentheses do not match. Write '(1x3 8 | 3x1 8)'."
    )
  return [' '.join(part.split()) for part in parts]


def _step(text):
  match = _STEP.fullmatch(text)
  if not match or (match['kind'] is None) != (match['features'] is not None):
    raise ValueError(
      f"{text!r}: no step of a row. Write '3x3/2 V 64' or 'max 3x3/2 V'."
    )
  return Step(
    kind=match['kind'] or 'conv',
    window=(int(match['height']), int(match['width'])),
    strides=int(match['strides'] or 1),
    padding='VALID' if match['valid'] else 'SAME',
    features=int(match['features'] or 0),
  )


def convolutions(
  row: str | Branches, prefix: str = ''
) -> Iterator[tuple[str, Step]]:
  """Yields each convolution's path inside of a `Row`, and itself, in order."""
  branches = parse(row)
  for k, branch in enumerate(branches, start=1):
    inside = f'{prefix}branch_{k}/' if len(branches) > 1 else prefix
    for n, step in enumerate(branch, start=1):
      if not isinstance(step, Step):
        yield from convolutions(step, f'{inside}split_{n}/')
      elif step.kind == 'conv':
        yield f'{inside}conv_{n}', step


def unstrided(row: str | Branches) -> Branches:
  """Returns a row that keeps the size of its maps, for small images.

  Strides are 1, and all is padded. A pooling that has strides becomes one of
  single pixels, which is nothing, so that convolutions keep their names.
  """

  def change(step):
    if not isinstance(step, Step):
      return unstrided(step)
    if step.kind != 'conv' and step.strides > 1:
      step = step._replace(window=(1, 1))
    return step._replace(strides=1, padding='SAME')

  return tuple(tuple(map(change, branch)) for branch in parse(row))


class Row(nn.Module):
  """The layers of a row.

  The n-th step of a branch is named `conv_n`, or `split_n` where it branches,
  inside of `branch_k`; a row of one branch has its steps directly.

  Attributes:
    row: a text, see above, or what `parse` makes of it.
  """

  row: str | Branches

  @nn.compact
  def __call__(self, x_NHWC: jax.Array, call: NetworkCall) -> jax.Array:
    """Returns (N, h, w, the sum of the branches' channels)."""
    branches = parse(self.row)
    if len(branches) > 1:
      outputs = [
        Row((branch,), name=f'branch_{k}')(x_NHWC, call)
        for k, branch in enumerate(branches, start=1)
      ]
      return jnp.concatenate(outputs, axis=-1)
    for n, step in enumerate(branches[0], start=1):
      if not isinstance(step, Step):
        x_NHWC = Row(step, name=f'split_{n}')(x_NHWC, call)
        continue
      windows = step.window, step.strides, step.padding
      if step.kind == 'conv':
        x_NHWC = Conv(step.features, *windows, name=f'conv_{n}')(x_NHWC, call)
      elif step.strides > 1 or step.window != (1, 1):
        x_NHWC = pool(step.kind, x_NHWC, *windows, call)
    return x_NHWC
