"""Batches from any source, made ahead of the training by Grain.

A batch is made as a whole, from its number: the seed and the step alone decide
its examples and how each is cropped. So it is the same to the byte, however
many threads, processes and hosts make batches.
"""

import contextlib
import dataclasses
import errno
import math
import os
import pathlib
import shutil
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterator
from typing import NamedTuple

import jax
import numpy as np
from absl import flags

from bnresearch.data import Arrays, Images
from bnresearch.images.boxes import ATTEMPTS
from bnresearch.machine import process
from bnresearch.terminal import ConfigError
from bnresearch.training.order import Order

_AHEAD = 2  # batches that wait for training, besides those in the making
RESIDENT_BYTES = 2**30  # most that a split's images may take on the device
_SHARED = pathlib.Path('/dev/shm')  # Linux's
Crop = Callable[[np.ndarray], np.ndarray]  # of an image, uint8
RandomCrop = Callable[[np.ndarray, np.ndarray], np.ndarray]  # and of draws

_CROP = 0x637270  # sets the draws of crops apart from those of the order


class Examples(NamedTuple):
  """Images uint8 NHWC and labels int32 (N,); a batch, or a whole split."""

  images: np.ndarray
  labels: np.ndarray


# To be closed by who stops before the last: that ends what makes them.
Batches = Generator[Examples, None, None]


class Host(NamedTuple):
  """This host among all of them: each makes its part of every batch."""

  index: int = 0
  count: int = 1


ALONE = Host()


def training(
  source: Images,
  order: Order,
  crop: RandomCrop,
  steps: range,
  workers: int = 0,
  host: Host = ALONE,
) -> Batches:
  """Yields the training batches at `steps`, this host's part of each.

  Args:
    source: the training split.
    order: which examples make which batch.
    crop: crops an image to the network's size, where images differ in size;
      its draws, (`ATTEMPTS`, 4), are uniform in [0, 1).
    steps: those to make batches for.
    workers: processes that make batches; 0 for threads of this one.
    host: which one this is.

  Raises:
    ValueError: the batch size is not a multiple of the number of hosts.
  """
  if order.batch_size % host.count:
    raise ValueError(
      f'train.batch_size = {order.batch_size}: must be a multiple of the '
      f'{host.count} hosts.'
    )
  make = _TrainingBatch(source, order, crop, host)
  return _made(make, steps, source, workers)


def in_order(
  source: Images,
  crop: Crop,
  batch_size: int,
  count: int | None = None,
  workers: int = 0,
  rows: range | None = None,
) -> Iterator[Examples]:
  """Yields the first `count` examples in their order.

  The last batch may be smaller.

  Args:
    source: any.
    crop: crops an image to the network's size, where images differ in size.
    batch_size: N.
    count: how many examples; None for all.
    workers: processes that make batches; 0 for threads of this one.
    rows: those to make of each batch, such as a host's part; None for all. A
      batch without any of them still makes one example.
  """
  count = len(source) if count is None else min(count, len(source))
  make = _OrderedBatch(source, crop, batch_size, count, rows)
  return _made(make, range(-(-count // batch_size)), source, workers)


@dataclasses.dataclass(frozen=True)
class _TrainingBatch:
  source: Images
  order: Order
  crop: RandomCrop
  host: Host

  def __call__(self, step: int) -> Examples:
    (indices_N,) = self.order.indices(range(step, step + 1))
    share = len(indices_N) // self.host.count
    mine = slice(self.host.index * share, (self.host.index + 1) * share)
    if isinstance(self.source, Arrays):
      return _gathered(self.source, indices_N[mine])
    random = np.random.RandomState([self.order.seed, step, _CROP])
    uniform_NA4 = random.random_sample((len(indices_N), ATTEMPTS, 4))
    return _examples(
      (self.crop(image, uniform_A4), label)
      for (image, label), uniform_A4 in zip(
        map(self.source.__getitem__, indices_N[mine].tolist()),
        uniform_NA4[mine].astype(np.float32),
      )
    )


@dataclasses.dataclass(frozen=True)
class _OrderedBatch:
  source: Images
  crop: Crop
  batch_size: int
  count: int
  rows: range | None

  def __call__(self, number: int) -> Examples:
    start = number * self.batch_size
    here = range(start, min(start + self.batch_size, self.count))
    if self.rows is not None:
      here = here[self.rows.start : self.rows.stop] or here[:1]
    if isinstance(self.source, Arrays):
      return _gathered(self.source, slice(here.start, here.stop))
    return _examples(
      (self.crop(image), label)
      for image, label in map(self.source.__getitem__, here)
    )


def check_shared_memory(
  source: Images,
  workers: int,
  batch_size: int,
  image_shape: tuple[int, int, int],
) -> None:
  """Raises ConfigError if the workers' batches cannot fit into /dev/shm.

  Each worker holds two: one that waits to be fetched, and the next one.
  """
  if isinstance(source, Arrays) or not _SHARED.is_dir():
    return
  needed = 2 * workers * batch_size * math.prod(image_shape)
  if needed > shutil.disk_usage(_SHARED).free:
    raise ConfigError(_too_small(workers, f'needs {needed / 1e6:,.1f} MB'))


def _too_small(workers, why):
  free = shutil.disk_usage(_SHARED).free / 1e6
  return (
    f'data.workers = {workers}: {why} in {_SHARED}, over which processes hand '
    f'on their batches, and {free:,.1f} MB are free. Give it more, as by '
    'docker run --shm-size=8g, or use data.workers=0, threads.'
  )


@contextlib.contextmanager
def _told(workers):
  """Explains the error of a worker that ran out of shared memory."""
  try:
    yield
  except (OSError, RuntimeError) as error:
    full = isinstance(error, OSError) and error.errno == errno.ENOSPC
    # A write to shared memory gets this signal where there is no room for it.
    killed = f'exit code {-signal.SIGBUS}' in str(error)
    if not workers or not (full or killed):
      raise
    raise ConfigError(_too_small(workers, 'there is no room')) from error


def _gathered(arrays, indices):
  return Examples(arrays.images_NHWC[indices], arrays.labels_N[indices])


def _examples(pairs):
  images, labels = zip(*pairs)
  return Examples(np.stack(images), np.asarray(labels, np.int32))


def _made(make, numbers, source, workers):
  """Yields `make(number)` for each, in order, made ahead of time.

  Images in memory are gathered on demand: handing them from thread to thread,
  let alone to another process, takes longer.
  """
  if isinstance(source, Arrays):
    yield from map(make, numbers)
    return
  import grain  # 2.7 s

  if not flags.FLAGS.is_parsed():  # Grain hands them on to its processes
    flags.FLAGS.mark_as_parsed()
  batches = grain.MapDataset.range(numbers.start, numbers.stop).map(make)
  if workers:
    made = batches.to_iter_dataset(grain.ReadOptions(0, 0)).mp_prefetch(
      grain.multiprocessing.MultiprocessingOptions(workers),
      worker_init_fn=_follow_parent,
    )
  else:
    threads = max(1, process.cores() - 1)
    made = batches.to_iter_dataset(grain.ReadOptions(threads, threads + _AHEAD))
  with _told(workers), contextlib.closing(iter(made)) as iterator:
    for batch in iterator:
      # A copy, as Grain warns at the end of the process of memory that it
      # shares with its workers and that is still in use.
      yield jax.tree.map(np.array, batch) if workers else batch


def _follow_parent(index, count):
  """Ends a worker with its parent, even a killed one, and not before.

  The signals that ask a run to save itself may reach its whole group, so a
  worker ignores them.
  """
  for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, signal.SIG_IGN)
  parent = os.getppid()

  def follow():
    while os.getppid() == parent:
      time.sleep(1)
    os._exit(1)

  threading.Thread(target=follow, daemon=True).start()
