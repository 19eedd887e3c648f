"""Data sets: one per file, each a `spec(**options)` and a `load(split, ...)`.

`spec` describes the data set; `load` returns one of its splits, a `Source`.
Their keyword options have the names of `config.data`. A file may also have
`ready() -> str`, which returns '' or what is missing on this machine, and
`prepare(folder)`, which makes the data set from its original files.
"""

import dataclasses
import decimal
import functools
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from bnresearch.terminal import UserError

SPLITS = ('train', 'test')
_HELD_OUT = 0x76616C  # separates this draw from others that use `split_seed`


class MissingData(UserError, FileNotFoundError):
  """A data set's files are not on this machine; says how to get them."""


class DamagedData(UserError, ValueError):
  """A data set's file is damaged or not the expected one."""


class Spec(NamedTuple):
  """What a data set holds.

  Attributes:
    image_shape: (H, W, C) of the network's input images.
    class_names: the K classes.
    examples: the number in each split; {} if only loading tells.
  """

  image_shape: tuple[int, int, int]
  class_names: tuple[str, ...]
  examples: Mapping[str, int] = {}


class Images(Protocol):
  """Random access to images, decoded on access, and their labels.

  `images[i]` is (image uint8 (H, W, C), label). Image sizes may differ.
  """

  def __len__(self) -> int: ...

  def __getitem__(self, index: int, /) -> tuple[np.ndarray, int]: ...


class Source(Images, Protocol):
  """One split of a data set.

  Attributes:
    class_names: the K classes.
    notes: what a run should record about the data, ready for JSON.
    digest: identifies the images and labels in their order, on any machine. If
      there are too many to read, it covers only what can be read quickly.
  """

  class_names: tuple[str, ...]
  notes: Mapping[str, Any]
  digest: str


@dataclasses.dataclass(frozen=True)
class Arrays:
  """A source in memory, whose images have one size.

  Attributes:
    images_NHWC: uint8, 0 to 255.
    labels_N: int32, indices into `class_names`.
    class_names: the K classes.
    notes: see `Source`.

  Raises:
    DamagedData: a label is no index into the class names.
  """

  images_NHWC: np.ndarray
  labels_N: np.ndarray
  class_names: tuple[str, ...]
  notes: Mapping[str, Any] = dataclasses.field(default_factory=dict)

  def __post_init__(self):
    check_labels(self.labels_N, self.class_names)

  def __len__(self) -> int:
    return len(self.labels_N)

  def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
    return self.images_NHWC[index], int(self.labels_N[index])

  @functools.cached_property
  def digest(self) -> str:
    return digest_of(
      str(self.images_NHWC.shape).encode(),
      self.labels_N.astype('<i4'),
      np.ascontiguousarray(self.images_NHWC),
    )


def digest_of(*parts: bytes | np.ndarray) -> str:
  """Returns a digest of the parts, in their order."""
  hashed = hashlib.blake2b(digest_size=16)
  for part in parts:
    hashed.update(part)
  return hashed.hexdigest()


@dataclasses.dataclass(frozen=True)
class Part:
  """Some of the examples of a source that is not in memory.

  Attributes:
    whole: the source.
    numbers: the examples' indices in the source, ascending.
  """

  whole: Source
  numbers: np.ndarray

  def __len__(self) -> int:
    return len(self.numbers)

  def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
    return self.whole[int(self.numbers[index])]

  @property
  def class_names(self) -> tuple[str, ...]:
    return self.whole.class_names

  @property
  def notes(self) -> Mapping[str, Any]:
    return self.whole.notes

  @property
  def digest(self) -> str:
    numbers = self.numbers.astype('<i8')
    return digest_of(self.whole.digest.encode(), numbers)


def held_out(
  source: Source,
  split: str,
  *,
  held_out: float = 0.0,
  train_examples: int = 0,
  split_seed: int = 0,
) -> Source:
  """Returns the part of a source that belongs to a split.

  'validation' is a part of the training split; 'train' is the rest or some of
  it, in its order; 'test' is the whole source. The examples are drawn uniformly
  from all classes together.

  Args:
    source: the training split, or the test split for 'test'.
    split: see above.
    held_out: the fraction for 'validation', rounded down to at least one
      example; 0 for none.
    train_examples: how many of the rest 'train' has; 0 for all. A larger number
      adds to those of a smaller one.
    split_seed: chooses the examples of both.

  Raises:
    DamagedData: too few would be left to train on.
  """
  if split == 'test' or not (held_out or train_examples):
    return source
  N, count = len(source), count_of(len(source), held_out) if held_out else 0
  if count == N:
    raise DamagedData(
      f'data.held_out = {held_out}: there is one training image only. Set it '
      'to 0.'
    )
  if train_examples > N - count:
    raise DamagedData(
      f'data.train_examples = {train_examples:,}: there are {N - count:,} to '
      'train on. Take as many or fewer, or 0 for all.'
    )
  order = np.random.RandomState([split_seed, _HELD_OUT]).permutation(N)
  rest = order[count:][: train_examples or None]
  numbers = np.sort(order[:count] if split == 'validation' else rest)
  if not isinstance(source, Arrays):
    return Part(source, numbers)
  return dataclasses.replace(
    source,
    images_NHWC=source.images_NHWC[numbers],
    labels_N=source.labels_N[numbers],
  )


def splits(held_out: float) -> tuple[str, ...]:
  """Returns a run's splits, with 'validation' if a part is held out.

  Every evaluation covers all but 'train', as the best step is known only at the
  end.
  """
  return ('train', 'validation', 'test') if held_out else ('train', 'test')


def choosing_split(held_out: float) -> str:
  """Returns the split whose accuracy selects the best checkpoint.

  Selecting by the test split reports its maximum over the checkpoints, which
  is optimistic.
  """
  return 'validation' if held_out else 'test'


def check_labels(labels_N: np.ndarray, class_names: Sequence[str]) -> None:
  """Raises DamagedData if a label is no index into the class names."""
  K = len(class_names)
  wrong = np.flatnonzero((labels_N < 0) | (labels_N >= K))
  if len(wrong):
    raise DamagedData(
      f'{len(wrong)} of {len(labels_N)} labels are out of range, the first '
      f'one {labels_N[wrong[0]]} of example {wrong[0]}: those of {K} classes '
      f'are 0 to {K - 1}.'
    )


def count_of(examples: int, fraction: float) -> int:
  """Returns a fraction of the examples as a number, rounded down; at least 1.

  Takes the decimal as written: 0.29 of 100 is 29, though the float is less.
  """
  return max(1, int(decimal.Decimal(str(fraction)) * examples))


def pixels(
  images: jax.Array,
  *,
  binarize: bool,
  binarize_threshold: float,
  mean: tuple[float, ...] = (0.0,),
  std: tuple[float, ...] = (1.0,),
) -> jax.Array:
  """Turns images (..., C) into a network's float32 input.

  Args:
    images: 0 to 255, uint8 or float32.
    binarize: whether each pixel becomes 0 or 1, as in the paper's Figure 1
      (section 4.1, "28x28 binary image").
    binarize_threshold: in [0, 1); a pixel above this fraction of 255 is 1.
    mean: subtracted from the pixels in [0, 1]; one value, or one per channel.
    std: divides the result; likewise.

  Raises:
    ValueError: there is neither one mean nor one per channel; likewise std.
  """
  C = images.shape[-1]
  for name, values in (('mean', mean), ('std', std)):
    if len(values) not in (1, C):
      raise ValueError(
        f'data.{name} = {values}: needs one value, or {C}, as the images have '
        'channels.'
      )
  if binarize:
    x = (images > 255 * binarize_threshold).astype(jnp.float32)
  else:
    x = images.astype(jnp.float32) / 255
  along_channels = (1,) * (x.ndim - 1) + (-1,)
  if any(mean):
    x = x - jnp.asarray(mean).reshape(along_channels)
  if any(s != 1 for s in std):
    x = x / jnp.asarray(std).reshape(along_channels)
  return x
