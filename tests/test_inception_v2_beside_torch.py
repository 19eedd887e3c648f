"""BN-Inception beside one that is written in PyTorch from the paper's table.

No library has this network with slim's paddings, which are those of the
authors' framework: Caffe's and PyTorch's shift the image by a pixel where a
stride meets a map of even size. Slim's own logits are in `test_zoo.py`.
"""

import pytest

from bnresearch import zoo
from bnresearch.pretrained import SourceLayer
from tests.published import assert_same_as_torch

SIZE = 64

# Ioffe & Szegedy 2015, Figure 5: 1x1; 3x3 reduce, 3x3; double 3x3 reduce,
# double 3x3; pooling, its projection. '-' is what a module lacks.
FIGURE_5 = """
3a   64   64  64   64  96  avg  32
3b   64   64  96   64  96  avg  64
3c    -  128 160   64  96  max   -
4a  224   64  96   96 128  avg 128
4b  192   96 128   96 128  avg 128
4c  160  128 160  128 160  avg 128
4d   96  128 192  160 192  avg 128
4e    -  128 192  192 256  max   -
5a  352  192 320  160 224  avg 128
5b  352  192 320  192 224  max 128
"""


def written_in_torch(separable, normalized_stem, projection):
  """Returns the network, and {path of our layer: its names there}.

  Args:
    separable: whether the first convolution is.
    normalized_stem: whether it has BN; a bias if not.
    projection: of the pooled branch of 4c and 4d.
  """
  import torch
  from torch import nn
  from torch.nn import functional

  names = {}

  def halved(x, window, value=0.0):
    """Pads for a stride of 2 as TensorFlow does: more behind than before."""
    total = max(0, window - 2 + x.shape[-1] % 2)
    before, after = total // 2, total - total // 2
    return functional.pad(x, (before, after, before, after), value=value)

  class Layer(nn.Module):
    def __init__(self, path, inputs, outputs, window, stride=1, norm=True):
      super().__init__()
      self.window, self.stride = window, stride
      padding = 0 if stride == 2 else window // 2
      self.conv = nn.Conv2d(
        inputs, outputs, window, stride, padding, bias=not norm
      )
      self.bn = nn.BatchNorm2d(outputs, eps=1e-3) if norm else nn.Identity()
      self.path = path

    def forward(self, x):
      x = halved(x, self.window) if self.stride == 2 else x
      return torch.relu(self.bn(self.conv(x)))

  class Depthwise(nn.Module):
    path = 'stem_1_depthwise'

    def __init__(self):
      super().__init__()
      self.conv = nn.Conv2d(3, 24, 7, 2, groups=3, bias=False)

    def forward(self, x):
      return self.conv(halved(x, 7))

  class Smallest(nn.Module):
    """Max pooling of 3x3 with a stride of 2."""

    def forward(self, x):
      return functional.max_pool2d(halved(x, 3, -torch.inf), 3, 2)

  class Module(nn.Module):
    def __init__(self, name, inputs, row):
      super().__init__()
      one, reduce, three, double_reduce, double, pool, projected = row
      stride = 1 if one else 2
      path = f'inception_{name}/branch_{{}}/conv_{{}}'.format
      first = 1 if one else 0  # our branches have numbers without gaps
      branches = [Layer(path(1, 1), inputs, one, 1)] if one else []
      branches.append(
        nn.Sequential(
          Layer(path(first + 1, 1), inputs, reduce, 1),
          Layer(path(first + 1, 2), reduce, three, 3, stride),
        )
      )
      branches.append(
        nn.Sequential(
          Layer(path(first + 2, 1), inputs, double_reduce, 1),
          Layer(path(first + 2, 2), double_reduce, double, 3),
          Layer(path(first + 2, 3), double, double, 3, stride),
        )
      )
      if stride == 2:
        pooled = Smallest()
      elif pool == 'max':
        pooled = nn.MaxPool2d(3, 1, 1)
      else:
        pooled = nn.AvgPool2d(3, 1, 1, count_include_pad=False)
      last = [Layer(path(first + 3, 2), inputs, projected, 1)] if one else []
      branches.append(nn.Sequential(pooled, *last))
      self.branches = nn.ModuleList(branches)
      self.outputs = one + three + double + (projected or inputs)

    def forward(self, x):
      return torch.cat([branch(x) for branch in self.branches], 1)

  stem = (
    [Depthwise(), Layer('stem_1', 24, 64, 1, norm=normalized_stem)]
    if separable
    else [Layer('stem_1', 3, 64, 7, 2, norm=normalized_stem)]
  )
  layers = [
    *(*stem, Smallest(), Layer('stem_2', 64, 64, 1)),
    *(Layer('stem_3', 64, 192, 3), Smallest()),
  ]
  channels = 192
  for line in FIGURE_5.split('\n')[1:-1]:
    name, *words = line.replace('-', '0').split()
    row = [word if word in ('avg', 'max') else int(word) for word in words]
    row[-1] = projection if name in ('4c', '4d') else row[-1]
    layers.append(Module(name, channels, row))
    channels = layers[-1].outputs
  network = nn.Sequential(
    *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 1000)
  )
  for name, module in network.named_modules():
    if path := getattr(module, 'path', None):
      has_norm = isinstance(getattr(module, 'bn', None), nn.BatchNorm2d)
      norm = f'{name}.bn' if has_norm else None
      names[path] = SourceLayer(f'{name}.conv', norm)
    elif isinstance(module, nn.Linear):
      names['logits'] = SourceLayer(name)
  return network, names


@pytest.mark.foreign
@pytest.mark.parametrize(
  ('name', 'separable', 'normalized_stem', 'projection'),
  [
    ('inception_v2', True, True, 128),
    ('inception_v2_slim', True, False, 96),
  ],
)
def test_it_has_the_logits_of_one_written_from_figure_5(
  name, separable, normalized_stem, projection
):
  pytest.importorskip('torch', reason='PyTorch is not installed')
  theirs, names = written_in_torch(separable, normalized_stem, projection)
  model = zoo.network(name, epsilon=1e-3)
  assert_same_as_torch(
    theirs,
    model,
    SIZE,
    rtol=1e-9,
    training_in='float64',
    evaluated_in='float64',
    names=names,
  )
