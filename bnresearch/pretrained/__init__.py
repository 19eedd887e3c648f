"""Pretrained weights of other libraries, mapped to our trees by explicit names.

  from bnresearch import pretrained
  variables = pretrained.load('resnet50.pth', 'torchvision', model, 224)

Each file covers one architecture, with a function per source, such as
`keras(model)` or `torchvision(model)`. It returns `Names`: the path of each of
our layers, and the source's name of it. The file's `OPTIONS` say which options
our network needs to have the source's logits. Nothing is downloaded, and what a
file names is never run, also of PyTorch's pickles (`_pth.py`).

Differences that names, shapes and options do not show go unnoticed: a ResNet
with blur pooling, such as timm's, is taken for one without.
"""

import os
from collections.abc import Callable, Collection
from typing import Any

import flax.linen as nn

from bnresearch import lookup
from bnresearch.models import shapes
from bnresearch.pretrained import _options
from bnresearch.pretrained._convert import SOURCES as SOURCES
from bnresearch.pretrained._convert import Names as Names
from bnresearch.pretrained._convert import SourceLayer as SourceLayer
from bnresearch.pretrained._convert import Unmatched as Unmatched
from bnresearch.pretrained._convert import basic_conv as basic_conv
from bnresearch.pretrained._convert import convert as convert
from bnresearch.pretrained._convert import read


def check(
  source: str,
  model: nn.Module,
  size: int | None = None,
  excluded: Callable[[str], bool] = lambda path: False,
) -> Names:
  """Returns the names of a model's layers, if a source's weights may suit it.

  Args:
    source: as in `load`.
    model: likewise.
    size: likewise; None if unknown.
    excluded: whether to leave out the layer of a path, 'stem' or 'stem/norm'.

  Raises:
    Unmatched: its logits would differ from the source's; the message names each
      differing option by its knob.
    LookupError, ValueError: see `load`.
  """
  room = type(model).__module__.rpartition('.')[2]
  entry = lookup.find('pretrained', room)
  known = [name for name in SOURCES if hasattr(entry, name)]
  if source not in known:
    raise ValueError(
      f'source = {source!r}: of {room}, needs one of {", ".join(known)}.'
    )
  names = getattr(entry, source)(model)
  norms = [
    path
    for path, theirs in names.items()
    if theirs.norm and not excluded(f'{path}/norm')
  ]
  own = getattr(entry, 'OPTIONS', {}).get(source, {})
  problems = _options.problems(model, norms, own)
  multiple = getattr(entry, 'SIZES', {}).get(source, 1)
  if size is not None and size % multiple:
    problems.append(
      f'data.image_size = {size}: needs a multiple of {multiple}, others are '
      'padded in another way'
    )
  if problems:
    title = (
      f"The weights are of {source}'s {room}. With these options, this network "
      'would make other logits of them:'
    )
    raise Unmatched('\n  '.join([title, *problems]))
  return names


def load(
  path: str | os.PathLike,
  source: str,
  model: nn.Module,
  size: int,
  excluded: Collection[str] = (),
) -> dict[str, Any]:
  """Returns the variables of `model` from a file of pretrained weights.

  Args:
    path: a `.safetensors` or `.npz` file of arrays by name, as in PyTorch's
      `state_dict()` or Keras's `variable.path`; or `.pth`, `.pt` or `.bin`, a
      state dict that `torch.save` wrote.
    source: 'keras', 'timm' or 'torchvision'; the arrays have its names and
      layout.
    model: one of `bnresearch.models`, with batch normalizers or none.
    size: height and width of the images that the weights are for, in pixels:
      kernels that see a whole map depend on it.
    excluded: paths of our variables to leave out, such as
      'params/logits/kernel' if the head is for other classes.

  Raises:
    Unmatched: a name is missing on either side, a shape differs, a value is not
      finite, a variance is negative, or `check` finds other options.
    LookupError: the architecture has no pretrained weights.
    ValueError: the file has another format, is damaged or holds more than a
      state dict, or the source is unknown.
  """
  layers = {path.partition('/')[2].rpartition('/')[0] for path in excluded}
  names = check(source, model, size, layers.__contains__)
  template = shapes(model, size)
  return convert(read(path), SOURCES[source], names, template, excluded)
