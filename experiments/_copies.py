"""Numbers and figures of the site: as they are, in fewer bytes."""

import json
import pathlib
import re
import shutil

_THUMB = 960, 180  # pixels; the height is twice what is shown
# Coordinates of a path, a marker or a clip; a glyph's scale stays as it is.
_PLACES = re.compile(r'(?<=[ "])(?:d|x|y|width|height|points)="[^"]*"')
_LONG = re.compile(r'-?\d+\.?\d*e-?\d+|-?\d+\.\d{3,}')
_AROUND = re.compile(r'\s*([A-Zz])\s*')  # a command of a path
_BETWEEN = re.compile(r'>\s+<')
_DECIMALS = 2  # of a point, 1/72 inch


def copy(stem: str, results: pathlib.Path, to: pathlib.Path) -> list[str]:
  """Copies a result; returns the endings of what there is now.

  Its numbers lose their spaces, and the coordinates of its SVG all but two
  decimals. A PNG is left out where there is an SVG, and gets a small copy,
  STEM.webp, in any case.

  Args:
    stem: of the result.
    results: the folder that has it.
    to: the folder that gets it.
  """
  json_, png, svg = (results / f'{stem}.{e}' for e in ('json', 'png', 'svg'))
  found = []
  if json_.exists():
    numbers = json.loads(json_.read_text(encoding='utf-8'))
    small = json.dumps(numbers, separators=(',', ':'))
    (to / json_.name).write_text(small, encoding='utf-8')
    found.append('.json')
  if svg.exists():
    drawn = slim(svg.read_text(encoding='utf-8'))
    (to / svg.name).write_text(drawn, encoding='utf-8')
    found.append('.svg')
  elif png.exists():
    shutil.copy(png, to)
    found.append('.png')
  if png.exists():
    _thumb(png, to / f'{stem}.webp')
    found.append('.webp')
  return found


def slim(svg: str) -> str:
  """Returns an SVG of Matplotlib with coordinates of two decimals.

  It has no spaces between its elements; its words are paths.
  """
  return _BETWEEN.sub('><', _PLACES.sub(_shorter, svg))


def _shorter(found):
  text = _LONG.sub(_rounded, found[0])
  return _AROUND.sub(r'\1', text) if text.startswith('d=') else text


def _rounded(found):
  return f'{float(found[0]):.{_DECIMALS}f}'.rstrip('0').rstrip('.')


def _thumb(file, to):
  """Writes a small copy of a picture."""
  from PIL import Image

  with Image.open(file) as picture:
    small = picture.convert('RGB')
    small.thumbnail(_THUMB)
    small.save(to, quality=80)
