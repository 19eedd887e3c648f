"""The probabilities of every example of a split, as a table in a file."""

import contextlib
import csv
import itertools
import pathlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from bnresearch import paths

ENDINGS = ('.csv', '.parquet')
_COLUMNS = ('example', 'label', 'prediction', 'confidence')

Add = Callable[[np.ndarray, np.ndarray], None]


@contextlib.contextmanager
def opened(file: pathlib.Path, class_names: Sequence[str]) -> Iterator[Add]:
  """Gives `add(probabilities_NK, labels_N)`, which writes rows to a file.

  Its columns: the example's place in the split; the names of its class and of
  the most probable class; the latter's probability; and `p_<name>`, that of
  each class. Rows are written as they come; the file appears once all are in.

  Args:
    file: ends in one of `ENDINGS`.
    class_names: the K classes.
  """
  columns = [*_COLUMNS, *(f'p_{name}' for name in class_names)]
  numbers = itertools.count()
  write_as = _as_parquet if file.suffix == '.parquet' else _as_csv

  def add(probabilities_NK, labels_N):
    write(
      [
        list(itertools.islice(numbers, len(labels_N))),
        [class_names[label] for label in labels_N],
        [class_names[k] for k in probabilities_NK.argmax(axis=1)],
        probabilities_NK.max(axis=1),
        *probabilities_NK.T,
      ]
    )

  with paths.replacing(file) as partial, write_as(partial, columns) as write:
    yield add


@contextlib.contextmanager
def _as_parquet(file, columns):
  import pyarrow
  from pyarrow import parquet

  types = [pyarrow.int64(), pyarrow.string(), pyarrow.string()]
  types += [pyarrow.float32()] * (len(columns) - len(types))
  schema = pyarrow.schema(list(zip(columns, types)))
  with parquet.ParquetWriter(file, schema) as writer:
    yield lambda values: writer.write_table(
      pyarrow.table(list(map(pyarrow.array, values)), schema=schema)
    )


@contextlib.contextmanager
def _as_csv(file, columns):
  with file.open('w', newline='', encoding='utf-8') as handle:
    writer = csv.writer(handle)
    writer.writerow(columns)
    yield lambda values: writer.writerows(zip(*values))
