"""The frameworks' batch normalizations, as data: defaults and conventions.

From their sources and documentation, at the versions named in the tests where
there is one: `tested` says whether a test compares the row with the real layer.
"""

from typing import NamedTuple

from bnresearch import lookup


class Framework(NamedTuple):
  """How a framework's batch normalization keeps its running statistics.

  Attributes:
    layer: its name there.
    parameter: what the running average's parameter is called.
    default: its value if the user gives none; None if it must be given.
    weighs: whether it is the weight of the 'old' value or of the 'new' one.
    epsilon_parameter: what epsilon is called.
    epsilon: its default, in squared units of the input.
    running_variance: 'biased', or 'unbiased', times m/(m-1) for m values per
      channel.
    debias: whether the initial mean 0 and variance 1 stay out of the average.
    remark: what else surprises.
    tested: whether a test compares all but the remark with the real layer.
  """

  layer: str
  parameter: str
  default: float | None
  weighs: str
  epsilon_parameter: str
  epsilon: float
  running_variance: str
  debias: bool
  remark: str
  tested: bool = False


FRAMEWORKS = {
  'bnresearch': Framework(
    layer='norm.name=batch',
    parameter='momentum',
    default=0.99,
    weighs='old',
    epsilon_parameter='epsilon',
    epsilon=1e-5,
    running_variance='unbiased',
    debias=False,
    remark=(
      'norm.running_variance and norm.debias are knobs. A run with '
      'norm.running_variance=biased converts as flax does.'
    ),
    tested=True,
  ),
  'flax': Framework(
    layer='flax.linen.BatchNorm',
    parameter='momentum',
    default=0.99,
    weighs='old',
    epsilon_parameter='epsilon',
    epsilon=1e-5,
    running_variance='biased',
    debias=False,
    remark='use_fast_variance=True: E[x^2] - E[x]^2, wrong if |mean| >> std.',
    tested=True,
  ),
  'nnx': Framework(
    layer='flax.nnx.BatchNorm',
    parameter='momentum',
    default=0.99,
    weighs='old',
    epsilon_parameter='epsilon',
    epsilon=1e-5,
    running_variance='biased',
    debias=False,
    remark='use_fast_variance=True, as in linen.',
    tested=True,
  ),
  'pytorch': Framework(
    layer='torch.nn.BatchNorm1d, 2d, 3d',
    parameter='momentum',
    default=0.1,
    weighs='new',
    epsilon_parameter='eps',
    epsilon=1e-5,
    running_variance='unbiased',
    debias=False,
    remark='torchvision: eps 0.001 in GoogLeNet and InceptionV3.',
    tested=True,
  ),
  'keras': Framework(
    layer='keras.layers.BatchNormalization, Keras 3',
    parameter='momentum',
    default=0.99,
    weighs='old',
    epsilon_parameter='epsilon',
    epsilon=1e-3,
    running_variance='biased',
    debias=False,
    remark=(
      'trainable=False implies inference mode. keras.applications: epsilon '
      '1.001e-5 in ResNet and DenseNet; momentum 0.999 in MobileNetV2; '
      'scale=False, no gamma, in InceptionV3.'
    ),
    tested=True,
  ),
  'slim': Framework(
    layer='tf_slim.batch_norm',
    parameter='decay',
    default=0.999,
    weighs='old',
    epsilon_parameter='epsilon',
    epsilon=1e-3,
    running_variance='unbiased',
    debias=False,
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
    weighs='old',
    epsilon_parameter='eps',
    epsilon=1e-5,
    running_variance='biased',
    debias=True,
    remark='A zero-debiased average; a negative variance is not clipped.',
  ),
  'equinox': Framework(
    layer='eqx.nn.BatchNorm',
    parameter='momentum',
    default=0.99,
    weighs='old',
    epsilon_parameter='eps',
    epsilon=1e-5,
    running_variance='biased',
    debias=True,
    remark=(
      'Its docstring says unbiased, its code averages the biased variance. '
      "mode='batch' debiases; the legacy mode='ema' begins with the first "
      "batch's statistics, and normalizes training too by the running ones."
    ),
  ),
  'chainer': Framework(
    layer='chainer.links.BatchNormalization',
    parameter='decay',
    default=0.9,
    weighs='old',
    epsilon_parameter='eps',
    epsilon=2e-5,
    running_variance='unbiased',
    debias=False,
    remark='Unbiased by m/max(m-1, 1): a single value is no error.',
  ),
}


def find(name: str) -> Framework:
  """Returns the framework `name`.

  Raises:
    lookup.Unknown: there is none; the message names the nearest one.
  """
  if name not in FRAMEWORKS:
    raise lookup.Unknown(
      f'No framework {name!r}. {lookup.suggest(name, FRAMEWORKS)}'
    )
  return FRAMEWORKS[name]
