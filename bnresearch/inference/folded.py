"""A network without its batch norms. Ioffe & Szegedy 2015, 1502.03167.

Algorithm 2, lines 9 to 11: with fixed statistics, a normalizer becomes part of
the layer before it.

run = bnr.open_run('runs/figure1/init_std=0.01,norm=batch,seed=0')
model, variables = fold_run(run, run.restore())
x_NHWC = run.parts.images.pixels(images)
logits_NK, taps = model.apply(variables, x_NHWC, train=False)

For layers of your own, see `statistics/folding.py`.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import traverse_util

from bnresearch.evaluation import evaluate
from bnresearch.inference.run import Run
from bnresearch.models import normalizers
from bnresearch.norms import affine, none
from bnresearch.statistics.folding import fold
from bnresearch.training.state import State


def fold_run(
  run: Run,
  state: State,
  statistics: str = 'population',
  *,
  average: bool = False,
) -> tuple[nn.Module, dict[str, Any]]:
  """Returns the network of a run without batch norms, and its variables.

  Its input is what `run.parts.images.pixels` makes of images. Its output is
  that of `run.apply` by the same statistics.

  Args:
    run: an opened run.
    state: from `run.restore`.
    statistics: 'population', 'pooled' or 'ema', see `Run.apply`.
    average: whether to take the averaged parameters, see `Run.apply`.

  Returns:
    The module and its variables, see `fold_network`.

  Raises:
    ValueError: there are no such statistics, or they are the batch's.
  """
  known = [name for name in evaluate.STATISTICS if name != 'batch']
  if statistics not in known:
    raise ValueError(
      f'statistics = {statistics!r}: needs one of {", ".join(known)}. Only '
      'constants fold into a kernel.'
    )
  state = run.with_statistics(state, statistics, average=average)
  x_NHWC = jax.ShapeDtypeStruct((1, *run.spec.image_shape), jnp.float32)
  variables = {'params': state.params, **state.collections}
  return fold_network(run.model, variables, x_NHWC)


class _Affine(affine.Norm):
  """Scale and bias in place of a norm below which layers have no bias.

  They still have none, so that their parameters stay as they are.
  """

  cancels_bias: ClassVar[bool] = True


def fold_network(
  model: nn.Module, variables: Mapping[str, Any], x: Any
) -> tuple[nn.Module, dict[str, Any]]:
  """Returns a network that evaluates as `model` does, and its variables.

  Running statistics normalize `model`; the new network has none:

  - A norm that follows a convolution or dense layer directly is folded into
    that layer's kernel and bias. Its site has `norms/none.py`.
  - One that follows anything else, such as an activation, a sum or a layer that
    standardizes its kernel, becomes a scale and a bias, `norms/affine.py`.
  - A norm that does not scale and shift each channel by constants stays, with
    its statistics: group norm, whitening, statistics of each position or time
    step.

  The first two happen to every norm that keeps a running `mean` and `var` (or
  `deviation`, its root), has no parameter but `scale` and `bias`, and does not
  activate: such a norm evaluates as `norms/batch.py` does. Logits and taps stay
  the same, but for rounding, see `statistics/folding.py`.

  Args:
    model: of `bnresearch/models`, or another with such a field `layers`.
    variables: {'params', 'batch_stats'}, those of the model.
    x: images as the model takes them, or a `jax.ShapeDtypeStruct` of them.

  Returns:
    The model with other norms, and {'params'}, plus the statistics that stay.

  Raises:
    ValueError: the model has no `layers`, or a variance is negative or NaN; the
      message names the layer.
  """
  if not hasattr(model, 'layers'):
    raise ValueError(
      f'model = {type(model).__name__}: needs a field `layers`, by which its '
      'norms are replaced. Fold each layer of your own model by bnresearch.'
      'statistics.folding.fold.'
    )
  leaves, norms = traverse_util.flatten_dict(variables), {}
  for site, found in normalizers(model, variables, x).items():
    if other := _other(site, found, leaves):
      norms[site], leaves = other
  at = model.layers.norm
  layers = dataclasses.replace(
    model.layers,
    norm=lambda site: norms[site] if site in norms else at(site),
  )
  return model.clone(layers=layers), traverse_util.unflatten_dict(leaves)


def _other(site, found, leaves):
  """Returns what a norm becomes, and all leaves then; None where it stays."""
  layer = tuple(site.split('/')) if site else ()
  path = (*layer, 'norm')
  own = _inside(leaves, 'params', path)
  statistics = _inside(leaves, 'batch_stats', path)
  statistics = _of_channels(found.norm, own, statistics)
  if statistics is None:
    return None
  before = {'kernel': jnp.ones_like(statistics['mean'])[None]}
  if found.follows:
    before = _inside(leaves, 'params', layer)
  try:
    made = fold(before, own, statistics, epsilon=found.norm.epsilon)
  except ValueError as error:
    raise ValueError(f'{site}: {error}') from error
  leaves = {key: x for key, x in leaves.items() if key[1:-1] != path}
  if found.follows:
    cls, path = none.Norm, layer
  else:
    cls = _Affine if found.norm.cancels_bias else affine.Norm
    made = {'scale': made['kernel'][0], 'bias': made['bias']}
  return cls, leaves | {('params', *path, k): x for k, x in made.items()}


def _inside(leaves, collection, path):
  """Returns {name: array} of one module in one collection."""
  at = (collection, *path)
  return {key[-1]: x for key, x in leaves.items() if key[:-1] == at}


def _of_channels(norm, params, statistics):
  """Returns a norm's statistics with 'mean' (C,) and 'var' (C,).

  None where it does not evaluate by these alone.
  """
  if not hasattr(norm, 'epsilon') or norm.activates:
    return None
  if 'deviation' in statistics:
    statistics = {'var': jnp.square(statistics['deviation']), **statistics}
  if not {'mean', 'var'} <= statistics.keys():
    return None
  by_channel = statistics['mean'].ndim == 1
  return (
    statistics if by_channel and params.keys() <= {'scale', 'bias'} else None
  )
