"""Splits the images of each class into training and evaluation."""

import os
import unicodedata
from collections.abc import Iterator, Mapping, Sequence

from bnresearch.data import _folder, count_of, digest_of

_TWO_FORMS = (
  'class whose name has another Unicode form in the other split, where systems '
  'differ: é is one character (NFC) or two (NFD); rename one'
)


def held_out(
  names: Sequence[str], *, validation: float, split_seed: int, class_name: str
) -> set[str]:
  """Returns the images of a class that are held out for evaluation.

  Takes the fraction `validation`, rounded down to at least 1: the names with
  the smallest digests. So adding an image or a class moves hardly any other.

  Args:
    names: the images' names, in any order.
    validation: a fraction, between 0 and 1.
    split_seed: chooses another split.
    class_name: the class of the images.
  """

  def rank(name):
    return digest_of(os.fsencode(f'{split_seed}/{class_name}/{name}'))

  count = count_of(len(names), validation)
  return set(sorted(names, key=rank)[:count])


def divided(
  files: Mapping[tuple[str, str], Sequence[str]],
  validation: float,
  split_seed: int,
) -> dict[tuple[str, str], list[str]]:
  """Returns the paths regrouped from ('', class) to (split, class)."""
  result = {}
  for (_, name), paths in files.items():
    test = held_out(
      paths, validation=validation, split_seed=split_seed, class_name=name
    )
    result['train', name] = [path for path in paths if path not in test]
    result['test', name] = [path for path in paths if path in test]
  return result


def unfit(
  name: str,
  good: Mapping[tuple[str, str], Sequence[str]],
  listing: _folder.Listing,
) -> Iterator[tuple[str, str]]:
  """Yields (reason, path) for a class that lacks images in a split."""
  refused = {path for _, path in listing.problems}
  for split, part in listing.parts.items() or [('', '')]:
    path = f'{part}/{name}' if part else name
    files = listing.files.get((split, name))
    if path in refused or part in refused:
      continue  # reported already, for another reason
    if files is None:
      (other,) = set(listing.parts.values()) - {part}
      twins = [n for s, n in listing.files if s == split and _alike(n, name)]
      if twins:
        # Escaped, to show the difference.
        yield _TWO_FORMS, f'{other}/{name!a}, {part}/{twins[0]!a}'
      else:
        yield 'class in one split only', f'{other}/{name}, no {path}'
    elif not files:
      yield 'empty class', path
    elif not part and len(good['test', name]) == 1:
      yield 'class with one image, too few for two splits', path
    elif not good.get((split or 'test', name)):
      yield 'class without one image that can be trained on', path


def _alike(name, other):
  """Returns whether two names look the same."""
  one, two = (unicodedata.normalize('NFC', n) for n in (name, other))
  return one == two
