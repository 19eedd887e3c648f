"""data.json and class_names.json: which images a run has seen."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from bnresearch.runs import json_file
from bnresearch.runs.json_file import Refused

ABOUT, NAMES = 'data.json', 'class_names.json'


class Split(NamedTuple):
  """The images of a split of a data set.

  Attributes:
    count: how many.
    digest: of the images and labels, see `data.Source`.
  """

  count: int
  digest: str


def found(
  path: pathlib.Path,
) -> tuple[tuple[str, ...] | None, dict[str, Any] | None]:
  """Returns a run's classes and data.json; None for what is not whole.

  Raises:
    Refused: a file holds something else.
  """
  names = json_file.read(path / NAMES, 'a list of names', _are_names)
  about = json_file.read(
    path / ABOUT,
    'a dict with the (H, W, C) of image_shape and the examples of each split',
    _is_about,
  )
  return None if names is None else tuple(names), about


def read_data(
  path: pathlib.Path,
) -> tuple[tuple[int, int, int], tuple[str, ...], dict[str, Any]]:
  """Returns a run's (H, W, C) of images, its classes, and all of data.json.

  Raises:
    FileNotFoundError: the run has not begun, or is older than these files.
    Refused: a file holds something else.
  """
  names, about = found(path)
  for file, content in ((NAMES, names), (ABOUT, about)):
    if content is None:
      raise FileNotFoundError(
        f'{path} has no {file}: the run has not begun, a loss of power has cut '
        'the file off, or an older version of this code made it, which its '
        'provenance.json names.'
      )
  return tuple(about['image_shape']), names, about


def split_of(source: Any) -> Split:
  """Returns the count and digest of a `data.Source`."""
  return Split(len(source), source.digest)


def check_source(path: pathlib.Path, split: str, source: Any) -> None:
  """Raises Refused if a split is not what a run has seen, as `check_data`."""
  splits = {split: split_of(source)}
  check_data(path, source.class_names, source.notes, splits)


def check_data(
  path: pathlib.Path,
  class_names: Sequence[str],
  notes: Mapping[str, Any],
  splits: Mapping[str, Split],
) -> None:
  """Raises Refused if a run has seen other data than this.

  What an older run did not note is not compared.

  Args:
    path: of the run.
    class_names: the K classes.
    notes: of a source.
    splits: those that will be used.
  """
  names, about = found(path)
  end = 'Use the former data, or another --workdir.'
  if names is not None and names != tuple(class_names):
    raise Refused(
      f'{path} was trained on the classes {", ".join(names)}; now they are '
      f'{", ".join(class_names)}. {end}'
    )
  before = about or {}
  if before.get('tfds', notes.get('tfds')) != notes.get('tfds'):
    raise Refused(
      f'{path} was trained on {before["tfds"]}; now the data is '
      f'{notes.get("tfds", "not of TFDS")}. {end}'
    )
  if before.get('digest', notes.get('digest')) != notes.get('digest'):
    raise Refused(
      f'{path} was trained on other images: files have come or gone, so that '
      f'some may have moved between training and evaluation. {end}'
    )
  for split, now in splits.items():
    count = before.get('examples', {}).get(split, now.count)
    if count != now.count:
      raise Refused(
        f'{path} began with {count:,} examples in the split {split}; now it '
        f'has {now.count:,}. {end}'
      )
    if before.get('digests', {}).get(split, now.digest) != now.digest:
      raise Refused(
        f'{path} began with other images in the split {split}, or in another '
        f'order, than it has now, though as many. {end}'
      )


def merged(
  about: dict[str, Any] | None,
  image_shape: Sequence[int],
  splits: Mapping[str, Split],
  notes: Mapping[str, Any],
) -> dict[str, Any]:
  """Returns the content of data.json, with what it lacks added."""
  before = about or {}
  now = {
    'image_shape': list(image_shape),
    'examples': {name: split.count for name, split in splits.items()},
    'digests': {name: split.digest for name, split in splits.items()},
    **notes,
  }
  both = {
    key: now[key] | before.get(key, {}) for key in ('examples', 'digests')
  }
  return {**now, **before, **both}


def _are_names(value):
  return isinstance(value, list) and all(type(name) is str for name in value)


def _is_about(value):
  if not isinstance(value, dict):
    return False
  shape, examples = value.get('image_shape'), value.get('examples')
  return (
    isinstance(shape, list)
    and [type(size) for size in shape] == [int] * 3
    and isinstance(examples, dict)
    and isinstance(value.get('digests', {}), dict)
  )
