"""Published networks by name, with their numbers and sources.

from bnresearch import zoo
model = zoo.network('resnet_50')
"""

import functools
from typing import Any, NamedTuple

import flax.linen as nn

from bnresearch import lookup
from bnresearch.models import Layers

_TV, _OSMR = 'torchvision', 'osmr/imgclsmob'
_SLIM, _FB, _KERAS = 'TF-Slim', 'fb.resnet.torch', 'Keras'
_HERE = 'arithmetic'


class Ensemble(NamedTuple):
  """What several networks together reach on ImageNet; one alone does not.

  Attributes:
    top_5_error: in percent.
    networks: how many.
    on: which crops and images.
    stated_by: authors, year and arXiv number.
  """

  top_5_error: float
  networks: int
  on: str
  stated_by: str


class Published(NamedTuple):
  """A network as published, for 1000 classes unless stated otherwise.

  Attributes:
    model: a file of `bnresearch/models`.
    options: options of its `Model` that differ from the defaults.
    norm: a file of `bnresearch/norms`.
    parameters: their number, including gamma and beta.
    counted_by: who states that number, or 'arithmetic'.
    top_1: accuracy on ImageNet's validation set, one crop, in percent; None
      if we know no public source.
    measured_by: who states that accuracy.
    top_5: likewise, of the same measurement.
    ensemble: the error that is usually cited for the network; None if we know
      of none.
    size: side of the square images, in pixels.
    channels: channels of the images.
    num_classes: K.
    layers: fields of `Layers` that differ from the defaults.
    norm_options: options of the normalizer that differ from the defaults.
  """

  model: str
  options: dict[str, Any]
  norm: str
  parameters: int
  counted_by: str
  top_1: float | None = None
  measured_by: str = ''
  size: int = 224
  channels: int = 3
  num_classes: int = 1000
  layers: dict[str, Any] = {}  # noqa: RUF012, none of it is ever changed
  top_5: float | None = None
  ensemble: Ensemble | None = None
  norm_options: dict[str, Any] = {}  # noqa: RUF012, nor of this


_BIASES = {'keep_bias': True}
_AUX = {'auxiliary_heads': True}
_SCOPE = {'use_scale': False, 'momentum': 0.9997, 'epsilon': 1e-3}
_SLIMS = {'strides_at': 'last', 'padding': 'same'}

_TEST, _VALIDATION = 'test images', 'validation images'
_V1 = Ensemble(6.67, 7, f'144 crops, {_TEST}', 'Szegedy et al. 2014, 1409.4842')
_V2 = Ensemble(
  4.82, 6, f'144 crops, {_TEST}', 'Ioffe & Szegedy 2015, 1502.03167'
)
_V3 = Ensemble(
  3.5, 4, f'many crops, {_VALIDATION}', 'Szegedy et al. 2015, 1512.00567'
)
_V4 = Ensemble(
  3.08, 4, f'3 of them residual, {_TEST}', 'Szegedy et al. 2016, 1602.07261'
)

PUBLISHED = {
  'mlp': Published(
    'mlp', {}, 'batch', 100_010, _HERE, size=28, channels=1, num_classes=10
  ),
  'lstm': Published(
    'lstm', {}, 'batch', 53_610, _HERE, size=28, channels=1, num_classes=10
  ),
  'lenet_5': Published(
    'lenet', {}, 'none', 61_706, _HERE, size=28, channels=1, num_classes=10
  ),
  'alexnet': Published(
    'alexnet', {}, 'none', 61_100_840, _TV, 56.5, _TV, top_5=79.1
  ),
  'alexnet_2012': Published(
    'alexnet', {'variant': '2012'}, 'none', 62_378_344, _OSMR
  ),
  'alexnet_2012_groups': Published(
    'alexnet', {'variant': '2012_groups'}, 'none', 60_965_224, _HERE
  ),
  'alexnet_slim_v2': Published(
    'alexnet', {'variant': 'slim_v2'}, 'none', 50_303_912, _HERE
  ),
  'vgg_11': Published('vgg', {'variant': '11'}, 'none', 132_863_336, _OSMR),
  'vgg_13': Published('vgg', {'variant': '13'}, 'none', 133_047_848, _OSMR),
  'vgg_16c': Published('vgg', {'variant': '16c'}, 'none', 133_638_952, _HERE),
  'vgg_16': Published(
    'vgg', {}, 'none', 138_357_544, _OSMR, 71.5, _SLIM, top_5=89.8
  ),
  'vgg_16_bn': Published(
    'vgg', {}, 'batch', 138_365_992, _TV, 73.36, _TV, layers=_BIASES, top_5=91.5
  ),
  'vgg_19': Published('vgg', {'variant': '19'}, 'none', 143_667_240, _OSMR),
  'nin': Published('nin', {}, 'none', 7_595_176, _HERE),
  'googlenet': Published(
    'googlenet', {}, 'none', 6_998_552, _HERE, ensemble=_V1
  ),
  'googlenet_heads': Published('googlenet', _AUX, 'none', 13_378_280, _HERE),
  'googlenet_torchvision': Published(
    'googlenet',
    {'variant': 'torchvision'},
    'batch',
    6_624_904,
    _TV,
    69.8,
    _SLIM,
    top_5=89.6,
  ),
  'googlenet_flowers': Published(
    'googlenet',
    {'variant': 'bn_googlenet', **_AUX},
    'batch',
    13_680_536,
    _HERE,
    layers=_BIASES,
  ),
  'inception_v2': Published(
    'inception_v2',
    {},
    'batch',
    11_278_528,
    _HERE,
    74.8,
    'the paper, BN-x30',
    top_5=92.2,
    ensemble=_V2,
  ),
  'inception_v2_caffe': Published(
    'inception_v2',
    {'separable_stem': False},
    'batch',
    11_295_240,
    _OSMR,
    73.5,
    'Cadene',
    layers=_BIASES,
    top_5=91.6,
  ),
  'inception_v2_slim': Published(
    'inception_v2',
    {'pool_projection': 96, 'normalized_stem': False},
    'batch',
    11_188_224,
    _HERE,
    73.9,
    _SLIM,
    top_5=91.8,
  ),
  'inception_v2_slim_scope': Published(
    'inception_v2',
    {'pool_projection': 96, 'normalized_stem': False, 'dropout_rate': 0.2},
    'batch',
    11_178_336,
    _HERE,
    norm_options=_SCOPE,
  ),
  'inception_v3': Published(
    'inception_v3',
    {},
    'batch',
    23_834_568,
    _OSMR,
    78.0,
    _SLIM,
    299,
    top_5=93.9,
    ensemble=_V3,
  ),
  'inception_v3_head': Published(
    'inception_v3', _AUX, 'batch', 27_161_264, _TV, size=299
  ),
  'inception_v3_slim_scope': Published(
    'inception_v3',
    {},
    'batch',
    23_817_352,
    _KERAS,
    size=299,
    norm_options=_SCOPE,
  ),
  'inception_v4': Published(
    'inception_v4',
    {},
    'batch',
    42_679_816,
    _OSMR,
    80.2,
    _SLIM,
    299,
    top_5=95.3,
    ensemble=_V4,
  ),
  'inception_v4_head': Published(
    'inception_v4', _AUX, 'batch', 46_039_280, _HERE, size=299
  ),
  'inception_resnet_v2': Published(
    'inception_resnet_v2', {}, 'batch', 55_843_464, _HERE, size=299
  ),
  'resnet_18': Published(
    'resnet', {'variant': '18'}, 'batch', 11_689_512, _TV, 69.6, _FB
  ),
  'resnet_34': Published('resnet', {'variant': '34'}, 'batch', 21_797_672, _TV),
  'resnet_50': Published('resnet', {}, 'batch', 25_557_032, _TV, 76.0, _FB),
  'resnet_101': Published(
    'resnet', {'variant': '101'}, 'batch', 44_549_160, _TV, 77.6, _FB
  ),
  'resnet_152': Published(
    'resnet', {'variant': '152'}, 'batch', 60_192_808, _HERE
  ),
  'resnet_50_slim': Published(
    'resnet', _SLIMS, 'batch', 25_557_032, _HERE, 75.2, _SLIM, top_5=92.2
  ),
  'densenet_121': Published('densenet', {}, 'batch', 7_978_856, _TV),
  'densenet_169': Published(
    'densenet', {'variant': '169'}, 'batch', 14_149_480, _KERAS
  ),
  'densenet_201': Published(
    'densenet', {'variant': '201'}, 'batch', 20_013_928, _KERAS
  ),
  'mobilenet_v1': Published(
    'mobilenet_v1', {}, 'batch', 4_231_976, _OSMR, 70.9, _SLIM, top_5=89.9
  ),
  'mobilenet_v2': Published(
    'mobilenet_v2', {}, 'batch', 3_504_872, _TV, 71.8, _SLIM, top_5=91.0
  ),
  'mobilenet_v2_imgclsmob': Published(
    'mobilenet_v2', {'variant': 'imgclsmob'}, 'batch', 3_504_960, _OSMR
  ),
}


def published(name: str) -> Published:
  """Returns what is known of a network.

  Raises:
    lookup.Unknown: the name is unknown; the message suggests the nearest one.
  """
  if name not in PUBLISHED:
    known = lookup.suggest(name, PUBLISHED)
    raise lookup.Unknown(f'No published network {name!r}. {known}')
  return PUBLISHED[name]


def network(
  name: str,
  *,
  norm: str | None = None,
  num_classes: int | None = None,
  **norm_options: Any,
) -> nn.Module:
  """Returns a network as published.

  Args:
    name: one of `PUBLISHED`.
    norm: another normalizer, a file of `bnresearch/norms`.
    num_classes: another number of classes.
    **norm_options: options of the normalizer.
  """
  found = published(name)
  cls = lookup.find('norms', norm or found.norm).Norm
  own = found.norm_options if norm in (None, found.norm) else {}
  make = functools.partial(cls, **own | norm_options)
  return lookup.find('models', found.model).Model(
    found.num_classes if num_classes is None else num_classes,
    Layers(norm=lambda path: make, **found.layers),
    **found.options,
  )
