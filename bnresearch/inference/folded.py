"""A network without its batch norms. Ioffe & Szegedy 2015, 1502.03167.

Algorithm 2, lines 9 to 11: once statistics no longer change, a normalizer is
part of the layer before it.

run = bnr.open_run('runs/figure1/init_std=0.01,norm=batch,seed=0')
model, variables = fold_run(run, run.restore())
x_NHWC = run.parts.images.pixels(images)
logits_NK, taps = model.apply(variables, x_NHWC, train=False)

Of layers of your own, see `statistics/folding.py`.
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

  It takes what `run.parts.images.pixels` makes of images, and gives what
  `run.apply` gives with the same statistics.

  Args:
    run: opened.
    state: from `run.restore`.
    statistics: that it evaluates by: 'population', 'pooled' or 'ema', see
      `Run.apply`.
    average: whether by the averaged parameters, for which is no 'ema'.

  Returns:
    The module and its variables, see `fold_network`.

  Raises:
    ValueError: there are no such statistics, or they are the batch's.
  """
  known = [name for name in evaluate.STATISTICS if name != 'batch']
  if statistics not in known:
    raise ValueError(
      f'statistics = {statistics!r}: needs one of {", ".join(known)}, which '
      'are constants that fold into a kernel.'
    )
  state = run.with_statistics(state, statistics, average=average)
  x_NHWC = jax.ShapeDtypeStruct((1, *run.spec.image_shape), jnp.float32)
  variables = {'params': state.params, **state.collections}
  return fold_network(run.model, variables, x_NHWC)


class _Affine(affine.Norm):
  """Scale and bias where a norm was that cancelled a bias.

  So the layer before has none, as before.
  """

  cancels_bias: ClassVar[bool] = True


def fold_network(
  model: nn.Module, variables: Mapping[str, Any], x: Any
) -> tuple[nn.Module, dict[str, Any]]:
  """Returns a network that evaluates as `model` does, and its variables.

  It is by the running statistics among the variables, and has none itself:

  - A norm that follows a convolution or dense layer is folded into its kernel
    and bias, and is no more.
  - One that follows something else (an activation, a sum, pooling, or a layer
    that standardizes its kernel) becomes a scale and a bias, `norms/affine.py`.
  - What is no scale and shift of each channel stays, with its statistics: other
    norms, statistics of each position or time step, whitening.

  A norm is folded that keeps running `mean` and `var` (or `deviation`, its
  root) and has at most the parameters `scale` and `bias`: such a one evaluates
  as `norms/batch.py`. Logits and taps are the same, to rounding, see `fold`.

  Args:
    model: of `bnresearch/models`, or another with such a field `layers`.
    variables: {'params', 'batch_stats'}, as it is applied with.
    x: images as it takes them, or their shape, as a `jax.ShapeDtypeStruct`.

  Returns:
    The module, another in its norms only, and {'params'}, besides what stays.

  Raises:
    ValueError: the model has no `layers`, or a statistic is no variance.
  """
  if not hasattr(model, 'layers'):
    raise ValueError(
      f'model = {type(model).__name__}: needs a field `layers`, by which its '
      'norms are replaced. Fold each layer of your own model by bnresearch.'
      'statistics.folding.fold.'
    )
  leaves, norms = traverse_util.flatten_dict(variables), {}
  for site, (norm, follows) in normalizers(model, variables, x).items():
    layer = tuple(site.split('/')) if site else ()
    path = (*layer, 'norm')
    own = _inside(leaves, 'params', path)
    statistics = _statistics(norm, own, _inside(leaves, 'batch_stats', path))
    if statistics is None:
      continue
    leaves = {key: x for key, x in leaves.items() if key[1:-1] != path}
    if follows:
      before = _inside(leaves, 'params', layer)
      made = fold(before, own, statistics, epsilon=norm.epsilon)
      norms[site], path = none.Norm, layer
    else:
      ones_1C = jnp.ones_like(statistics['mean'])[None]
      made = fold({'kernel': ones_1C}, own, statistics, epsilon=norm.epsilon)
      made = {'scale': made['kernel'][0], 'bias': made['bias']}
      norms[site] = _Affine if norm.cancels_bias else affine.Norm
    leaves |= {('params', *path, name): x for name, x in made.items()}
  at = model.layers.norm
  layers = dataclasses.replace(
    model.layers,
    norm=lambda site: norms[site] if site in norms else at(site),
  )
  return model.clone(layers=layers), traverse_util.unflatten_dict(leaves)


def _inside(leaves, collection, path):
  """Returns {name: array} of one module in one collection."""
  at = (collection, *path)
  return {key[-1]: x for key, x in leaves.items() if key[:-1] == at}


def _statistics(norm, params, statistics):
  """Returns mean and variance of each channel, where these are all of a norm.

  None where they are not.
  """
  if not hasattr(norm, 'epsilon') or norm.activates:
    return None
  if 'deviation' in statistics:
    statistics = {'var': jnp.square(statistics['deviation']), **statistics}
  if not {'mean', 'var'} <= statistics.keys() or params.keys() - {
    'scale',
    'bias',
  }:
    return None
  return statistics if statistics['mean'].ndim == 1 else None
