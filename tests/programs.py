"""Compiled programs: kept from one run of the tests to the next, and dropped.

Compiling takes most of the suite's time, so its processes share JAX's cache of
programs on disk. JAX writes there in place: a process that a test kills leaves
half a program, which stays, and every later run warns about it. So a session
writes to a folder of its own, with links to the earlier programs. When it ends,
its new programs are kept if they are whole.
"""

import contextlib
import ctypes
import gc
import pathlib

import jax

_ENOUGH = 2**30  # bytes of programs; ten times what one state makes
# A process of the tests makes thousands of programs, of some megabytes each. It
# drops them at `_MUCH` bytes, and again after `_MORE` more.
_MUCH, _MORE = 1.2e9, 3e8


def lend(kept: pathlib.Path, folder: pathlib.Path) -> None:
  """Links the kept programs into a session's folder."""
  folder.mkdir(parents=True)
  for file in kept.iterdir():
    (folder / file.name).symlink_to(file)


def keep(folder: pathlib.Path, kept: pathlib.Path) -> None:
  """Keeps a session's new programs; of all, only the newest `_ENOUGH` bytes."""
  for file in folder.iterdir():
    if not file.is_symlink() and is_whole(content := file.read_bytes()):
      # Two sessions may end at once: a name appears with its content.
      partial = kept / f'{file.name}.{folder.parent.name}'
      partial.write_bytes(content)
      partial.replace(kept / file.name)
  held = 0
  files = [(f.stat(), f) for f in kept.iterdir()]
  for about, file in sorted(files, key=lambda f: f[0].st_mtime, reverse=True):
    held += about.st_size
    if held > _ENOUGH:
      file.unlink(missing_ok=True)


def is_whole(content: bytes) -> bool:
  """Says whether a file of JAX's cache was written to its end."""
  from jax._src import compilation_cache

  try:
    return bool(compilation_cache.decompress_executable(content))
  except Exception:  # each compression has its own
    return False


class Memory:
  """The memory of this process; drops programs once it is large."""

  def __init__(self):
    self._let_go_at = _MUCH

  def check(self) -> None:
    """Drops programs, which are read or compiled again when used."""
    if _resident() > self._let_go_at:
      jax.clear_caches()
      gc.collect()
      with contextlib.suppress(AttributeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)
      self._let_go_at = max(_MUCH, _resident() + _MORE)


def _resident():
  """Returns the bytes of memory that this process has; 0 where unknown."""
  try:
    pages = pathlib.Path('/proc/self/statm').read_text().split()[1]
  except OSError:
    return 0
  return int(pages) * 4096
