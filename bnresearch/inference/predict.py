"""A run's predictions on image files, one or thousands."""

import dataclasses
import functools
import math
import os
import pathlib
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import jax
import numpy as np

from bnresearch.data import Arrays, Images, Source
from bnresearch.images import decoding
from bnresearch.inference.run import Run
from bnresearch.statistics import shards
from bnresearch.training import parallel, stream
from bnresearch.training.state import State

Network = tuple[Run, State]  # the state from `run.restore`

_BATCH = 16
_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


class Prediction(NamedTuple):
  """A network's prediction for one file.

  Attributes:
    file: the file's path.
    probabilities_K: probability of each class; empty if there is a problem.
    problem: why there is no prediction, or ''.
  """

  file: str
  probabilities_K: np.ndarray
  problem: str = ''


def files(paths: Iterable[str | os.PathLike]) -> list[str]:
  """Returns the files, and all files in folders, sorted in each folder.

  Folders are searched recursively, without hidden entries. Entries that are no
  files, such as links to folders or broken links, are included, so that
  `predict` reports them.

  Raises:
    FileNotFoundError: some paths do not exist; the message names them all.
  """
  paths = [pathlib.Path(path) for path in paths]
  missing = [str(path) for path in paths if not path.exists()]
  if missing:
    raise FileNotFoundError(f'There is no {", no ".join(missing)}.')
  found = []
  for path in paths:
    inside = sorted(_below(path)) if path.is_dir() else [path]
    found += map(str, inside)
  return found


def _below(folder):
  """Yields all entries in a folder and below that are not folders."""
  unread = []
  for parent, folders, names in os.walk(folder, onerror=unread.append):
    here = pathlib.Path(parent)
    folders[:] = [name for name in folders if not name.startswith('.')]
    links = [name for name in folders if (here / name).is_symlink()]
    for name in (*names, *links):
      if not name.startswith('.'):
        yield here / name
  for error in unread:
    yield pathlib.Path(error.filename)


def predict(
  run: Run,
  state: State,
  paths: Iterable[str | os.PathLike],
  crop_count: int = 1,
) -> Iterator[Prediction]:
  """Yields the prediction for each file, in order, as soon as it is made.

  Crops an image as the run's evaluation does, and makes it grey if the network
  takes grey images. A file's prediction does not depend on other files.

  Args:
    run: provides network and classes.
    state: from `run.restore`; its running statistics normalize.
    paths: paths of files, see `files`.
    crop_count: number of crops whose probabilities are averaged: 1, the run's
      own; 10 or 144, see `Images.crop`.

  Raises:
    ValueError: a network on images of one small size cannot take so many crops.
  """
  H, _, C = run.spec.image_shape
  asked = _Asked(tuple(map(str, paths)), decoding.DETAIL * H)
  crop = functools.partial(_as_trained, run.parts.images.crop(crop_count), C)
  made = of_networks([(run, state)], asked, crop, crop_count)
  for file, ((probabilities_K,), readable) in zip(asked.paths, made):
    if readable:
      yield Prediction(file, probabilities_K)
    else:
      yield Prediction(file, probabilities_K[:0], _problem(file))


def probabilities(
  run: Run, state: State, source: Source
) -> Iterator[tuple[np.ndarray, int]]:
  """Yields (probabilities (K,), label) of each example of a source, in order.

  Takes one crop of each image, the run's own; otherwise as `of_networks`.
  """
  for (probabilities_K,), label in of_networks([(run, state)], source):
    yield probabilities_K, label


def of_networks(
  networks: Sequence[Network],
  source: Images,
  crop: stream.Crop | None = None,
  crop_count: int = 1,
  batch_size: int = _BATCH,
) -> Iterator[tuple[np.ndarray, int]]:
  """Yields (probabilities (M, K), label) of each example of a source, in order.

  Args:
    networks: M networks that take the same images; each image is read and
      cropped once for all of them. Running statistics normalize.
    source: images that suit the networks once `crop` has cropped them.
    crop: see `Images.crop`; by default that of the first run.
    crop_count: number of crops per image; the probabilities of several are
      averaged.
    batch_size: the most crops that a network gets at a time, not counting
      padding; they are split over all devices of this host. All batches have
      one size, with the last one padded, so that an image's result does not
      depend on how many others there are.
  """
  run, _ = networks[0]
  at_a_time = max(1, batch_size // crop_count)
  calls = math.ceil(at_a_time * crop_count / batch_size)
  batch_size = math.ceil(at_a_time * crop_count / calls)
  view = crop or run.parts.images.crop()
  models = [run.model for run, _ in networks]
  with parallel.on_devices(*models):
    placed = [
      (run, parallel.shared((state.params, state.collections)))
      for run, state in networks
    ]
  for images, labels_N in stream.in_order(source, view, at_a_time):
    if crop_count > 1 and isinstance(source, Arrays):  # not cropped yet
      images = np.stack([view(image) for image in images])
    images_NHWC = images.reshape(-1, *run.spec.image_shape)
    with parallel.on_devices(*models):
      of_crops = _softmax(placed, images_NHWC, batch_size)
    M, _, K = of_crops.shape
    of_images = of_crops.reshape(M, len(labels_N), crop_count, K).mean(2)
    yield from zip(of_images.swapaxes(0, 1), labels_N.tolist())


def _softmax(placed, images_NHWC, batch_size):
  """Returns probabilities (M, N, K) for any N."""
  found = []
  rows = -(-batch_size // shards.count()) * shards.count()
  for start in range(0, len(images_NHWC), batch_size):
    batch = images_NHWC[start : start + batch_size]
    extra = rows - len(batch)
    padded = np.pad(batch, [(0, extra), (0, 0), (0, 0), (0, 0)])
    images = parallel.split(padded)
    # Start all before waiting for the first one.
    softmax = [run.probabilities(*network, images) for run, network in placed]
    found.append(np.stack(jax.device_get(softmax))[:, : len(batch)])
  return np.concatenate(found, axis=1)


def _as_trained(crop, channels, image_HWC):
  image_HWC = crop(image_HWC)
  if channels == 3:
    return image_HWC
  grey = image_HWC @ np.asarray(_LUMA, np.float32)
  return grey.round().astype(np.uint8)[..., None]


@dataclasses.dataclass(frozen=True)
class _Asked:
  """Files as a source; the label says whether one is readable."""

  paths: tuple[str, ...]
  detail: int

  def __len__(self):
    return len(self.paths)

  def __getitem__(self, index):
    file = self.paths[index]
    if _problem(file):
      return np.zeros((decoding.MIN_SIDE, decoding.MIN_SIDE, 3), np.uint8), 0
    return decoding.decode(pathlib.Path(file).read_bytes(), self.detail), 1


def _problem(file):
  path = pathlib.Path(file)
  try:
    if path.is_dir():
      if path.is_symlink():
        return 'a link to a folder, not followed: name it beside the others'
      os.listdir(path)  # raises: it could not be read before
    if path.is_symlink() and not path.exists():
      return 'a broken link'
    if path.exists() and not path.is_file():  # reading a pipe takes forever
      return 'neither a file nor a folder that can be read'
    return decoding.inspect(path.read_bytes()).problem
  except OSError as error:
    return error.strerror
