"""Defaults and conventions of each framework's batch normalization, as data.

From their sources and documentation. tests/test_conventions.py compares all but
the remarks with the layers themselves; for tf_slim and Chainer it compares with
recorded outputs, as they need TensorFlow and NumPy 1.
"""

from typing import NamedTuple

from bnresearch import lookup


class Framework(NamedTuple):
  """How a framework's batch normalization keeps its running statistics.

  The defaults are flax's.

  Attributes:
    layer: the layer's name in the framework.
    remark: other surprises.
    parameter: name of the running average's parameter.
    default: its default value; None if it must be given.
    weighs: whether it weighs the 'old' value or the 'new' one.
    epsilon_parameter: name of epsilon.
    epsilon: its default, in squared units of the input.
    running_variance: 'biased', or 'unbiased', times m/(m-1) for m values per
      channel.
    debias: 'no' if the initial mean 0 and variance 1 keep weight momentum^t
      after t updates; 'yes' if they are removed, and the rest divided by 1 -
      momentum^t; 'mean' if the average is divided, but its variance began at 1
      instead of 0, which makes it too large by momentum^t / (1 - momentum^t).
  """

  layer: str
  remark: str
  parameter: str = 'momentum'
  default: float | None = 0.99
  weighs: str = 'old'
  epsilon_parameter: str = 'epsilon'
  epsilon: float = 1e-5
  running_variance: str = 'biased'
  debias: str = 'no'


FRAMEWORKS = {
  'bnresearch': Framework(
    layer='norm.name=batch',
    running_variance='unbiased',
    remark=(
      'norm.running_variance and norm.debias are knobs. A run with '
      'norm.running_variance=biased converts as flax does.'
    ),
  ),
  'flax': Framework(
    layer='flax.linen.BatchNorm',
    remark='use_fast_variance=True: E[x^2] - E[x]^2, wrong if |mean| >> std.',
  ),
  'nnx': Framework(
    layer='flax.nnx.BatchNorm',
    remark='use_fast_variance=True, as in linen.',
  ),
  'pytorch': Framework(
    layer='torch.nn.BatchNorm1d, 2d, 3d',
    default=0.1,
    weighs='new',
    epsilon_parameter='eps',
    running_variance='unbiased',
    remark='torchvision: eps 0.001 in GoogLeNet and InceptionV3.',
  ),
  'keras': Framework(
    layer='keras.layers.BatchNormalization, Keras 3',
    epsilon=1e-3,
    remark=(
      'trainable=False implies inference mode. keras.applications: epsilon '
      '1.001e-5 in ResNet and DenseNet; momentum 0.999 in MobileNetV2; '
      'scale=False, no gamma, in InceptionV3.'
    ),
  ),
  'slim': Framework(
    layer='tf_slim.batch_norm',
    parameter='decay',
    default=0.999,
    epsilon=1e-3,
    running_variance='unbiased',
    remark=(
      'scale=False: no gamma unless asked for. Unbiased by the fused kernel. '
      'zero_debias_moving_mean debiases the mean only. Scopes: decay 0.9997 in '
      'Inception; decay 0.997, epsilon 1e-5, scale=True in ResNet.'
    ),
  ),
  'haiku': Framework(
    layer='hk.BatchNorm',
    parameter='decay_rate',
    default=None,
    epsilon_parameter='eps',
    debias='yes',
    remark='A zero-debiased average; a negative variance is not clipped.',
  ),
  'equinox': Framework(
    layer='eqx.nn.BatchNorm',
    epsilon_parameter='eps',
    debias='mean',
    remark=(
      'Its docstring says unbiased, its code averages the biased variance. '
      "mode='batch' divides the variance too, which began at 1: far too large "
      "after few updates. The default mode='ema' begins with the first "
      "batch's statistics, and normalizes training too by the running ones."
    ),
  ),
  'chainer': Framework(
    layer='chainer.links.BatchNormalization',
    parameter='decay',
    default=0.9,
    epsilon_parameter='eps',
    epsilon=2e-5,
    running_variance='unbiased',
    remark='Unbiased by m/max(m-1, 1): a single value is no error.',
  ),
}


def find(name: str) -> Framework:
  """Returns the framework `name`.

  Raises:
    lookup.Unknown: the name is unknown; the message suggests the nearest one.
  """
  if name not in FRAMEWORKS:
    raise lookup.Unknown(
      f'No framework {name!r}. {lookup.suggest(name, FRAMEWORKS)}'
    )
  return FRAMEWORKS[name]
