"""How alike a layer's channels are: correlation, and the rank of covariance.

The effective rank (Roy & Vetterli 2007, "The effective rank: a measure of
effective dimensionality") is that of the covariance of the layer's channels:
exp of the entropy of its eigenvalues, normalized to sum to 1. The participation
ratio is (sum of eigenvalues)^2 / sum of squares, at most the effective rank.
Both are 1 if all channels are multiples of one, and C if they are uncorrelated
and vary alike. Without normalization, rank collapses with depth at the start
(Daneshmand et al. 2020, 2003.01652).
"""

import jax
import jax.numpy as jnp
import numpy as np

from bnresearch.probes import NetworkView
from bnresearch.statistics import moments

SCALARS = ('correlation', 'effective_rank', 'participation')


def measure(
  view: NetworkView, *, correlated_channels: int
) -> dict[str, jax.Array]:
  """Returns three numbers for each tap.

  {tap/correlation: mean |correlation| of two channels, without constant ones;
  tap/effective_rank; tap/participation}. The ranks are counts of channels, NaN
  if all are constant. The scalars are those of the highest layer.

  A layer of more than `correlated_channels` is measured on that many of them,
  at equal distances: eigenvalues take the time of C^3.
  """
  numbers, covariances = {}, {}
  for tap, x_VC in view.taps.items():
    C = x_VC.shape[1]
    if correlated_channels < C:
      chosen = np.arange(correlated_channels) * C // correlated_channels
      x_VC = x_VC[:, chosen]
    numbers[tap], covariances[tap] = _numbers(x_VC)
  result, last = {}, {}
  for tap, share_C in _eigenvalues(covariances).items():
    rank = jnp.exp(jax.scipy.special.entr(share_C).sum())
    last = {**numbers[tap], 'effective_rank': rank}
    result |= {f'{tap}/{name}': x for name, x in last.items()}
  return result | last


def _numbers(x_VC):
  """Returns what needs no eigenvalues, and the covariance over its trace."""
  mean_C, var_C = moments.moments(x_VC, axes=(0,))
  varies_C = x_VC.max(0) > x_VC.min(0)
  x_VC = x_VC.astype(mean_C.dtype) - mean_C[None]
  scale = jnp.sqrt(var_C.max())  # squares of covariances might vanish
  covariance = jnp.matmul(x_VC.T, x_VC / scale, precision='highest')
  covariance /= len(x_VC) * scale
  deviation_C = jnp.sqrt(jnp.where(varies_C, jnp.diagonal(covariance), 1))
  correlation = covariance / (deviation_C[:, None] * deviation_C[None])
  total, count = jnp.trace(covariance), varies_C.sum()
  apart = jnp.abs(correlation).sum() - jnp.trace(correlation)
  numbers = {
    'correlation': apart / (count * (count - 1)),
    'participation': total**2 / jnp.square(covariance).sum(),
  }
  return numbers, covariance / total


def _eigenvalues(covariances):
  """Returns {tap: (C,)}.

  Covariances of one size go to LAPACK in one call: in one for each, which
  JAX makes at the same time, they took 1.5 times as long. Their singular values
  are the eigenvalues; `eigvalsh` finds vectors, too.
  """
  taps_of = {}
  for tap, covariance in covariances.items():
    taps_of.setdefault(len(covariance), []).append(tap)
  found = {}
  for taps in taps_of.values():
    together = jnp.stack([covariances[tap] for tap in taps])
    found |= zip(taps, jnp.linalg.svd(together, compute_uv=False))
  return {tap: found[tap] for tap in covariances}
