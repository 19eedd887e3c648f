"""Converts Pillow's images of any mode to upright 8-bit RGB."""

import numpy as np

_GREY = ('1', 'L', 'LA', 'I', 'I;16', 'I;16B', 'I;16L', 'I;16N')
_ALPHA = ('LA', 'PA', 'RGBA', 'RGBa')
_ORIENTATION = 0x0112  # tag of EXIF and TIFF
_BITS_PER_SAMPLE = 258  # tag of TIFF


def to_rgb(image, kind, content):
  """Decodes; returns the image in mode RGB, and the conversions made.

  Args:
    image: opened by Pillow, not yet decoded.
    kind: its format, as named by `formats.format_of`.
    content: the bytes of its file.

  Raises:
    ValueError: the level of white is unknown.
    Exception: whatever Pillow raises on damaged files.
  """
  from PIL import Image

  oddities = []
  # Loading a TIFF turns it, so read its orientation before. Loading a PNG finds
  # EXIF at its end. If asked for EXIF first, Pillow loads the PNG twice, and
  # ignores damage the second time.
  turned = kind == 'TIFF' and _orientation(image) in _turns()
  image.load()
  turn = _turns().get(_orientation(image))
  if image.mode in _GREY:
    oddities.append('greyscale')
  if image.mode in ('P', 'PA'):
    oddities.append('palette')
  if image.mode == 'CMYK':
    oddities.append('CMYK')
  bits = _bits(image, kind, content)
  if bits > 16 or image.mode == 'F':
    raise ValueError('32-bit pixels, whose range is unknown')
  if bits > 8:
    oddities.append('16-bit')
    # For colours Pillow keeps the high bytes, which is less than a level off.
    if image.mode.startswith('I'):
      levels_HW = np.asarray(image).clip(0) * (255 / (2**bits - 1))
      image = Image.fromarray(levels_HW.round().astype(np.uint8))
  if image.mode in _ALPHA or 'transparency' in image.info:
    image = image.convert('RGBA')
    if image.getextrema()[3][0] < 255:
      oddities.append('alpha')
    white = Image.new('RGBA', image.size, 'white')
    image = Image.alpha_composite(white, image)
  image = image.convert('RGB')
  if turned or turn is not None:
    oddities.append('EXIF-rotated')
  return image if turn is None else image.transpose(turn), tuple(oddities)


def _bits(image, kind, content):
  """Returns the number of bits per channel."""
  if kind == 'PNG':
    return content[24]
  if kind == 'TIFF':
    return max(image.tag_v2.get(_BITS_PER_SAMPLE, (8,)))
  return 8


def _orientation(image):
  """Returns the orientation from EXIF, 1 if there is none.

  Ignores XMP's, which Pillow reads too, but OpenCV does not.
  """
  for name in ('xmp', 'XML:com.adobe.xmp'):
    image.info.pop(name, None)
  try:
    return image.getexif().get(_ORIENTATION, 1)
  except Exception:  # damaged EXIF is no reason to refuse the image
    return 1


def _turns():
  from PIL.Image import Transpose

  return {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
  }
