"""What papers and tutorials state of networks, beside what ours have.

  python -m bnresearch.models --compare

"The documents" are the tutorials on BN and its networks whose every statement
this project checks.

Every number of ours is counted by shapes, when asked for, in the networks of
the zoo and in layers of `models`. What differs by more than 5% is said to.
"""

import functools
import math
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from bnresearch import zoo
from bnresearch.models import measure

_ROUNDED = 0.05  # most statements are rounded


class Statement(NamedTuple):
  """Numbers that are stated of networks, and ours.

  Attributes:
    what: what they count.
    stated: the numbers as stated.
    by: who states them, first.
    here: ours.
    shown: how to print one number: a format, such as ',' or '.0%'.
    why: why they differ, or what follows.
  """

  what: str
  stated: tuple[float, ...]
  by: str
  here: tuple[float, ...]
  shown: str = ','
  why: str = ''

  @property
  def holds(self) -> bool:
    """Whether all of our numbers are the stated ones, but for rounding."""
    return all(
      math.isclose(here, stated, rel_tol=_ROUNDED)
      for here, stated in zip(self.here, self.stated)
    )


def statements() -> list[Statement]:
  """Returns all statements with our numbers; takes seconds."""
  return [*_kernels(), *_networks(), *_of_bn_inception()]


def _kernels():
  """Yields what is stated of kernels."""
  conv = functools.partial(nn.Conv, use_bias=False, padding='VALID')
  one = [conv(1, (5, 5))]
  two = [conv(1, (3, 3)), conv(1, (3, 3))]
  yield Statement(
    'weights of a 5x5, and of two 3x3 instead',
    (25, 18),
    'the documents; Szegedy et al. 2015, section 3.1',
    (_weights(one), _weights(two)),
    why='with the same field, and as many channels after each',
  )
  plain, factorized = (
    _cost('googlenet', five_by_five=kind).parameters
    for kind in ('5x5', 'two_3x3')
  )
  yield Statement(
    'what two 3x3 for each 5x5 add to the parameters of GoogLeNet',
    (18 / 25 - 1,),
    'the documents, by the numbers above',
    (factorized / plain - 1,),
    '+.1%',
    'its 5x5 make 2 to 4 times as many channels as they take, so the second '
    '3x3 costs more than the first one saves',
  )
  separable = [
    conv(3, (3, 3), feature_group_count=3),
    conv(256, (1, 1)),
  ]
  yield Statement(
    'weights of a 3x3 from 3 to 256 channels, and of a separable one',
    (6_912, 795),
    'the documents, of MobileNet',
    (_weights([conv(256, (3, 3))], 3), _weights(separable, 3)),
  )
  yield Statement(
    "weights of ResNet's bottleneck of 256 channels, and of two 3x3 instead",
    (70_000, 1_180_000),
    'the documents, of ResNet',
    (
      _inside('resnet_50', 'stage_1_block_2'),
      _inside('resnet_34', 'stage_3_block_2'),
    ),
  )


def _networks():
  """Yields what is stated of whole networks."""
  for name, stated in (('alexnet', 0.9), ('vgg_16', 0.9)):
    yield Statement(
      f'share of dense layers in the parameters of {name}',
      (stated,),
      'the documents',
      (_cost(name).dense_share,),
      '.1%',
    )
  alexnet, vgg, googlenet = (
    _cost(name).parameters
    for name in ('alexnet_2012_groups', 'vgg_16', 'googlenet')
  )
  yield Statement(
    'parameters of AlexNet',
    (60_000_000,),
    'Krizhevsky et al. 2012',
    (alexnet,),
  )
  yield Statement(
    'parameters of VGG16',
    (140_000_000,),
    'the documents',
    (vgg,),
    why='Simonyan & Zisserman 2014 state 138 million',
  )
  yield Statement(
    'parameters of GoogLeNet',
    (5_000_000,),
    'the documents',
    (googlenet,),
    why=f'{_cost("googlenet_heads").parameters:,} with its auxiliary heads',
  )
  yield Statement(
    'AlexNet over GoogLeNet, in parameters',
    (12,),
    'Szegedy et al. 2014, section 1',
    (alexnet / googlenet,),
    '.1f',
    '12 is 60 million over 5 million',
  )
  yield Statement(
    'multiply-adds of GoogLeNet, in billions',
    (1.5,),
    'Szegedy et al. 2014, section 1',
    (_cost('googlenet').macs / 1e9,),
    '.2f',
    f"{_cost('googlenet_torchvision').macs / 1e9:.2f} with torchvision's 3x3 "
    'for 5x5',
  )
  yield Statement(
    'parameters of Inception V3',
    (25_000_000,),
    'Szegedy et al. 2015, "less than"',
    (_cost('inception_v3').parameters,),
  )


def _of_bn_inception():
  """Yields what the BN paper states of its network."""
  plain, ours = _cost('googlenet'), _cost('inception_v2_caffe')
  yield Statement(
    'parameters of BN-Inception',
    (13_600_000,),
    'Ioffe & Szegedy 2015, section 4.2',
    (_cost('inception_v2').parameters,),
    why='what its Figure 5 has',
  )
  yield Statement(
    'BN-Inception over GoogLeNet, in parameters and in multiply-adds',
    (1.25, 1.30),
    'Ioffe & Szegedy 2015, appendix',
    (ours.parameters / plain.parameters, ours.macs / plain.macs),
    '.2f',
    'both with plain first convolutions',
  )


@functools.cache
def _cost(name, **fields):
  found = zoo.published(name)
  model = zoo.network(name).clone(**fields)
  return measure(model, found.size, found.channels)


def _inside(name, block) -> int:
  """Returns the weights of the kernels in a block of a network."""
  return sum(
    math.prod(layer.kernel)
    for layer in _cost(name).layers
    if layer.path.startswith(f'{block}/')
  )


def _weights(layers, channels=1) -> int:
  """Returns the weights of layers after one another."""
  x = jax.ShapeDtypeStruct((1, 9, 9, channels), jnp.float32)
  params = jax.eval_shape(nn.Sequential(layers).init, jax.random.key(0), x)
  return sum(leaf.size for leaf in jax.tree.leaves(params))
