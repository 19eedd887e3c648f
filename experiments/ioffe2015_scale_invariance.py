"""Section 3.3 of the BN paper: the layer does not see the scale of its weights.

Claim:    For a scalar a, BN((aW)u) = BN(Wu), dBN((aW)u)/du = dBN(Wu)/du and
          dBN((aW)u)/d(aW) = 1/a dBN(Wu)/dW.
Source:   Ioffe & Szegedy 2015, section 3.3 (arXiv 1502.03167).
Scale:    as published: the equations hold for any layer.
Room:     norms
Config:   none; nothing is trained.
Command:  python -m experiments.ioffe2015_scale_invariance
Cost:     6 s on two CPU cores.
Result:   experiments/results/ioffe2015_scale_invariance.{png,svg,json}

The first equation implies a fourth, which is measured too: for every loss l,
the gradient by a unit's weights w is perpendicular to them, `<w, dl/dw> = 0`.

The paper's equations leave out the epsilon that its Algorithm 1 adds to the
variance. With it they hold as far as epsilon is small beside the variance of
the layer's inputs, a^2 times that of Wu, here about 1. The Jacobians are
complete, and of bnresearch's own layer.
"""

import pathlib
import sys
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.table import Table

from bnresearch import command
from bnresearch.norms.batch import Norm
from bnresearch.reports import claims
from bnresearch.runs import provenance
from bnresearch.terminal import Console
from experiments import _chart, _study, _untrained

NOTES = """
Without epsilon the equations hold to rounding for factors of 0.01 to 1000. With
an epsilon of 1e-5 they are off by up to 8%, at the smallest factor.
"""

N, D, C = 32, 16, 8  # examples, inputs, units
EPSILONS = (0.0, 1e-5)
DTYPES = ('float64', 'float32')
EQUATIONS = {
  'output': 'BN((aW)u) = BN(Wu)',
  'by u': 'dBN((aW)u)/du = dBN(Wu)/du',
  'by W': 'dBN((aW)u)/d(aW) = 1/a dBN(Wu)/dW',
  '<w, dl/dw>': '<w, dl/dw> = 0',
}
COLORS = ('#2e75b6', '#c0504d', '#6a9a3c', '#7f5fa8')
# What counts as rounding, in units of the dtype's machine epsilon.
ROUNDING = 30


@command.line()
def main(argv: Sequence[str] | None = None) -> int:
  """Measures, prints, draws, judges; returns the exit status."""
  parser = _untrained.parser(
    'ioffe2015_scale_invariance',
    __doc__,
    dry_run='three factors, one seed',
    output='scale_invariance',
  )
  args = parser.parse_args(argv)
  if args.dry_run:
    args.seeds = 1
  factors_A = 10.0 ** np.linspace(-2, 3, 3 if args.dry_run else 21)
  errors = {
    (dtype, epsilon): np.stack(
      [measure(dtype, epsilon, factors_A, k) for k in range(args.seeds)]
    )
    for dtype in DTYPES
    for epsilon in EPSILONS
  }
  Console().print(_table(errors, factors_A))
  judged = judge(errors, factors_A)
  print(claims.text(judged))
  draw(errors, factors_A, args.output)
  claims.write(
    args.output.with_suffix('.json'),
    judged,
    experiment='ioffe2015_scale_invariance',
    data='Gaussian numbers',
    seeds=args.seeds,
    steps=0,
    scale=args.scale,
    shape={'examples': N, 'inputs': D, 'units': C},
    factors=factors_A.tolist(),
    errors_are='relative; the largest over seeds, at each factor',
    errors={
      f'{dtype}, epsilon {epsilon:g}': dict(
        zip(EQUATIONS, error.max(axis=0).T.tolist())
      )
      for (dtype, epsilon), error in errors.items()
    },
    **provenance.collect(),
  )
  print(f'Wrote {args.output}.png, .svg and .json')
  return 0


def measure(
  dtype: str, epsilon: float, factors_A: np.ndarray, seed: int
) -> np.ndarray:
  """Returns the relative error of each equation at each factor, (A, 4).

  The error of an array is Euclidean, over the norm of what is expected. The
  error of the last equation is the largest |cosine| over units, between the
  weights and the gradient of a random linear loss.
  """
  random = np.random.RandomState(seed)
  u_ND = random.normal(1, 2, (N, D))  # a mean that is not 0, to be removed
  w_DC = random.normal(0, 0.5 / np.sqrt(D), (D, C))
  loss_NC = random.normal(size=(N, C))
  norm = Norm(epsilon=epsilon)
  with jax.enable_x64(dtype == 'float64'):
    u_ND, w_DC, loss_NC = (
      jnp.asarray(value, dtype) for value in (u_ND, w_DC, loss_NC)
    )
    variables = norm.init(jax.random.key(0), u_ND @ w_DC, train=False)

    @jax.jit
    def layer_and_jacobians(w_DC, u_ND):
      def layer(w_DC, u_ND):
        return norm.apply(variables, u_ND @ w_DC, train=True)

      by_w, by_u = jax.jacrev(layer, (0, 1))(w_DC, u_ND)
      return layer(w_DC, u_ND), by_u, by_w

    expected = _float64(layer_and_jacobians(w_DC, u_ND))
    rows = []
    for a in factors_A:
      scaled_DC = w_DC * jnp.asarray(a, dtype)
      y_NC, by_u, by_w = _float64(layer_and_jacobians(scaled_DC, u_ND))
      gradient_DC = np.tensordot(np.asarray(loss_NC), by_w, 2)
      rows.append(
        [
          _error(y_NC, expected[0]),
          _error(by_u, expected[1]),
          _error(by_w, expected[2] / a),
          _cosine(np.asarray(scaled_DC, np.float64), gradient_DC),
        ]
      )
  return np.array(rows)


def _float64(arrays):
  return [np.asarray(array, np.float64) for array in arrays]


def _error(actual, expected):
  return np.linalg.norm(actual - expected) / np.linalg.norm(expected)


def _cosine(w_DC, gradient_DC):
  length_C = np.linalg.norm(w_DC, axis=0) * np.linalg.norm(gradient_DC, axis=0)
  return np.abs((w_DC * gradient_DC).sum(axis=0) / length_C).max()


def judge(
  errors: dict[tuple[str, float], np.ndarray], factors_A: np.ndarray
) -> list[claims.Claim]:
  """Returns whether each equation holds to rounding, by dtype and epsilon.

  Args:
    errors: {(dtype, epsilon): (seeds, A, 4)}.
    factors_A: the factors a.
  """
  result = []
  for (dtype, epsilon), error in errors.items():
    bound = ROUNDING * float(np.finfo(dtype).eps)
    for k, equation in enumerate(EQUATIONS.values()):
      error_RA = error[:, :, k]
      worst_A = error_RA.max(axis=0)
      at = int(worst_A.argmax())
      result.append(
        claims.Claim(
          f'{dtype}, epsilon {epsilon:g}',
          equation,
          'exact, section 3.3; its equations have no epsilon',
          f'error at most {worst_A[at]:.1e}, at a = {factors_A[at]:.3g}; '
          f'{worst_A[-1]:.1e} at a = {factors_A[-1]:.3g}; rounding is up to '
          f'{bound:.0e}',
          tuple(bool(e) for e in (error_RA <= bound).all(axis=1)),
        )
      )
  return result


def _table(errors, factors_A):
  table = Table(title='Largest relative error over seeds', title_justify='left')
  table.add_column('equation')
  table.add_column('a', justify='right')
  for dtype, epsilon in errors:
    table.add_column(f'{dtype}\nepsilon {epsilon:g}', justify='right')
  chosen = range(0, len(factors_A), max(1, len(factors_A) // 5))
  for k, name in enumerate(EQUATIONS):
    for at in chosen:
      table.add_row(
        name if at == 0 else '',
        f'{factors_A[at]:.3g}',
        *(f'{error[:, at, k].max():.1e}' for error in errors.values()),
        end_section=at == chosen[-1],
      )
  return table


def curves(result: dict[str, Any]) -> _chart.Curves:
  """Returns the errors over the factors, for the site."""
  return _chart.Curves(
    'factor a',
    'relative error',
    [
      (setting, EQUATIONS[equation], a, error)
      for setting, of_equations in result['errors'].items()
      for equation, errors in of_equations.items()
      for a, error in zip(result['factors'], errors)
    ],
    f'Errors: {result["errors_are"]}. An error of 0 has no place on the axis.',
  )


def draw(
  errors: dict[tuple[str, float], np.ndarray],
  factors_A: np.ndarray,
  output: pathlib.Path,
) -> None:
  """Writes `output`.png and .svg: error against a, a panel per dtype."""
  figure, panels = _study.canvas(1, len(DTYPES), (9, 4), sharey=True)
  for panel, dtype in zip(panels[0], DTYPES):
    for epsilon, style in zip(EPSILONS, ('--', '-')):
      worst = errors[dtype, epsilon].max(axis=0)
      worst = np.where(worst > 0, worst, np.nan)  # a = 1 makes no error
      for column, equation, color in zip(worst.T, EQUATIONS.values(), COLORS):
        label = equation if epsilon else None
        panel.plot(factors_A, column, style, color=color, label=label)
    panel.set(xscale='log', yscale='log', title=dtype)
    panel.set_xlabel('factor a of the weights')
  panels[0, 0].set_ylabel('relative error')
  panels[0, 1].legend(loc='center', bbox_to_anchor=(0.5, 0.3))
  figure.suptitle(
    'Ioffe & Szegedy 2015, section 3.3: '
    f'solid, epsilon = {EPSILONS[1]:g}; dashed, epsilon = 0'
  )
  _study.save(figure, output)


if __name__ == '__main__':
  sys.exit(main())
