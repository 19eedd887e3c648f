"""One checkpoint on disk, by Orbax: a folder with a state and its metadata.

Orbax's own manager of many checkpoints is not used: a kill while it deletes a
checkpoint leaves half of it, and it opens none in a folder where one is
damaged.
"""

import contextlib
import errno
import glob
import hashlib
import json
import logging
import os
import pathlib
import sys
from collections.abc import Iterator
from typing import Any

import jax
import orbax.checkpoint as ocp
from etils import epath

from bnresearch.runs import run_directory
from bnresearch.terminal import UserError

# Errors that say nothing about a checkpoint: too many files or too little
# memory, no right to read, a disk that does not answer.
_OF_THE_MACHINE = (
  errno.EMFILE,
  errno.ENFILE,
  errno.ENOMEM,
  errno.EACCES,
  errno.EIO,
  errno.ESTALE,
)


def _be_told_once() -> None:
  """Keeps Orbax and Tensorstore from also printing what they raise.

  The first array that cannot be read or written ends the event loop; each of
  the others then finds it closed, or nobody asks for its error.
  """
  logging.getLogger('absl').addFilter(
    lambda record: (
      record.levelno < logging.ERROR
      or f'{os.sep}orbax{os.sep}' not in record.pathname
    )
  )
  logging.getLogger('asyncio').addFilter(
    lambda record: 'tensorstore_spec' not in record.getMessage()
  )
  usual = sys.unraisablehook

  def hook(event):
    if event.object is not None or (
      str(event.exc_value) != 'Event loop is closed'
    ):
      usual(event)

  sys.unraisablehook = hook


_be_told_once()


class SaveError(UserError, RuntimeError):
  """A checkpoint cannot be written; the message says why."""


class _Literal(type(epath.Path())):
  """A path that is no pattern: Orbax looks into its own folders by `glob`."""

  def glob(self, pattern: str) -> Iterator['_Literal']:
    for name in glob.glob(pattern, root_dir=os.fspath(self)):
      yield self / name


class Disk:
  """Writes one checkpoint at a time, and reads any."""

  def __init__(self):
    alone = _alone()
    # Else threads wait 20 minutes for a folder that could not be made, and the
    # process with them.
    at_once = ocp.options.AsyncOptions(create_directories_asynchronously=False)
    self._checkpointer = ocp.AsyncCheckpointer(
      ocp.CompositeCheckpointHandler(
        state=ocp.StandardCheckpointHandler(multiprocessing_options=alone),
        meta=ocp.JsonCheckpointHandler(multiprocessing_options=alone),
        metrics=ocp.JsonCheckpointHandler('metrics'),  # older runs had it
        composite_options=ocp.CompositeOptions(
          multiprocessing_options=alone, async_options=at_once
        ),
      ),
      async_options=at_once,
      multiprocessing_options=alone,
    )

  def begin(self, folder: pathlib.Path, tree: Any, meta: dict) -> None:
    """Begins to write; the folder gets its name once everything is in it.

    Args:
      folder: must not exist yet.
      tree: nested dicts of arrays, which must not change while it writes.
      meta: ready for JSON.

    Raises:
      SaveError: it cannot be written.
    """
    self._folder = folder
    args = ocp.args.Composite(
      state=ocp.args.StandardSave(tree), meta=ocp.args.JsonSave(sealed(meta))
    )
    with self._told():
      self._checkpointer.save(_Literal(folder), args=args)

  def wait(self) -> None:
    """Waits until what was begun is on disk.

    Raises:
      SaveError: it cannot be written.
    """
    with self._told():
      self._checkpointer.wait_until_finished()

  @contextlib.contextmanager
  def _told(self):
    try:
      yield
    except Exception as error:
      raise SaveError(
        f'The checkpoint {self._folder} cannot be written ({in_short(error)}).'
      ) from error

  def close(self) -> None:
    """Waits, and ends all threads."""
    self._checkpointer.close()

  def shapes(self, folder: pathlib.Path) -> Any:
    """Returns the tree of a checkpoint, with the shape and dtype of leaves."""
    items = self._checkpointer.metadata(_Literal(folder)).item_metadata
    return items['state'].tree

  def read(self, folder: pathlib.Path, template: Any = None) -> Any:
    """Returns the tree of a checkpoint, as `template` if there is one."""
    args = ocp.args.Composite(state=ocp.args.StandardRestore(template))
    return self._checkpointer.restore(_Literal(folder), args=args)['state']


def check_path(path: pathlib.Path) -> None:
  """Raises Refused where checkpoints would not lie below `path`."""
  if '\\' in str(path.absolute()):
    raise run_directory.Refused(
      f'{path.absolute()}: its backslash is a slash to the library that writes '
      'checkpoints. Use another --workdir.'
    )


def is_of_the_machine(error: Exception | str) -> bool:
  """Says whether an error is about the machine, not about a checkpoint."""
  return isinstance(error, MemoryError) or (
    isinstance(error, OSError) and error.errno in _OF_THE_MACHINE
  )


def in_short(error: Exception | str) -> str:
  """Returns what went wrong, without a library's internals."""
  lines = str(error).splitlines() or [type(error).__name__]
  return lines[0].partition(' [tensorstore_spec=')[0]


def read_meta(folder: pathlib.Path) -> dict[str, Any]:
  """Returns what is noted in a checkpoint.

  Raises:
    ValueError, OSError: it cannot be read, or is not what was written.
  """
  if not (folder / 'state').is_dir():
    raise FileNotFoundError('it has no state')
  meta = json.loads((folder / 'meta' / 'metadata').read_bytes())
  if not isinstance(meta, dict) or not {'digest', 'metrics'} <= meta.keys():
    raise ValueError('its metadata lacks the digest')
  if 'seal' in meta and meta != sealed(meta):  # older ones have none
    raise ValueError('its metadata has changed')
  return {key: value for key, value in meta.items() if key != 'seal'}


def sealed(meta: dict) -> dict:
  """Returns `meta` with a digest of itself."""
  bare = {key: value for key, value in meta.items() if key != 'seal'}
  text = json.dumps(bare, sort_keys=True).encode()
  return {**bare, 'seal': hashlib.blake2b(text, digest_size=16).hexdigest()}


def _alone():
  """Returns options that keep Orbax from waiting for other hosts.

  Each host has the whole state: the first one saves, all restore.
  """
  me = jax.process_index()
  if jax.process_count() == 1:
    return ocp.options.MultiprocessingOptions()
  return ocp.options.MultiprocessingOptions(
    primary_host=me,
    active_processes={me},
    barrier_sync_key_prefix=f'host_{me}',
  )
