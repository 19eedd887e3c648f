"""A run's network, adapted to the images that it is applied to.

run = bnr.open_run('runs/figure1/init_std=0.01,norm=batch,seed=0')
apply = adapt_run(run, run.restore())
logits_NK, taps = apply(images, 16)  # training counts as 16 examples
"""

from collections.abc import Callable

import jax
import numpy as np

from bnresearch.evaluation import evaluate
from bnresearch.inference.run import Run
from bnresearch.statistics.adaptation import adapted
from bnresearch.training.state import State

Apply = Callable[
  [np.ndarray | jax.Array, float], tuple[jax.Array, dict[str, jax.Array]]
]


def adapt_run(run: Run, state: State, statistics: str = 'ema') -> Apply:
  """Returns a compiled function of images and N, the weight of training.

  The function takes uint8 images (n, H, W, C), as `Run.apply` does, and N, a
  number of examples, 0 or more. It normalizes by the statistics of training
  with the weight N / (N + n), and those of the images with n / (N + n). It
  returns logits (n, K) and the taps.

  Args:
    run: an opened run.
    state: from `run.restore`.
    statistics: those of training, 'ema', 'population' or 'pooled', see
      `Run.apply`.

  Raises:
    ValueError: there are no such statistics, or they are the batch's.
  """
  why = ", which are mixed with the images' own."
  evaluate.check_constant(statistics, why)
  state = run.with_statistics(state, statistics)
  forward = evaluate.make_forward(run.model, statistics)
  pixels = run.parts.images.pixels

  @jax.jit
  def mixed(params, collections, images, prior):
    with adapted(prior):
      return forward(params, collections, pixels(images))

  return lambda images, prior: mixed(
    state.params, state.collections, images, prior
  )
