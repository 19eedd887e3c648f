"""Lists a folder of images: its classes, their files, its problems.

It looks only at names, links and sizes, not at the files' contents.
"""

import os
import pathlib
import stat
from typing import NamedTuple

from bnresearch.data import DamagedData, MissingData

EVALUATION = ('val', 'validation', 'valid', 'test')  # the first one found
_HIDDEN = ('thumbs.db', 'desktop.ini', '__macosx')
_LINK_OUT = 'link out of the folder (data.follow_links=True allows it)'


class File(NamedTuple):
  """A file of a class.

  Attributes:
    path: relative to the data folder, with '/'.
    real: the absolute path, links resolved.
    size: bytes.
    mtime_ns: time of the last change.
  """

  path: str
  real: str
  size: int
  mtime_ns: int


class Listing(NamedTuple):
  """The contents of a data folder.

  Attributes:
    parts: the folder of each split, {'train': 'train', 'test': 'val'}; {} if
      the classes are not yet split, and their split is ''.
    files: the files of each (split, class) that has a folder, by name.
    problems: (reason, path) of each problem.
    hidden: paths that are ignored.
    unused: names next to the splits' folders.
  """

  parts: dict[str, str]
  files: dict[tuple[str, str], list[File]]
  problems: list[tuple[str, str]]
  hidden: list[str]
  unused: list[str]


def find(root: str, *, follow_links: bool) -> Listing:
  """Lists a data folder, sorted by name, whatever the file system's order.

  Raises:
    MissingData: the folder does not exist, or is empty.
    DamagedData: it cannot be read, or has `train/` but no evaluation folder.
  """
  names = _names(root)
  parts = _parts(root, names)
  finder = _Finder(root, follow_links)
  files, unused, tops = {}, [], {'': ''}
  if parts:
    unused = [n for n in names if n not in parts.values() and not _hides(n)]
    reached = finder.look('', parts.values()).folders
    tops = {split: part for split, part in parts.items() if part in reached}
  for split, top in tops.items():
    classes = finder.look(top)
    beside = [file.path for file in classes.files]
    finder.refuse('file beside the class folders', beside)
    for path in classes.folders:
      inside = finder.look(path)
      finder.refuse('folder inside a class folder', inside.folders)
      files[split, os.path.basename(path)] = inside.files
  return Listing(parts, files, finder.problems, finder.hidden, unused)


class _Inside(NamedTuple):
  folders: list[str]
  files: list[File]


class _Finder:
  """Looks into folders and collects problems."""

  def __init__(self, root, follow_links):
    self.root = root
    self.real = os.path.realpath(root)
    self.follow_links = follow_links
    self.problems = []
    self.hidden = []

  def refuse(self, reason, paths):
    self.problems += [(reason, path) for path in paths]

  def look(self, folder, only=None):
    """Returns the sound folders and files of a folder, sorted by name."""
    inside = _Inside([], [])
    try:
      with os.scandir(os.path.join(self.root, folder)) as entries:
        entries = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
      self.problems.append((why(error), folder))
      return inside
    real_folder = os.path.realpath(os.path.join(self.root, folder))
    for entry in entries:
      path = f'{folder}/{entry.name}' if folder else entry.name
      if _hides(entry.name):
        self.hidden.append(path)
        continue
      if only is not None and entry.name not in only:
        continue
      self._sort(entry, path, os.path.join(real_folder, entry.name), inside)
    return inside

  def _sort(self, entry, path, real, inside):
    """Puts an entry where it belongs, or among the problems."""
    if entry.is_symlink():
      real = os.path.realpath(real)
      inside_root = pathlib.Path(real).is_relative_to(self.real)
      if not self.follow_links and not inside_root:
        self.problems.append((_LINK_OUT, path))
        return
    try:
      info = entry.stat()
    except OSError as error:
      broken = entry.is_symlink() and not isinstance(error, PermissionError)
      self.problems.append(('broken link' if broken else why(error), path))
      return
    if stat.S_ISDIR(info.st_mode):
      inside.folders.append(path)
    elif stat.S_ISREG(info.st_mode):
      file = File(path, real, info.st_size, info.st_mtime_ns)
      inside.files.append(file)
    else:  # reading a pipe would wait forever
      self.problems.append(('neither a file nor a folder', path))


def why(error: OSError) -> str:
  """Returns the reason why something cannot be read."""
  if isinstance(error, PermissionError):
    return 'no permission to read'
  return f'cannot be read: {error.strerror}'


def _names(root):
  """Returns the names in the data folder."""
  try:
    names = sorted(os.listdir(root))
  except (FileNotFoundError, NotADirectoryError) as error:
    is_file = isinstance(error, NotADirectoryError)
    what = 'this is no folder' if is_file else 'there is no such folder'
    raise MissingData(f'data.folder = {root}: {what}.') from None
  except OSError as error:
    raise DamagedData(f'data.folder = {root}: {why(error)}.') from error
  if all(_hides(name) for name in names):
    raise MissingData(
      f'data.folder = {root}: the folder is empty. It should hold one folder '
      'of images for each class, or train/ and val/ that hold these.'
    )
  return names


def _parts(root, names):
  """Returns each split's folder, or {} if there is one folder per class."""
  folders = {
    name.lower(): name
    for name in names
    if os.path.isdir(os.path.join(root, name))
  }
  if 'train' not in folders:
    return {}
  for name in EVALUATION:
    if name in folders:
      return {'train': folders['train'], 'test': folders[name]}
  train = pathlib.Path(root, folders['train'])
  if any(train.glob('*/')):
    raise DamagedData(
      f'{root} has train/, but none of {"/, ".join(EVALUATION)}/: add one, or '
      f'set data.folder={train} to hold out a part of each class.'
    )
  return {}


def _hides(name):
  return name.startswith('.') or name.lower() in _HIDDEN
