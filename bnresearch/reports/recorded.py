"""The numbers of a run, read from its file once."""

import functools
import pathlib

from bnresearch.inference.run import Run
from bnresearch.runs import logbook


def metrics(run: Run) -> dict[str, logbook.Series]:
  """Returns `run.metrics`, which is read again only if the file has changed."""
  file = run.path / 'metrics.jsonl'
  about = file.stat()
  return _read(file, about.st_mtime_ns, about.st_size)


@functools.lru_cache(maxsize=4)
def _read(file: pathlib.Path, changed: int, size: int):
  del changed, size  # they tell one state of the file from another
  return logbook.read(file)
