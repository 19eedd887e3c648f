"""Reports on a folder of images, for people and for a run's record."""

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from bnresearch.data import _folder_check
from bnresearch.data._folder import Listing
from bnresearch.data._folder_check import Verdict
from bnresearch.paths import made

_LISTED = 20  # files per reason; also pairs
_MADE_OF = {
  'greyscale': 'given three equal channels',
  'CMYK': 'converted to RGB',
  '16-bit': 'scaled to 8 bits',
  'alpha': 'put on white',
  'EXIF-rotated': 'turned upright',
  'palette': 'converted to RGB',
}


def shown(path: str) -> str:
  """Returns a path as one line that any terminal and JSON file can show."""
  return path if path.isprintable() else ascii(path)[1:-1]


def by_reason(problems: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
  """Groups (reason, path): {reason: sorted paths}, both in order."""
  grouped = {}
  for reason, path in sorted(problems):
    grouped.setdefault(reason, []).append(shown(path))
  return grouped


def refusal(
  folder: str, problems: Sequence[tuple[str, str]], *, may_skip: bool
) -> str:
  """Returns a message with all problems and what to do; '' if there are none.

  Args:
    folder: the data folder.
    problems: (reason, path) of each problem.
    may_skip: whether skipping them would leave something to train on.
  """
  if not problems:
    return ''
  many = 'file or folder' if len(problems) == 1 else 'files or folders'
  lines = [f'{len(problems):,} {many} of {shown(folder)} cannot be trained on:']
  grouped = by_reason(problems)
  for reason, paths in grouped.items():
    lines += [f'  {reason}: {len(paths):,}', *_first(paths)]
  skip = ', or set data.skip_bad=True to train on the rest' if may_skip else ''
  long = any(len(paths) > _LISTED for paths in grouped.values())
  lines.append(f'Mend or remove them{skip}.{_kept(grouped) if long else ""}')
  return '\n'.join(lines)


def record(
  folder: str,
  listing: Listing,
  used: Mapping[str, Mapping[str, Sequence[str]]],
  verdicts: Mapping[str, Verdict],
  problems: Sequence[tuple[str, str]],
) -> dict[str, Any]:
  """Returns a source's notes, for JSON.

  Args:
    folder: the data folder.
    listing: its listing.
    used: {split: {class: paths}} of the images that are used.
    verdicts: verdicts by path, on these and other images.
    problems: (reason, path) of each file that is skipped.
  """
  return {
    'folder': shown(folder),
    'parts': listing.parts,
    'files': {
      split: {shown(name): len(paths) for name, paths in of_class.items()}
      for split, of_class in used.items()
    },
    'skipped': by_reason(problems),
    'converted': _converted(used, verdicts),
    'duplicates': _duplicates(used, verdicts),
    'hidden': len(listing.hidden),
    'unused': [shown(name) for name in listing.unused],
  }


def _converted(used, verdicts):
  """Returns {oddity: {'files': number, 'example': path}}."""
  converted = {}
  for _, _, path in each(used):
    for oddity in verdicts[path].oddities:
      of = converted.setdefault(oddity, {'files': 0, 'example': shown(path)})
      of['files'] += 1
  return converted


def _duplicates(used, verdicts):
  """Returns {where: pairs of paths to files with the same content}."""
  alike = {}
  for split, name, path in each(used):
    alike.setdefault(verdicts[path].digest, []).append((split, name, path))
  pairs = {'in both splits': [], 'in two classes': []}
  for first, *others in alike.values():
    for i, where in enumerate(pairs):
      pairs[where] += [
        [shown(first[2]), shown(other[2])]
        for other in others
        if other[i] != first[i]
      ]
  return {where: found for where, found in pairs.items() if found}


def each(
  used: Mapping[str, Mapping[str, Sequence[str]]],
) -> Iterator[tuple[str, str, str]]:
  """Yields (split, class, path)."""
  for split, of_class in used.items():
    for name, paths in of_class.items():
      for path in paths:
        yield split, name, path


def notices(notes: Mapping[str, Any]) -> list[str]:
  """Returns lines on what in a source's notes is worth a warning."""
  lines = []
  if notes['hidden']:
    lines.append(f'hidden, so ignored: {notes["hidden"]:,}')
  if notes['unused']:
    lines.append(f'not used: {", ".join(notes["unused"])}')
  for oddity, of in notes['converted'].items():
    made_of = _MADE_OF[oddity]
    lines.append(f'{oddity}, {made_of}: {of["files"]:,}, as {of["example"]}')
  for where, pairs in notes['duplicates'].items():
    lines.append(f'the same content {where}: {len(pairs):,}')
    lines += _first([' = '.join(pair) for pair in pairs])
  for reason, paths in notes['skipped'].items():
    lines += [f'skipped, {reason}: {len(paths):,}', *_first(paths)]
  return lines


def _first(paths):
  """Returns a line for each of the first paths, and one for the rest."""
  lines = [f'    {path}' for path in paths[:_LISTED]]
  if len(paths) > _LISTED:
    lines.append(f'    and {len(paths) - _LISTED:,} more')
  return lines


def _kept(problems):
  """Writes the complete list; returns a sentence that says where, or ''."""
  folder = _folder_check.cache_folder()
  if not folder:
    return ''
  path = folder / 'refused.txt'
  lines = [f'{r}\t{p}\n' for r, paths in problems.items() for p in paths]
  with contextlib.suppress(OSError):
    made(path).write_text(''.join(lines))
    return f' All are listed in {path}.'
  return ''
