"""Whether files can be trained on: decodes each one once, and remembers.

The verdicts stay in the user's cache folder. A file whose size and time of
change are the same is not read again.
"""

import contextlib
import json
import os
import pathlib
from collections.abc import Sequence
from concurrent import futures
from typing import NamedTuple

from bnresearch import paths
from bnresearch.data import digest_of
from bnresearch.data._folder import File, why
from bnresearch.images import decoding, formats
from bnresearch.terminal import track

_VERSION = 2  # of the verdicts: raise it when they may come out differently
_CHUNK = 32  # files per task
# An image may briefly take 1 GB: 100 megapixels, turned as EXIF says.
_THREADS = min(8, os.cpu_count() or 1)


class Verdict(NamedTuple):
  """The result of checking a file.

  Attributes:
    digest: digest of its bytes, '' if it was not read to the end.
    oddities: what decoding converts, see `decoding.Found`.
    problem: why it cannot be trained on, or ''.
  """

  digest: str
  oddities: tuple[str, ...]
  problem: str


def verdicts(root: str, files: Sequence[File]) -> dict[str, Verdict]:
  """Returns the verdict on each file, by path; reads only new files.

  Uses threads, as decoding releases the interpreter, and shows a progress bar
  on a terminal. An interruption keeps the verdicts so far.

  Args:
    root: the data folder.
    files: its files.
  """
  name = f'{digest_of(os.fsencode(os.path.realpath(root)))}.json'
  folder = cache_folder()
  known = _read(folder / name) if folder else {}
  found = {f.path: known[_key(f)] for f in files if _key(f) in known}
  new = [f for f in files if f.path not in found]
  if not new:
    return found
  try:
    for file, verdict in _judge_all(root, new):
      found[file.path] = verdict
  finally:
    if folder:
      judged = [(f, found[f.path]) for f in files if f.path in found]
      _write(folder / name, judged)
  return found


def cache_folder() -> pathlib.Path | None:
  """Returns the folder for verdicts and lists too long to print, or None."""
  cache = paths.cache()
  return cache and cache / 'image_folder'


def _judge_all(root, files):
  """Yields (file, verdict)."""
  chunks = [files[i : i + _CHUNK] for i in range(0, len(files), _CHUNK)]
  with futures.ThreadPoolExecutor(_THREADS) as pool:
    try:
      judged = track(
        pool.map(lambda chunk: [_judge(root, f) for f in chunk], chunks),
        f'Checking {len(files):,} images',
        len(chunks),
      )
      for chunk, of_chunk in zip(chunks, judged):
        yield from zip(chunk, of_chunk)
    finally:
      pool.shutdown(cancel_futures=True)  # Ctrl-C should not wait for them


def _judge(root, file):
  try:
    with open(os.path.join(root, file.path), 'rb') as stream:
      head = stream.read(formats.HEAD)
      if head and not formats.format_of(head):
        return Verdict('', (), decoding.NO_IMAGE)  # maybe a film of 10 GB
      content = head + stream.read()
  except OSError as error:
    return Verdict('', (), why(error))
  found = decoding.inspect(content)
  return Verdict(digest_of(content), found.oddities, found.problem)


def _key(file):
  return file.real, file.size, file.mtime_ns


def _stamp():
  """Returns what verdicts depend on besides the file."""
  from PIL import __version__

  return [_VERSION, __version__]


def _read(cache):
  """Returns the verdicts of earlier checks, by key; {} if there are none."""
  with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
    content = json.loads(cache.read_text())
    if content['stamp'] == _stamp():
      return {
        tuple(key): Verdict(digest, tuple(oddities), problem)
        for *key, digest, oddities, problem in content['verdicts']
      }
  return {}


def _write(cache, judged):
  """Writes the verdicts, except those on files that could not be read."""
  rows = [[*_key(f), *v] for f, v in judged if v.digest or not v.problem]
  # If they cannot be written, only time is lost.
  with contextlib.suppress(OSError), paths.replacing(cache) as partial:
    partial.write_text(json.dumps({'stamp': _stamp(), 'verdicts': rows}))
