"""Images of every format and mode, sound or not, from the bytes of a file."""

import io
import struct
import warnings
import zlib
from concurrent import futures

import cv2
import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from bnresearch.images.decoding import NO_IMAGE, Unreadable, decode, inspect

W, H = 56, 40
KINDS = ('JPEG', 'PNG', 'WebP', 'GIF', 'BMP', 'TIFF')


def photo(channels=3, seed=0):
  """Returns Gaussian levels, uint8 (H, W, channels), with unequal means."""
  means = np.array([90, 140, 60, 120])[:channels]
  noise = np.random.RandomState(seed).normal(means, 40, (H, W, channels))
  return noise.round().clip(0, 255).astype(np.uint8)


def encoded(image, kind, **options):
  """Returns the content of a file."""
  if not isinstance(image, Image.Image):
    image = Image.fromarray(image)
  file = io.BytesIO()
  image.save(file, kind, **options)
  return file.getvalue()


def oriented(orientation):
  exif = Image.Exif()
  exif[0x0112] = orientation
  return exif


def header_only(kind, width, height):
  """Returns a file that ends where its pixels should begin."""
  if kind == 'GIF':
    return b'GIF89a' + struct.pack('<HHBBB', width, height, 0, 0, 0)
  header = b'IHDR' + struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)
  length, check = struct.pack('>I', 13), struct.pack('>I', zlib.crc32(header))
  return b'\x89PNG\r\n\x1a\n' + length + header + check


# What is decoded.


@pytest.mark.parametrize(
  ('kind', 'options'),
  [
    ('PNG', {}),
    ('BMP', {}),
    ('TIFF', {}),
    ('TIFF', {'compression': 'tiff_lzw'}),
    ('WebP', {'lossless': True}),
  ],
)
def test_a_lossless_file_decodes_to_its_pixels(kind, options):
  content = encoded(photo(), kind, **options)
  image_HWC = decode(content)
  assert image_HWC.dtype == np.uint8
  np.testing.assert_array_equal(image_HWC, photo())
  assert inspect(content) == ((W, H), kind, (), '')


@pytest.mark.parametrize(
  ('mode', 'oddities'),
  [('RGB', ()), ('L', ('greyscale',)), ('CMYK', ('CMYK',))],
)
@pytest.mark.parametrize('progressive', [False, True])
def test_a_jpeg_decodes_as_by_pillow(mode, oddities, progressive):
  image = Image.fromarray(photo()).convert(mode)
  if mode == 'CMYK':
    image = Image.fromarray(photo(4), mode)
  content = encoded(image, 'JPEG', progressive=progressive)
  expected = np.asarray(Image.open(io.BytesIO(content)).convert('RGB'), int)
  assert np.abs(decode(content) - expected).max() <= 3
  assert inspect(content) == ((W, H), 'JPEG', oddities, '')


@pytest.mark.parametrize('kind', ['JPEG', 'TIFF'])
def test_inks_become_their_colours(kind):
  inks = [(0, 0, 0, 0), (255, 0, 0, 0), (0, 255, 255, 0), (0, 0, 0, 255)]
  for ink, colour in zip(inks, ['white', 'cyan', 'red', 'black']):
    content = encoded(Image.new('CMYK', (16, 16), ink), kind)
    expected = np.asarray(Image.new('RGB', (16, 16), colour), int)
    assert np.abs(decode(content) - expected).max() <= 3


UPRIGHT = {
  1: lambda a: a,
  2: lambda a: a[:, ::-1],
  3: lambda a: a[::-1, ::-1],
  4: lambda a: a[::-1],
  5: lambda a: a.swapaxes(0, 1),
  6: lambda a: np.rot90(a, -1),
  7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
  8: lambda a: np.rot90(a),
}


@pytest.mark.parametrize('kind', ['JPEG', 'PNG', 'TIFF', 'WebP'])
@pytest.mark.parametrize('orientation', UPRIGHT)
def test_an_image_is_turned_as_exif_says(orientation, kind):
  options = {'lossless': True} if kind == 'WebP' else {}
  content = encoded(photo(), kind, exif=oriented(orientation), **options)
  plain = decode(encoded(photo(), kind, **options))
  np.testing.assert_array_equal(decode(content), UPRIGHT[orientation](plain))
  assert inspect(content).oddities == ('EXIF-rotated',) * (orientation != 1)


@pytest.mark.parametrize('kind', ['JPEG', 'PNG'])
def test_an_orientation_in_xmp_alone_does_not_count(kind):
  xmp = '<x:xmpmeta xmlns:x="adobe:ns:meta/" tiff:Orientation="6"/>'
  options = {'xmp': xmp.encode()}
  if kind == 'PNG':
    options = {'pnginfo': PngImagePlugin.PngInfo()}
    options['pnginfo'].add_itxt('XML:com.adobe.xmp', xmp)
  content = encoded(photo(), kind, **options)
  opened = Image.open(io.BytesIO(content))
  assert opened.getexif()[0x0112] == 6  # Pillow would turn it
  assert decode(content).shape == (H, W, 3)
  assert inspect(content).oddities == ()


@pytest.mark.parametrize('kind', ['PNG', 'TIFF'])
def test_16_bit_grey_is_scaled_not_clipped(kind):
  levels_HW = np.random.RandomState(0).normal(30_000, 15_000, (H, W))
  levels_HW = levels_HW.round().clip(0, 65535).astype(np.uint16)
  levels_HW[0, :5] = 0, 128, 129, 257 * 255 - 129, 65535
  content = encoded(levels_HW, kind)
  expected = np.repeat(np.round(levels_HW / 257)[..., None], 3, -1)
  np.testing.assert_array_equal(decode(content), expected)
  assert decode(content)[0, :5, 0].tolist() == [0, 0, 1, 254, 255]
  assert inspect(content).oddities == ('greyscale', '16-bit')


@pytest.mark.parametrize('kind', ['png', 'tiff'])
def test_16_bit_colours_are_scaled_not_clipped(kind):
  exact = photo()
  levels = exact.astype(np.uint16) * 257
  levels[20:] = np.random.RandomState(1).randint(0, 65536, (20, W, 3))
  _, content = cv2.imencode(f'.{kind}', levels[..., ::-1])
  found = decode(content.tobytes())
  np.testing.assert_array_equal(found[:20], exact[:20])
  assert np.abs(found - levels / 257).max() < 1
  assert inspect(content.tobytes()).oddities == ('16-bit',)


@pytest.mark.parametrize(
  ('kind', 'mode'),
  [('PNG', 'RGBA'), ('PNG', 'LA'), ('TIFF', 'RGBA'), ('WebP', 'RGBA')],
)
def test_transparent_pixels_show_white(kind, mode):
  image = Image.fromarray(photo(4)).convert(mode)
  options = {'lossless': True, 'exact': True} if kind == 'WebP' else {}
  content = encoded(image, kind, **options)
  levels = np.asarray(image.convert('RGBA'), float)
  alpha = levels[..., 3:] / 255
  expected = alpha * levels[..., :3] + (1 - alpha) * 255
  assert np.abs(decode(content) - expected).max() <= 1
  grey = ('greyscale',) if mode == 'LA' else ()
  assert inspect(content).oddities == (*grey, 'alpha')


def test_one_colour_may_be_declared_transparent():
  image_HWC = photo()
  image_HWC[3, 5] = 1, 2, 3
  content = encoded(image_HWC, 'PNG', transparency=(1, 2, 3))
  image_HWC[3, 5] = 255
  np.testing.assert_array_equal(decode(content), image_HWC)
  assert inspect(content).oddities == ('alpha',)


def test_an_alpha_channel_that_is_opaque_is_not_worth_a_word():
  content = encoded(Image.fromarray(photo()).convert('RGBA'), 'PNG')
  assert inspect(content).oddities == ()


@pytest.mark.parametrize('kind', ['PNG', 'GIF', 'TIFF', 'BMP'])
def test_a_palette_is_looked_up(kind):
  image = Image.fromarray(photo()).convert('P', palette=Image.Palette.ADAPTIVE)
  content = encoded(image, kind)
  np.testing.assert_array_equal(decode(content), image.convert('RGB'))
  assert inspect(content).oddities == ('palette',)


@pytest.mark.parametrize('mode', ['L', '1'])
def test_grey_gets_three_equal_channels(mode):
  image = Image.fromarray(photo(1)[..., 0]).convert(mode)
  content = encoded(image, 'PNG')
  expected = np.asarray(image.convert('L'))[..., None].repeat(3, -1)
  np.testing.assert_array_equal(decode(content), expected)
  assert inspect(content).oddities == ('greyscale',)


# What is refused.


def animation(kind, frames):
  first, *others = (Image.fromarray(photo(3, s)) for s in range(frames))
  return encoded(first, kind, save_all=True, append_images=others)


BOMB = (
  '20,000 x 20,000 pixels, more than 100 million: refused as a decompression '
  'bomb'
)
GREY_PHOTO = Image.fromarray(photo(1)[..., 0])
WRONG = {
  'empty': (b'', 'empty file'),
  'text': (b'label,file\n1,a.jpg\n', NO_IMAGE),
  'png_bomb': (header_only('PNG', 20_000, 20_000), BOMB),
  'gif_bomb': (header_only('GIF', 20_000, 20_000), BOMB),
  'dot': (
    encoded(Image.new('RGB', (1, 1)), 'GIF'),
    '1 x 1 pixels, needs at least 8 on each side',
  ),
  'strip': (
    encoded(Image.new('RGB', (1200, 7)), 'PNG'),
    '1,200 x 7 pixels, needs at least 8 on each side',
  ),
  'gif': (animation('GIF', 12), 'animated, 12 frames'),
  'webp': (animation('WebP', 3), 'animated, 3 frames'),
  'apng': (animation('PNG', 3), 'animated, 3 frames'),
  'tiff': (animation('TIFF', 2), 'several pages, 2'),
  'deep': (
    encoded(GREY_PHOTO.convert('F'), 'TIFF'),
    'unreadable: 32-bit pixels, whose range is unknown',
  ),
  'png_damaged': (
    encoded(photo(), 'PNG').replace(b'IDAT', b'ID\0T'),
    r"unreadable: broken PNG file (chunk b'ID\x00T')",
  ),
}


@pytest.mark.parametrize('name', WRONG)
def test_what_cannot_be_trained_on_is_refused_in_one_phrase(name):
  content, problem = WRONG[name]
  assert inspect(content).problem == problem
  with pytest.raises(Unreadable) as raised:
    decode(content)
  assert str(raised.value) == problem


def test_a_jpeg_is_refused_by_the_size_in_its_header():
  sides = [struct.pack('>HH', *size) for size in ((H, W), (20_000, 20_000))]
  content = encoded(photo(), 'JPEG').replace(*sides)
  assert inspect(content).problem == BOMB


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('fraction', [0.01, 0.3, 0.6, 0.95])
def test_a_file_that_ends_early_is_called_truncated(kind, fraction, capfd):
  content = encoded(photo(), kind)
  content = content[: max(16, int(fraction * len(content)))]
  assert inspect(content).problem == 'truncated'
  with pytest.raises(Unreadable, match=r'^truncated$'):
    decode(content)
  assert capfd.readouterr() == ('', '')


@pytest.mark.parametrize('kind', KINDS)
def test_a_damaged_file_never_raises_and_if_it_passes_it_decodes(kind):
  whole, random = encoded(photo(), kind), np.random.RandomState(0)
  for _ in range(60):
    content = bytearray(whole)
    for place in random.randint(0, len(whole), 3):
      content[place] = random.randint(256)
    found = inspect(bytes(content))
    if not found.problem:
      assert decode(bytes(content)).shape == (*found.size[::-1], 3)


@pytest.mark.parametrize('options', [{}, {'exif': oriented(6)}])
def test_a_png_with_a_byte_changed_is_refused_or_has_its_pixels(options):
  whole, random = encoded(photo(), 'PNG', **options), np.random.RandomState(0)
  expected, refused = decode(whole), 0
  for _ in range(225):
    content, place = bytearray(whole), random.randint(len(whole))
    content[place] ^= random.randint(1, 256)
    try:
      np.testing.assert_array_equal(decode(bytes(content)), expected)
    except Unreadable:
      refused += 1
      assert inspect(bytes(content)).problem
  assert refused > 220


# Pillow's warnings.


def test_pillows_warnings_are_not_heard_and_the_filters_stay():
  # An EXIF directory of 99 entries, none of which is there.
  exif = b'Exif\0\0II*\0\x08\0\0\0\x63\0'
  content = encoded(photo(), 'PNG', exif=exif)
  with pytest.warns(UserWarning, match='EXIF'):
    Image.open(io.BytesIO(content)).getexif()
  with warnings.catch_warnings(record=True) as heard:
    warnings.simplefilter('always')
    before = list(warnings.filters)
    with futures.ThreadPoolExecutor(8) as pool:
      found = list(pool.map(inspect, [content] * 200))
    assert warnings.filters == before
  assert {f.problem for f in found} == {''}
  assert heard == []


@pytest.mark.parametrize('orientation', [1, 6])
@pytest.mark.parametrize(
  ('detail', 'part'), [(0, 1), (800, 1), (400, 2), (201, 2), (200, 4), (99, 8)]
)
def test_a_large_jpeg_is_decoded_smaller(detail, part, orientation):
  noise = np.random.RandomState(0).normal(120, 60, (100, 150, 3))
  small = Image.fromarray(noise.round().clip(0, 255).astype(np.uint8))
  file, exif = io.BytesIO(), Image.Exif()
  exif[0x0112] = orientation
  small.resize((1200, 800), Image.BICUBIC).save(
    file, 'JPEG', quality=95, exif=exif
  )
  assert len(file.getvalue()) > 2**17
  whole = Image.fromarray(decode(file.getvalue()))
  shape = tuple(side // part for side in whole.size)
  made = decode(file.getvalue(), detail)
  assert made.shape == (*shape[::-1], 3)
  expected = np.asarray(whole.resize(shape, Image.BOX), np.float64)
  assert np.abs(made - expected).mean() < 3
