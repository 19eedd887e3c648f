"""Contestants of `benchmarks.data`: this code, tf.data, PyTorch's DataLoader.

Each player takes the case and the number of batches, and yields that many after
one to warm up; the caller measures the time. All of them shuffle. They crop
photographs at random and resize them to uint8; they shift small images by up to
2 pixels, flip them, and convert them to float32.
"""

import io
import os
import pathlib
from collections.abc import Iterator

import jax
import numpy as np

from bnresearch import config as configs
from bnresearch import data
from bnresearch.assembly import assemble
from configs import default

SIZE = 224  # pixels of a cropped photograph
SHIFT = 2
SHAPES = {'mnist': (28, 28, 1), 'cifar': (32, 32, 3)}
BATCHES = {'photographs': 32, 'mnist': 256, 'cifar': 256}
AREA, ASPECT = (0.08, 1.0), (3 / 4, 4 / 3)


def small(case: str) -> data.Arrays:
  """Returns 50,000 random images of the case's size."""
  random = np.random.RandomState(0)
  images = random.randint(0, 256, (50_000, *SHAPES[case]), np.uint8)
  labels = random.randint(0, 10, len(images)).astype(np.int32)
  return data.Arrays(images, labels, tuple('0123456789'))


def _photographs(folder) -> list[str]:
  return sorted(map(str, pathlib.Path(folder).rglob('*.jpg')))


def ours(case: str, count: int, folder: str) -> Iterator[object]:
  """Makes photographs in Grain's threads, small images on the device."""
  config = default.get_config()
  values = {'train.batch_size': BATCHES[case]}
  if case == 'photographs':
    values |= {
      'data.name': 'image_folder',
      'data.folder': folder,
      'data.image_size': SIZE,
      'augment.crop': 'resized',
    }
    configs.override(config, values)
    yield from assemble(config).training.batches(range(count + 1))
    return
  values |= {
    'augment.crop': 'padded',
    'augment.padding': SHIFT,
    'augment.flip': True,
  }
  configs.override(config, values)
  source = small(case)
  parts = assemble(config, sources={'train': source})
  inputs = parts.images.inputs
  images, labels = jax.device_put((source.images_NHWC, source.labels_N))

  @jax.jit
  def batch_at(images, labels, indices_N, key):
    rows = images.reshape(len(images), -1)[indices_N]
    chosen = rows.reshape(-1, *images.shape[1:])
    return inputs(key, chosen, labels[indices_N])

  key = jax.random.key(0)
  for t in range(count + 1):
    (indices_N,) = parts.training.order.indices(range(t, t + 1))
    made = batch_at(images, labels, indices_N, jax.random.fold_in(key, t))
    yield jax.block_until_ready(made)


def tf_data(case: str, count: int, folder: str) -> Iterator[object]:
  """Uses tf.data: fused decoding and cropping, or whole batches at once."""
  os.environ['TF_CPP_MIN_LOG_LEVEL'] = '3'
  import tensorflow as tf

  if case == 'photographs':
    files = _photographs(folder)
    made = tf.data.Dataset.from_tensor_slices(files).shuffle(len(files))
    made = made.repeat().map(_tf_crop(tf), num_parallel_calls=1)
    made = made.batch(BATCHES[case]).take(count + 1).prefetch(2)
  else:
    arrays = small(case)
    images = tf.constant(arrays.images_NHWC)
    labels = tf.constant(arrays.labels_N)
    made = tf.data.Dataset.range(len(labels)).shuffle(len(labels)).repeat()
    change = _tf_change(tf)
    made = made.batch(BATCHES[case]).map(
      lambda n: (change(tf.gather(images, n)), tf.gather(labels, n))
    )
    made = made.take(count + 1)
  yield from made.as_numpy_iterator()


def _tf_crop(tf):
  def crop(file):
    content = tf.io.read_file(file)
    begin, size, _ = tf.image.sample_distorted_bounding_box(
      tf.image.extract_jpeg_shape(content),
      tf.zeros([0, 0, 4]),
      aspect_ratio_range=ASPECT,
      area_range=AREA,
      max_attempts=10,
      use_image_if_no_bounding_boxes=True,
    )
    window = tf.concat([begin[:2], size[:2]], 0)
    image = tf.image.decode_and_crop_jpeg(content, window, channels=3)
    return tf.cast(tf.image.resize(image, [SIZE, SIZE]), tf.uint8)

  return crop


def _tf_change(tf):
  def change(images):
    N, H, W = tf.shape(images)[0], images.shape[1], images.shape[2]
    padded = tf.pad(images, [[0, 0], [SHIFT, SHIFT], [SHIFT, SHIFT], [0, 0]])
    for axis, length in ((1, H), (2, W)):
      first = tf.random.uniform([N, 1], 0, 2 * SHIFT + 1, tf.int32)
      padded = tf.gather(
        padded, first + tf.range(length), axis=axis, batch_dims=1
      )
    return tf.cast(tf.image.random_flip_left_right(padded), tf.float32) / 255

  return change


def data_loader(case: str, count: int, folder: str) -> Iterator[object]:
  """Uses DataLoader: Pillow, as torchvision does, or whole batches at once."""
  import torch
  from PIL import Image

  torch.set_num_threads(1)
  N = BATCHES[case]

  class Photographs(torch.utils.data.Dataset):
    files = _photographs(folder) if case == 'photographs' else ()

    def __len__(self):
      return len(self.files)

    def __getitem__(self, n):
      with open(self.files[n], 'rb') as file:
        image = Image.open(io.BytesIO(file.read())).convert('RGB')
      box = _torch_box(torch, image.height, image.width)
      image = image.crop(box).resize((SIZE, SIZE), Image.BILINEAR)
      return torch.from_numpy(np.array(image))

  class Small(torch.utils.data.Dataset):
    def __init__(self):
      arrays = small(case)
      self.images = torch.from_numpy(arrays.images_NHWC)
      self.labels = torch.from_numpy(arrays.labels_N)

    def __len__(self):
      return len(self.labels)

    def __getitems__(self, numbers):
      return _torch_change(torch, self.images[numbers]), self.labels[numbers]

  photographs = case == 'photographs'
  loader = torch.utils.data.DataLoader(
    Photographs() if photographs else Small(),
    N,
    shuffle=True,
    collate_fn=None if photographs else lambda batch: batch,
  )
  made = 0
  while made <= count:
    for batch in loader:
      made += 1
      yield batch
      if made > count:
        return


def _torch_box(torch, height, width):
  """Draws a box as torchvision's RandomResizedCrop does."""
  low, high = np.log(ASPECT)
  for _ in range(10):
    area = height * width * torch.empty(1).uniform_(*AREA).item()
    aspect = np.exp(torch.empty(1).uniform_(low, high).item())
    w, h = round((area * aspect) ** 0.5), round((area / aspect) ** 0.5)
    if 0 < w <= width and 0 < h <= height:
      top = torch.randint(0, height - h + 1, (1,)).item()
      left = torch.randint(0, width - w + 1, (1,)).item()
      return left, top, left + w, top + h
  return 0, 0, width, height


def _torch_change(torch, images):
  N, H, W, _ = images.shape
  padded = torch.nn.functional.pad(images, (0, 0, SHIFT, SHIFT, SHIFT, SHIFT))
  rows, columns = (
    torch.randint(0, 2 * SHIFT + 1, (N, 1)) + torch.arange(length)
    for length in (H, W)
  )
  n = torch.arange(N)[:, None, None]
  shifted = padded[n, rows[:, :, None], columns[:, None, :]]
  flipped = torch.where(torch.rand(N, 1, 1, 1) < 0.5, shifted.flip(2), shifted)
  return flipped.float() / 255


PLAYERS = {
  'bnresearch': (ours, 'jax'),
  'tf.data': (tf_data, 'tensorflow'),
  'DataLoader': (data_loader, 'torch'),
}
