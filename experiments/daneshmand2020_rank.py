"""Rank collapse: without BN, deep random networks see one direction only.

Claim:    In random networks without BN the rank of the representations of a
          batch falls to 1 with depth; with BN it stays of the order of the
          square root of the width, however deep the network is.
Source:   Daneshmand et al. 2020, Batch Normalization Provably Avoids Rank
          Collapse (arXiv 2003.01652).
Scale:    100 layers of 16 to 256 ReLU units, as many Gaussian inputs as units,
          no skip connections. The theorem is for linear networks with a skip
          connection. Nothing is trained.
Room:     norms
Config:   none; nothing is trained.
Command:  python -m experiments.daneshmand2020_rank --seeds=5
Cost:     about 2 min on two CPU cores.
Result:   experiments/results/daneshmand2020_rank.{png,svg,json}

The rank is measured from below, as in the paper's proof, by
`tr(H'H)^2 / ||H'H||_F^2`, which is the number of directions if all are equally
strong. H (examples, units) is the pre-activations, after BN if there is any.
Without BN the kernels are those of He et al. 2015. 'Deep' is the mean over the
last fifth of the layers.
"""

import math
import pathlib
import sys
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from bnresearch import command, lookup, models
from bnresearch.reports import claims
from bnresearch.runs import provenance
from experiments import _study, _untrained

NOTES = """
Every network without BN has a rank of 1 from layer 40 on. With BN the rank
falls too, but stops. Up to a width of 128 it stops above the square root; at
256, with ReLU and without a skip connection, it falls further.
"""

DEPTH, WIDTHS = 100, (16, 32, 64, 128, 256)
NORMS = {'none': 'without BN', 'batch': 'with BN'}
COLORS = {'none': '#c0504d', 'batch': '#2e75b6'}
COLLAPSED = 1.1
_SIZES = {'small': (DEPTH, WIDTHS), 'ci': (40, WIDTHS[:2])}

Ranks = dict[tuple[str, int], np.ndarray]  # {(norm, width): (seeds, depth)}


@command.line()
def main(argv: Sequence[str] | None = None) -> int:
  """Measures, draws, judges; returns the exit status."""
  parser = _untrained.parser(
    'daneshmand2020_rank', __doc__, dry_run='five narrow layers, one seed'
  )
  args = parser.parse_args(argv)
  depth, widths = (5, (4, 8)) if args.dry_run else _SIZES[args.scale]
  found = measure(depth, widths, 1 if args.dry_run else args.seeds)
  judged = judge(found)
  print(claims.text(judged))
  draw(found, args.output)
  claims.write(
    args.output.with_suffix('.json'),
    judged,
    experiment='daneshmand2020_rank',
    data='Gaussian numbers',
    seeds=args.seeds,
    steps=0,
    scale=args.scale,
    depth=depth,
    ranks={f'{norm}, width {d}': r.tolist() for (norm, d), r in found.items()},
    **provenance.collect(),
  )
  print(f'Wrote {args.output}.png, .svg and .json')
  return 0


def measure(depth: int, widths: Sequence[int], seeds: int) -> Ranks:
  """Returns the rank at each layer of random networks, bottom to top."""
  found = {}
  for width in widths:
    for norm in NORMS:
      ranks = _make(norm, width, depth)
      rows = [ranks(jax.random.key(seed)) for seed in range(seeds)]
      found[norm, width] = np.array(rows, np.float64)
  return found


def _make(norm, width, depth):
  """Returns a function of a key to the ranks of a random network (depth,)."""
  cls = lookup.find('norms', norm).Norm
  std = math.sqrt(2 / width)
  layers = models.Layers(norm=lambda path: cls, activation='relu', init_std=std)
  model = lookup.find('models', 'mlp').Model(
    10, layers, features=(width,) * depth
  )
  sites = models.order(model, (1, width, 1)).sites

  @jax.jit
  def ranks(key):
    own, of_x = jax.random.split(key)
    x_NHWC = jax.random.normal(of_x, (width, 1, width, 1))
    variables = model.init(own, x_NHWC, train=False)
    _, taps = model.apply(variables, x_NHWC, train=True)
    return jnp.stack([rank(taps[site]) for site in sites])

  return ranks


def rank(h_NC: jax.Array) -> jax.Array:
  """Returns `tr(H'H)^2 / ||H'H||_F^2`, between 1 and the rank."""
  h_NC /= jnp.linalg.norm(h_NC)  # whatever its scale, no overflow
  products_CC = h_NC.T @ h_NC
  return 1 / jnp.square(products_CC).sum()


def deep(rank_SL: np.ndarray) -> np.ndarray:
  """Returns the mean rank over the last fifth of the layers, (S,)."""
  return rank_SL[:, -max(1, rank_SL.shape[1] // 5) :].mean(1)


def exponents(found: Ranks) -> np.ndarray:
  """Returns p, by seed, where the deep rank with BN grows as width^p, (S,)."""
  widths = sorted({width for _, width in found})
  rows = np.log([deep(found['batch', width]) for width in widths])
  return np.polyfit(np.log(widths), rows, 1)[0]


def judge(found: Ranks) -> list[claims.Claim]:
  """Returns the claims, each by seed."""
  widths = sorted({width for _, width in found})
  plain = np.array([deep(found['none', width]) for width in widths])
  normed = np.array([deep(found['batch', width]) for width in widths])
  p_S, depth = exponents(found), found['none', widths[0]].shape[1]
  setting = f'{depth} layers, widths {widths[0]} to {widths[-1]}'
  numbers = ', '.join(f'{x:.1f}' for x in normed.mean(1))
  return [
    claims.Claim(
      setting,
      'without BN the rank falls to 1',
      'yes',
      f'deep ranks of at most {plain.max():.2f}',
      tuple(bool(worst <= COLLAPSED) for worst in plain.max(0)),
    ),
    claims.Claim(
      setting,
      'with BN it does not',
      'yes',
      f'deep ranks of {numbers} at widths of {", ".join(map(str, widths))}',
      tuple(bool(least > COLLAPSED) for least in normed.min(0)),
    ),
    claims.Claim(
      setting,
      'with BN it grows at least as the square root of the width',
      'a rank of the order of the square root, its theorem',
      f'as width^p, p = {_study.plus_minus(p_S, ".2f")}; over the square root: '
      f'{(normed / np.sqrt(widths)[:, None]).min():.2f} to '
      f'{(normed / np.sqrt(widths)[:, None]).max():.2f}',
      tuple(bool(p >= 0.5) for p in p_S),
    ),
  ]


def draw(found: Ranks, output: pathlib.Path) -> None:
  """Writes `output`.png and .svg: rank by depth, and deep rank by width."""
  figure, panels = _study.canvas(1, 2, (10, 4))
  left, right = panels[0]
  widths = sorted({width for _, width in found})
  for (norm, width), rank_SL in found.items():
    shade = 0.35 + 0.65 * widths.index(width) / max(1, len(widths) - 1)
    depth = np.arange(1, rank_SL.shape[1] + 1)
    label = NORMS[norm] if width == widths[-1] else None
    left.plot(
      depth, rank_SL.mean(0), color=COLORS[norm], alpha=shade, label=label
    )
  left.set(yscale='log', xlabel='layer, from the bottom', ylabel='rank')
  left.legend(frameon=False, title=f'widths {widths[0]} (pale) to {widths[-1]}')
  for norm in NORMS:
    rows = np.array([deep(found[norm, width]) for width in widths])
    right.errorbar(
      widths, rows.mean(1), rows.std(1), fmt='o-', color=COLORS[norm], ms=4
    )
  right.plot(
    widths, np.sqrt(widths), '--', color='0.4', label='square root of the width'
  )
  right.set(xscale='log', yscale='log', xlabel='width', ylabel='deep rank')
  right.set_xticks(widths, map(str, widths))
  right.minorticks_off()
  right.legend(frameon=False, loc='center left', bbox_to_anchor=(0, 0.3))
  figure.suptitle(
    'Daneshmand et al. 2020: rank of the representations of random networks'
  )
  _study.save(figure, output)


if __name__ == '__main__':
  sys.exit(main())
