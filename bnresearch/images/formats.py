"""Formats of image files, and what their first bytes declare."""

import importlib
import io
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
  from PIL import Image

HEAD = 16  # bytes that identify the format


def format_of(content: bytes) -> str:
  """Returns the format told by the first `HEAD` bytes of a file, or ''."""
  if content[:4] == b'RIFF' and content[8:12] == b'WEBP':
    return 'WebP'
  signatures = {
    b'\xff\xd8\xff': 'JPEG',
    b'\x89PNG\r\n\x1a\n': 'PNG',
    b'GIF87a': 'GIF',
    b'GIF89a': 'GIF',
    b'BM': 'BMP',
    b'II*\0': 'TIFF',
    b'MM\0*': 'TIFF',
    b'II+\0': 'TIFF',  # with 64-bit offsets
    b'MM\0+': 'TIFF',
  }
  fits = (f for s, f in signatures.items() if content.startswith(s))
  return next(fits, '')


def declared_size(kind: str, content: bytes) -> tuple[int, int]:
  """Returns the (width, height) that PNG and GIF declare first, else (0, 0).

  Their plugins read on after the size, which may fail.
  """
  if kind == 'PNG':
    return struct.unpack_from('>II', content, 16)
  return struct.unpack_from('<HH', content, 6) if kind == 'GIF' else (0, 0)


def declared_length(kind: str, content: bytes) -> int:
  """Returns the least length that a WebP or TIFF file declares; else 0.

  Their decoders do not tell a missing end from other damage.
  """
  if kind == 'WebP':
    return int.from_bytes(content[4:8], 'little') + 8
  if kind == 'TIFF':  # the directory, often at the end
    order = 'little' if content[:2] == b'II' else 'big'
    start = int.from_bytes(content[4:8], order)
    return start + 2 + 12 * int.from_bytes(content[start : start + 2], order)
  return 0


def opened(kind: str, content: bytes) -> 'Image.Image':
  """Opens an image by the format's own Pillow class; reads only the header.

  `Image.open` checks sizes itself, by limits of the process and without
  reporting the sides, and takes a JPEG with a preview for a series of frames.
  """
  name = kind if kind == 'WebP' else kind.title()
  plugin = importlib.import_module(f'PIL.{name}ImagePlugin')
  return getattr(plugin, f'{name}ImageFile')(io.BytesIO(content))
