"""Folders of small photographs, for the tests of `data/image_folder.py`."""

import io

import numpy as np
import pytest
from PIL import Image

from bnresearch.data import SPLITS, DamagedData, image_folder


def photo(seed=0, mean=120, kind='JPEG', **options):
  """Returns the file of a Gaussian photograph, 12 x 10 pixels."""
  noise = np.random.RandomState(seed).normal(mean, 30, (10, 12, 3))
  file = io.BytesIO()
  image = Image.fromarray(noise.round().clip(0, 255).astype(np.uint8))
  image.save(file, kind, **options)
  return file.getvalue()


def save(path, content):
  """Writes a file and the folders above it."""
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_bytes(content)


def fill(folder, counts):
  """Makes {'class folder': images}, no two the same; returns the folder."""
  for k, (name, count) in enumerate(counts.items()):
    for i in range(count):
      content = photo(1000 * k + i, 60 + 30 * k, 'PNG')
      save(folder / name / f'{i:02d}.png', content)
  return folder


def in_order(folder):
  """Makes train/ with 5 and val/ with 3 images of two classes; returns it."""
  for k, name in enumerate(['cat', 'dog']):
    for i in range(8):
      path = folder / ('val' if i < 3 else 'train') / name
      save(path / f'{i}.jpg', photo(100 * k + i, 60 + 80 * k))
  return folder


def load(folder, **options):
  """Returns both splits of a folder as it is now."""
  image_folder._scan.cache_clear()
  image_folder._warn.cache_clear()
  return [image_folder.load(s, folder=str(folder), **options) for s in SPLITS]


def refused(folder, error=DamagedData, **options):
  """Returns the message that refuses it."""
  with pytest.raises(error) as raised:
    load(folder, **options)
  return str(raised.value)
