"""What ReLU destroys: a spiral embedded in few and in many dimensions.

Claim:    ReLU loses information about a low-dimensional manifold if it has few
          channels, and keeps it if there are many: with 2 or 3 parts of the
          manifold collapse, with 15 to 30 it is preserved.
Source:   Sandler et al. 2018, MobileNetV2 (arXiv 1801.04381), section 3.2 and
          Figure 1: why the projection of a bottleneck is linear.
Scale:    as published: a spiral in the plane, 2 to 30 dimensions. The paper
          shows one random matrix, and pictures in place of numbers.
Room:     models
Config:   none; nothing is trained.
Command:  python -m experiments.sandler2018_spiral
Cost:     3 s on two CPU cores.
Result:   experiments/results/sandler2018_spiral.{png,svg,json}

The spiral x (N, 2) is embedded by a random Gaussian matrix T (2, n), goes
through ReLU, and comes back by the pseudo-inverse of T, as in the paper. Two
numbers say what is left. *Error* is the distance from the spiral over the
spiral's size, root mean square, up to the best scale. *Lost* is the share of
points of which fewer than two channels are active: nothing, not even a
nonlinear map, could tell where they were, as two equations are needed for two
unknowns. For random directions it is (n + 1) / 2^n.
"""

import pathlib
import sys
from collections.abc import Sequence

import numpy as np

from bnresearch import command
from bnresearch.reports import claims
from bnresearch.runs import provenance
from experiments import _study, _untrained

NOTES = """
With two channels three quarters of the spiral are lost, with three a half, and
with 15 one point in two thousand. The linear way back that the paper draws
keeps a small error in any dimension, because ReLU bends the plane.
"""

DIMENSIONS = (2, 3, 5, 10, 15, 30)
FEW, MANY = (2, 3), (15, 30)
POINTS = 1000
COLLAPSED, KEPT = 0.25, 0.01  # of the points that are lost


@command.line()
def main(argv: Sequence[str] | None = None) -> int:
  """Measures, draws, judges; returns the exit status."""
  parser = _untrained.parser(
    'sandler2018_spiral', __doc__, dry_run='two seeds', seeds=100
  )
  args = parser.parse_args(argv)
  seeds = 2 if args.dry_run else args.seeds
  found = {n: measure(n, seeds) for n in DIMENSIONS}
  judged = judge(found)
  print(claims.text(judged))
  draw(found, args.output)
  claims.write(
    args.output.with_suffix('.json'),
    judged,
    experiment='sandler2018_spiral',
    data='a spiral',
    seeds=seeds,
    steps=0,
    scale=args.scale,
    lost={n: lost_S.tolist() for n, (lost_S, _) in found.items()},
    error={n: error_S.tolist() for n, (_, error_S) in found.items()},
    **provenance.collect(),
  )
  print(f'Wrote {args.output}.png, .svg and .json')
  return 0


def spiral() -> np.ndarray:
  """Returns points of a spiral of two turns (N, 2), of mean square 1."""
  turn = np.linspace(0.5, 4 * np.pi, POINTS)
  x_N2 = turn[:, None] * np.stack([np.cos(turn), np.sin(turn)], axis=1)
  return x_N2 / np.sqrt(np.square(x_N2).sum(1).mean())


def embedded(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
  """Returns the spiral after ReLU (N, n), and back in the plane (N, 2)."""
  T_2n = np.random.RandomState([n, seed]).normal(size=(2, n))
  y_Nn = np.maximum(spiral() @ T_2n, 0)
  return y_Nn, y_Nn @ np.linalg.pinv(T_2n)


def measure(n: int, seeds: int) -> tuple[np.ndarray, np.ndarray]:
  """Returns the share of lost points, and the error, for each seed (S,)."""
  x_N2, lost, error = spiral(), [], []
  for seed in range(seeds):
    y_Nn, back_N2 = embedded(n, seed)
    lost.append(((y_Nn > 0).sum(1) < 2).mean())
    scale = (back_N2 * x_N2).sum() / max(np.square(back_N2).sum(), 1e-12)
    error.append(np.sqrt(np.square(scale * back_N2 - x_N2).sum(1).mean()))
  return np.array(lost), np.array(error)


def judge(
  found: dict[int, tuple[np.ndarray, np.ndarray]],
) -> list[claims.Claim]:
  """Returns the claims, each by seed."""

  def numbers(dimensions, which, form):
    return ', '.join(
      f'{_study.plus_minus(found[n][which], form)} with {n}' for n in dimensions
    )

  lost = {n: lost_S for n, (lost_S, _) in found.items()}
  error = {n: error_S for n, (_, error_S) in found.items()}
  return [
    claims.Claim(
      'random matrices',
      'with few channels parts of the manifold collapse',
      'information is lost with n = 2 and 3, Figure 1',
      f'lost: {numbers(FEW, 0, ".0%")}; expected are 75% and 50%',
      tuple(
        bool(all(share > COLLAPSED for share in of_seed))
        for of_seed in zip(*(lost[n] for n in FEW))
      ),
    ),
    claims.Claim(
      'random matrices',
      'with many channels the manifold is preserved',
      'it is kept with n = 15 to 30, Figure 1',
      f'lost: {numbers(MANY, 0, ".2%")}',
      tuple(
        bool(all(share <= KEPT for share in of_seed))
        for of_seed in zip(*(lost[n] for n in MANY))
      ),
    ),
    claims.Claim(
      'random matrices',
      'the way back by the pseudo-inverse comes nearer with more channels',
      'Figure 1, by eye',
      f'error: {numbers((*FEW, *MANY), 1, ".2f")}',
      tuple(
        bool(max(many) < min(few))
        for few, many in zip(
          zip(*(error[n] for n in FEW)), zip(*(error[n] for n in MANY))
        )
      ),
    ),
  ]


def draw(
  found: dict[int, tuple[np.ndarray, np.ndarray]], output: pathlib.Path
) -> None:
  """Writes `output`.png and .svg: the spirals, and what is lost."""
  figure, panels = _study.canvas(2, 4, (9.6, 5))
  color = np.arange(POINTS)
  shown = [('the spiral', spiral())]
  shown += [(f'n = {n}', embedded(n, seed=0)[1]) for n in DIMENSIONS]
  for panel, (title, points_N2) in zip(panels.flat, shown):
    panel.scatter(*points_N2.T, c=color, cmap='viridis', s=3, rasterized=True)
    panel.set(title=title, xticks=[], yticks=[], aspect='equal')
    panel.grid(False)
  last = panels.flat[-1]
  lost = [lost_S.mean() for lost_S, _ in found.values()]
  last.plot(DIMENSIONS, lost, 'o', color='#2e75b6', label='measured')
  n = np.arange(2, 31)
  last.plot(n, (n + 1) / 2.0**n, color='0.5', label='(n + 1) / 2^n', zorder=0)
  last.set(
    title='share of points that are lost', xlabel='channels n', yscale='log'
  )
  last.set_ylim(1e-4, 1.2)
  last.legend(frameon=False)
  figure.suptitle(
    'Sandler et al. 2018, Figure 1: a spiral, through n channels of ReLU, and '
    'back by the pseudo-inverse'
  )
  _study.save(figure, output)


if __name__ == '__main__':
  sys.exit(main())
