"""Paths that users give: are they on this machine, and can we write them?"""

import argparse
import contextlib
import os
import pathlib
import re
import tempfile
from collections.abc import Iterator

import platformdirs

from bnresearch.terminal import UserError, printable

_SCHEME = re.compile(r'[A-Za-z][A-Za-z0-9+.-]*://')


class Unusable(UserError, argparse.ArgumentTypeError, ValueError):
  """A path that a user gave cannot be used; says why and what to do."""


def is_here(text: str) -> bool:
  """Says whether a text can be a path on this machine; gs://x cannot."""
  return not _SCHEME.match(text) and '\0' not in text


def local(text: str | os.PathLike) -> pathlib.Path:
  """Returns a path with `~` expanded; also a type for argparse.

  Raises:
    Unusable: it is elsewhere, like gs://bucket, or in a home that does not
      exist.
  """
  text = os.fspath(text)
  shown = printable(text)  # argparse prints it as it is
  if not is_here(text):
    raise Unusable(
      f'{shown}: is no path on this machine. Give one, as that of a mounted '
      'bucket.'
    )
  try:
    return pathlib.Path(text).expanduser()
  except RuntimeError:
    raise Unusable(
      f'{shown}: there is no such home. Write the path in full.'
    ) from None


def output(text: str | os.PathLike) -> pathlib.Path:
  """Returns `local(text)`, a file to write; also a type for argparse.

  Raises:
    Unusable: it cannot be written.
  """
  file = local(text)
  if why := unwritable(file):
    raise Unusable(f'{printable(str(file))}: {why}')
  return file


def unwritable(file: pathlib.Path) -> str:
  """Says why a file cannot be written, '' if it can; creates nothing.

  Args:
    file: its folder need not exist; `made` makes it.
  """
  if file.is_dir():
    return 'is a folder. Give the name of a file.'
  if file.exists() and not os.access(file, os.W_OK):
    return 'may not be overwritten. Give another name.'
  return unwritable_folder(file.parent)


def unwritable_folder(folder: pathlib.Path) -> str:
  """Says the same of any file in a folder, which need not exist."""
  there = folder.absolute()
  while not there.exists() and not there.is_symlink():
    there = there.parent
  try:
    # Try it: permissions do not tell on every file system.
    with tempfile.TemporaryFile(dir=there):
      return ''
  except OSError as error:
    why = error.strerror
  return f'cannot be written: {there} takes no file ({why}). Go elsewhere.'


def made(file: pathlib.Path) -> pathlib.Path:
  """Returns a file's path, after making its folder if need be."""
  file.parent.mkdir(parents=True, exist_ok=True)
  return file


@contextlib.contextmanager
def replacing(file: pathlib.Path) -> Iterator[pathlib.Path]:
  """Yields a path beside `file` to write to, which then takes its place.

  So the file exists whole or not at all. Its folder is made if need be.
  """
  partial = made(file).with_name(f'{os.getpid()}-{file.name}')
  try:
    yield partial
    partial.replace(file)
  finally:
    partial.unlink(missing_ok=True)


def cache() -> pathlib.Path | None:
  """Returns this project's folder in the user's cache, made if need be.

  None if the user has no home or cannot write to it: what it would hold is then
  made again each time.
  """
  try:
    folder = platformdirs.user_cache_path('bnresearch')
    if not folder.is_absolute():  # without a home, `~` stays `~`
      return None
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
      return folder
  except (OSError, RuntimeError):
    return None
