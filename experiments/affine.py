"""Section 3 of the BN paper: what are gamma and beta for?

Claim:    Normalization alone would keep the inputs of a sigmoid in its linear
          regime. Gamma and beta let the network leave it, and can undo the
          normalization: gamma = sqrt(Var[x]), beta = E[x] is the identity.
Source:   Ioffe & Szegedy 2015, section 3 (arXiv 1502.03167). The source
          documents take [-2, 2] for the linear regime, where 95.45% of a
          standard normal variable lies.
Scale:    the network of Figure 1 on digits of 8 x 8 pixels, from the easy
          start. The paper gives no numbers.
Room:     norms
Config:   configs/affine.py:seeds=3
Command:  python -m experiments.affine --seeds=3
Cost:     about 90 s on two CPU cores.
Result:   experiments/results/affine_*.{png,svg,json}

The inputs are those of the test images in the trained network, normalized by
the population's statistics.
"""

import math
import sys
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

import bnresearch as bnr
from bnresearch import command
from bnresearch.reports import claims
from configs import affine as study
from experiments import _study

NOTES = """
The inputs of trained networks are no normal variables: without gamma and beta
the last layer has 98.8% of them in the linear regime. With both, the network
puts a fifth of them outside. On this task its accuracy is the same either way.
"""

LINEAR = 2.0  # |x| up to which the source documents call a sigmoid linear
OF_A_NORMAL = math.erf(LINEAR / math.sqrt(2))
NAMES = {False: 'without gamma and beta', True: 'with them'}
COLORS = {False: '#c0504d', True: '#2e75b6'}
NEAR = 0.02  # less than the share of a normal variable
ROUNDING = 1e-12

Inputs = dict[bool, list[dict[str, np.ndarray]]]  # of each run, by layer


@command.line()
def main(argv: Sequence[str] | None = None) -> int:
  """Runs or reuses the runs, draws, judges; returns the exit status."""
  parser = _study.parser('affine', __doc__, steps=50_000)
  args = parser.parse_args(argv)
  arg = f'data={args.data},seeds={args.seeds},steps={args.steps}'
  return _study.conduct(
    args, study.get_config, arg, judge, draw, measure=measure
  )


def measure(runs: Sequence[bnr.Run]) -> tuple[dict[bool, list], Inputs]:
  """Returns the runs, and the inputs of their sigmoids, by use of gamma."""
  groups = {
    affine: group
    for (affine,), group in _study.grouped(runs, 'norm.use_scale').items()
  }
  inputs = {
    affine: [
      {
        layer: np.asarray(x)
        for layer, x in run.apply(
          run.restore(), run.source('test').images_NHWC, 'population'
        )[1].items()
      }
      for run in group
    ]
    for affine, group in groups.items()
  }
  return groups, inputs


def share(x: np.ndarray) -> float:
  """Returns the share of values in the linear regime."""
  return float((np.abs(x) <= LINEAR).mean())


def identity_error(seed: int) -> float:
  """Returns how far BN is from the identity if gamma and beta undo it.

  Relative to the largest value, in float64, without epsilon.
  """
  with jax.enable_x64(True):
    x_NC = jnp.asarray(np.random.RandomState(seed).normal(3, 5, (60, 8)))
    norm = bnr.norms.batch.Norm(epsilon=0.0)
    undo = {'scale': x_NC.std(0), 'bias': x_NC.mean(0)}
    variables = norm.init(jax.random.key(0), x_NC, train=False)
    y_NC = norm.apply({**variables, 'params': undo}, x_NC, train=True)
    return float(jnp.abs(y_NC - x_NC).max() / jnp.abs(x_NC).max())


def judge(measured: tuple[dict[bool, list], Inputs]) -> list[claims.Claim]:
  """Returns the claims, each by seed."""
  groups, inputs = measured
  shares = {
    affine: np.array([[share(x) for x in run.values()] for run in of_runs])
    for affine, of_runs in inputs.items()
  }
  accuracy = {
    affine: [_study.final(run) for run in group]
    for affine, group in groups.items()
  }
  errors = [identity_error(seed) for seed in range(len(groups[True]))]
  plain, learned = (
    ', '.join(_study.plus_minus(column, '.1%') for column in shares[affine].T)
    for affine in (False, True)
  )
  setting = 'sigmoids of three layers'
  return [
    claims.Claim(
      setting,
      'normalization alone keeps their inputs in the linear regime',
      f'{OF_A_NORMAL:.2%} of a normal variable lies in [-2, 2]',
      f'{plain}, from the lowest layer up',
      tuple(bool((row >= OF_A_NORMAL - NEAR).all()) for row in shares[False]),
    ),
    claims.Claim(
      setting,
      'with gamma and beta the network leaves it',
      'they restore what it can represent, section 3',
      f'{learned}, from the lowest layer up',
      tuple(
        bool(a.mean() < b.mean()) for a, b in zip(shares[True], shares[False])
      ),
    ),
    claims.Claim(
      setting,
      'without gamma and beta accuracy suffers',
      'the source documents',
      f'{_study.plus_minus(accuracy[True], ".2%")} with them, '
      f'{_study.plus_minus(accuracy[False], ".2%")} without',
      tuple(bool(a > b) for a, b in zip(accuracy[True], accuracy[False])),
    ),
    claims.Claim(
      'a random batch, float64',
      'gamma = sqrt(Var[x]), beta = E[x] is the identity',
      'exact, section 3; the source documents say the variance',
      f'error at most {max(errors):.0e} of the largest value',
      tuple(bool(error <= ROUNDING) for error in errors),
    ),
  ]


def draw(measured, args) -> None:
  """Writes the figure: the inputs of each layer's sigmoids, and a sigmoid."""
  _, inputs = measured
  layers = [*inputs[True][0]]
  figure, panels = _study.canvas(1, len(layers), (12, 3.6), sharey=True)
  x = np.linspace(-8, 8, 161)
  for panel, layer in zip(panels[0], layers):
    panel.axvspan(-LINEAR, LINEAR, color='0.93', zorder=0)
    panel.plot(x, 0.4 / (1 + np.exp(-x)), color='0.6', lw=1, label='sigmoid')
    for affine, name in NAMES.items():
      values = np.concatenate([run[layer].ravel() for run in inputs[affine]])
      density, edges = np.histogram(values, x, density=True)
      panel.stairs(density, edges, color=COLORS[affine], label=name)
    panel.set(title=layer, xlabel='input of the sigmoids')
    panel.grid(False)
  panels[0, 0].set_ylabel('density')
  lines = panels[0, 0].get_legend_handles_labels()
  figure.legend(*lines, loc='outside lower center', ncols=3, frameon=False)
  figure.suptitle(
    'Section 3 of Ioffe & Szegedy 2015: the inputs of sigmoids after training, '
    f'{args.data} ({_study.seeds(args.seeds)})'
  )
  _study.save(figure, args.output)


if __name__ == '__main__':
  sys.exit(main())
