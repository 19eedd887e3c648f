"""Folds batch norms into layers. Ioffe & Szegedy 2015, 1502.03167.

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

  It takes images converted by `run.parts.images.pixels`. Its output equals that
  of `run.apply` with the same statistics.

  Args:
    run: an opened run.
    state: from `run.restore`.
    statistics: 'population', 'pooled' or 'ema', see `Run.apply`.
    average: whether to use the averaged parameters, see `Run.apply`.

  Returns:
    The module and its variables, see `fold_network`.

  Raises:
    ValueError: there are no such statistics, or they are the batch's.
  """
  evaluate.check_constant(statistics, '. Only constants fold into a kernel.')
  state = run.with_statistics(state, statistics, average=average)
  x_NHWC = jax.ShapeDtypeStruct(
    (1, *run.parts.network.input_shape), jnp.float32
  )
  variables = {'params': state.params, **state.collections}
  return fold_network(run.model, variables, x_NHWC)


class _Affine(affine.Norm):
  """Scale and bias in place of a norm that cancels the biases below it.

  Layers below still have no bias, so their parameters stay as they are.
  """

  cancels_bias: ClassVar[bool] = True


def fold_network(
  model: nn.Module, variables: Mapping[str, Any], x: Any
) -> tuple[nn.Module, dict[str, Any]]:
  """Returns a network that evaluates like `model`, and its variables.

  `model` normalizes by running statistics; the new network has none:

  - A norm directly after a convolution or dense layer is folded into that
    layer's kernel and bias. `norms/none.py` takes its place.
  - A norm after anything else, such as an activation, a sum or a layer that
    standardizes its kernel, becomes a scale and a bias, `norms/affine.py`.
  - A norm that does not scale and shift each channel by constants stays, with
    its statistics: group norm, whitening, statistics per position or time step.

  The first two apply to every norm that keeps a running `mean` and `var` (or
  `deviation`, its root), has no parameters but `scale` and `bias`, and does not
  activate: it evaluates like `norms/batch.py`. Logits and taps stay the same up
  to rounding, see `statistics/folding.py`.

  Args:
    model: one of `bnresearch/models`, or another with such a field `layers`.
    variables: the model's {'params', 'batch_stats'}.
    x: images as the model takes them, or a `jax.ShapeDtypeStruct` of them.

  Returns:
    The model with other norms, and {'params'}, plus the remaining statistics.

  Raises:
    ValueError: the model has no `layers`, or a variance is negative or NaN; the
      message names the layer.
  """
  if not hasattr(model, 'layers'):
    raise ValueError(
      f'model = {type(model).__name__}: needs a field `layers`, whose norms '
      'are replaced. Fold each layer of your own model by bnresearch.'
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
  """Returns a norm's replacement and the new leaves; None if the norm stays."""
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
    cls = _Affine if getattr(found.norm, 'cancels_bias', False) else affine.Norm
    made = {'scale': made['kernel'][0], 'bias': made['bias']}
  return cls, leaves | {('params', *path, k): x for k, x in made.items()}


def _inside(leaves, collection, path):
  """Returns {name: array} for one module in one collection."""
  at = (collection, *path)
  return {key[-1]: x for key, x in leaves.items() if key[:-1] == at}


def _of_channels(norm, params, statistics):
  """Returns a norm's statistics with 'mean' (C,) and 'var' (C,).

  Returns None if the norm does not evaluate by these alone.
  """
  if not hasattr(norm, 'epsilon') or getattr(norm, 'activates', False):
    return None
  if 'deviation' in statistics:
    statistics = {'var': jnp.square(statistics['deviation']), **statistics}
  if not {'mean', 'var'} <= statistics.keys():
    return None
  by_channel = statistics['mean'].ndim == 1
  return (
    statistics if by_channel and params.keys() <= {'scale', 'bias'} else None
  )
