"""Errors on corrupted test images, by the statistics that normalize them."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np
from rich.progress import track

import bnresearch as bnr
from bnresearch.augment import corruption

KINDS = tuple(corruption.AMOUNTS)
STRENGTHS = (0, *corruption.STRENGTHS)  # 0 are the clean images
EXAMPLES = 2000  # first test images
BATCH = 200  # TENT's
SIZES = (1, 4, 16, 64, 200)  # n, examples that a mixture sees
PRIORS = (0, 4, 16, 64)  # N; 0 is the batch alone
PRIOR, FEW, MIDDLE = 16, 4, 3  # N and n that judge mixtures; a strength
NAMES = {
  'ema': 'running',
  'population': 'population',
  'batch': f'batch of {BATCH}',
}


class Found(NamedTuple):
  """Errors of R seeds, as fractions.

  Attributes:
    by_strength: {(statistics, kind): (R, 6)}, at each of `STRENGTHS`.
    by_size: {N: (R, sizes)}, mean over kinds at strength `MIDDLE`.
  """

  by_strength: dict[tuple[str, str], np.ndarray]
  by_size: dict[int, np.ndarray]

  def mean(self, statistics: str, strengths: slice, *kinds: str) -> np.ndarray:
    """Returns the mean error (R,) over kinds, by default all."""
    of = [self.by_strength[statistics, kind] for kind in kinds or KINDS]
    return np.mean(of, axis=0)[:, strengths].mean(1)


def measure(runs: Sequence[bnr.Run]) -> Found:
  """Returns the errors on corrupted test images under all statistics."""
  of_runs = [
    _of_run(run) for run in track(runs, 'on corrupted images', transient=True)
  ]
  return Found(
    *(
      {key: np.array([of_run[k][key] for of_run in of_runs]) for key in first}
      for k, first in enumerate(of_runs[0])
    )
  )


def _of_run(run):
  """Returns errors by strength and by size, of one network."""
  sets, labels_N = _corrupted(run)
  state = run.restore()
  apply = bnr.adapt_run(run, state)
  mixed = jax.jit(jax.vmap(lambda x, N: apply(x, N)[0], (0, None)))
  exact = {name: run.with_statistics(state, name) for name in NAMES}
  by_strength = {
    (name, kind): [
      _of_batches(mixed, sets[kind, strength], labels_N, BATCH, 0)
      if name == 'batch'
      else _error(run.apply(of, sets[kind, strength])[0], labels_N)
      for strength in STRENGTHS
    ]
    for name, of in exact.items()
    for kind in KINDS
  }
  of_kinds = lambda n, prior: [
    _of_batches(mixed, sets[kind, MIDDLE], labels_N, n, prior) for kind in KINDS
  ]
  by_size = {
    prior: [np.mean(of_kinds(n, prior)) for n in SIZES] for prior in PRIORS
  }
  return by_strength, by_size


def _corrupted(run):
  """Returns {(kind, strength): images}, and their labels."""
  source = run.source('test')
  clean, labels_N = source.images_NHWC[:EXAMPLES], source.labels_N[:EXAMPLES]
  key = jax.random.key(int(run.config.seed))
  sets = {(kind, 0): clean for kind in KINDS}
  for kind in KINDS:
    for strength in corruption.STRENGTHS:
      made = corruption.corrupt(key, clean, kind=kind, strength=strength)
      sets[kind, strength] = np.asarray(made)
  return sets, labels_N


def _of_batches(mixed, images, labels_N, n, prior):
  """Returns the error if n images at a time are normalized together."""
  n = min(n, len(images))
  whole = len(images) // n * n
  batches = images[:whole].reshape(-1, n, *images.shape[1:])
  logits = np.asarray(mixed(batches, float(prior)))
  return _error(logits.reshape(whole, -1), labels_N[:whole])


def _error(logits_NK, labels_N):
  return float((np.argmax(logits_NK, -1) != labels_N).mean())
