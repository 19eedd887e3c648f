"""ReLU6 against ReLU, if activations have few bits.

Claim:    ReLU6 suits low precision: its outputs are bounded, so 3 integer bits
          hold them, while those of ReLU go beyond.
Source:   The source documents, for float16 and for 8 bits from 0 to 7; Sandler
          et al. 2018, MobileNetV2 (arXiv 1801.04381), which takes ReLU6 for
          low-precision computation.
Scale:    five units of MobileNetV2 at 0.35 of the width, on Fashion-MNIST, 400
          steps; the first 2,000 test images.
Room:     ops
Config:   configs/bottlenecks.py:points=activations,seeds=3
Command:  python -m experiments.relu6_precision --seeds=3
Cost:     about 2 min on two CPU cores; less after
          `experiments/sandler2018_bottlenecks`, with which it shares runs.
Result:   experiments/results/relu6_precision_*.{png,svg,json}

The networks are trained in float32. Then each nonlinearity's output is rounded
as it is made: to float16, bfloat16, a fixed point with 3 integer bits, so 0 to
almost 8, or even levels from 0 to the layer's largest value. Weights, sums and
linear projections stay in float32. A format that has 0 and 6 may round a
nonlinearity's input instead: the output is the same.
"""

import functools
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from rich.progress import track

import bnresearch as bnr
from bnresearch import command, models
from bnresearch.ops import precision
from bnresearch.reports import claims
from configs import bottlenecks as study
from experiments import _study
from experiments._table import Table

NOTES = """
Sixteen bits cost nothing, and eight cost a tenth of a point at most, with ReLU
as with ReLU6: outputs of this network's ReLUs are 13 at most, so few of them
are clipped. Four bits cost 2 points if the levels reach up to the largest
value, and then neither has an advantage beyond its deviation. In fixed point
with a range of 8, four bits leave one for the fraction, and ReLU6 bears that
worse.
"""

EXAMPLES = 2000  # first test images
NAMES = {'relu6': 'ReLU6', 'relu': 'ReLU'}
COLORS = {'relu6': '#2e75b6', 'relu': '#e08a1e'}
BITS = (8, 6, 5, 4)
FORMATS = {
  **{
    name: functools.partial(precision.floating, dtype=name)
    for name in precision.FLOATS
  },
  **{
    f'fixed point, {bits} bits': functools.partial(
      precision.fixed_point, integer_bits=3, fraction_bits=bits - 3
    )
    for bits in BITS
  },
  **{
    f'up to largest, {bits} bits': functools.partial(
      precision.up_to_largest, bits=bits
    )
    for bits in BITS
  },
}
EIGHT = 'fixed point, 8 bits'
FOUR = 'fixed point, 4 bits', 'up to largest, 4 bits'


class Found(NamedTuple):
  """What rounding does to R seeds of networks with one activation.

  Attributes:
    points: {format: (R,)}, added to the error, in percent.
    largest: output of a nonlinearity (R,).
  """

  points: dict[str, np.ndarray]
  largest: np.ndarray


@command.line()
def main(argv: Sequence[str] | None = None) -> int:
  """Runs or reuses the runs, rounds, draws, judges; returns the status."""
  parser = _study.parser(
    'relu6_precision', __doc__, steps=400, folder='bottlenecks'
  )
  parser.set_defaults(data='fashion_mnist')
  args = parser.parse_args(argv)
  arg = (
    f'data={args.data},points=activations,seeds={args.seeds},steps={args.steps}'
  )
  return _study.conduct(
    args, study.get_config, arg, judge, draw, _rows, measure
  )


def measure(runs: Sequence[bnr.Run]) -> dict[str, Found]:
  """Returns what rounding does to the networks of each activation."""
  groups = _study.grouped(runs, 'model.activation')
  result = {}
  for name, own in (('relu6', 'own'), ('relu', 'relu')):
    of_runs = [
      _of_run(run)
      for run in track(groups[own,], f'rounding {name}', transient=True)
    ]
    points = {
      form: np.array([of_run[form] for of_run, _ in of_runs])
      for form in FORMATS
    }
    largest = np.array([top for _, top in of_runs])
    bound = 6.0 if name == 'relu6' else np.inf
    result[name] = Found(points, np.minimum(largest, bound))
  return result


def _of_run(run):
  """Returns {format: points more errors}, and the largest tap."""
  state, source = run.restore(), run.source('test')
  state = run.with_statistics(state, 'population')
  images, labels_N = source.images_NHWC[:EXAMPLES], source.labels_N[:EXAMPLES]
  logits_NK, taps = run.apply(state, images)
  error = _error(logits_NK, labels_N)
  found = {}
  for form, to_format in FORMATS.items():
    with models.change(lambda site, x, to=to_format: to(x)):
      rounded_NK = bnr.open_run(run.path).apply(state, images)[0]
    found[form] = 100 * (_error(rounded_NK, labels_N) - error)
  return found, max(float(tap.max()) for tap in taps.values())


def _error(logits_NK, labels_N):
  return float((np.argmax(logits_NK, -1) != labels_N).mean())


def judge(found: dict[str, Found]) -> list[claims.Claim]:
  """Returns the claims about rounded activations, each by seed."""
  relu6, relu = found['relu6'].points, found['relu'].points
  told = lambda form: ', '.join(
    f'{_study.plus_minus(found[name].points[form], "+.2f")} with {label}'
    for name, label in NAMES.items()
  )
  cost = np.abs([of[f] for of in (relu6, relu) for f in precision.FLOATS])
  return [
    claims.Claim(
      'activations of 16 bits',
      'cost neither a quarter of a point',
      'the source documents: ReLU6 for float16; no number',
      f'points more errors: float16 {told("float16")}; '
      f'bfloat16 {told("bfloat16")}',
      _all(cost.max(0) < 0.25),
    ),
    claims.Claim(
      'activations of 8 bits, 0 to 8',
      'cost ReLU6 less than half a point',
      'the source documents: 3 integer bits suffice; no number',
      f'points more errors: {told(EIGHT)}',
      _all(relu6[EIGHT] < 0.5),
    ),
    claims.Claim(
      'activations of 8 bits, 0 to 8',
      'cost ReLU, whose outputs go beyond, more than ReLU6',
      'the source documents: without a bound low precision is inexact',
      f'points more errors: {told(EIGHT)}; largest outputs of ReLU: '
      f'{_study.plus_minus(found["relu"].largest, ".1f")}',
      _all(relu[EIGHT] > relu6[EIGHT]),
    ),
    claims.Claim(
      'activations of 4 bits',
      'cost ReLU more than ReLU6, with levels up to the largest value',
      'no number',
      f'points more errors: {told(FOUR[1])}; in fixed point: {told(FOUR[0])}',
      _all(relu[FOUR[1]] > relu6[FOUR[1]]),
    ),
  ]


def _all(holds_R):
  return tuple(bool(holds) for holds in holds_R)


def table(result: dict[str, Any]) -> Table:
  """Returns the points that each format adds to the error."""
  cells: dict[str, list[str]] = {}
  for row in result['rounded']:
    points = _study.plus_minus(row['points'], '+.2f')
    cells.setdefault(row['format'], []).append(points)
  return Table(
    ['points more errors', *NAMES.values()],
    [[form, *points] for form, points in cells.items()],
    'Outputs of nonlinearities rounded after training.',
  )


def draw(found: dict[str, Found], args) -> None:
  """Writes the figure: what each format adds to the error."""
  figure, ((panel,),) = _study.canvas(1, 1, (8, 4.2))
  for k, (name, label) in enumerate(NAMES.items()):
    points = np.array([found[name].points[form] for form in FORMATS])
    place = -np.arange(len(FORMATS))[:, None] + 0.12 - 0.24 * k
    color = COLORS[name]
    lines = panel.plot(points, place + 0 * points, 'o', color=color)
    lines[0].set_label(label)
  panel.set_yticks([-k for k in range(len(FORMATS))], [*FORMATS])
  panel.axvline(0, color='0.6', lw=1, zorder=0)
  panel.set_xscale('symlog', linthresh=1)
  panel.set(xlabel='points more errors on test images')
  panel.legend(frameon=False)
  figure.suptitle(
    'Activations of MobileNetV2 rounded after training: '
    f'{args.data} ({_study.seeds(args.seeds)})'
  )
  _study.save(figure, args.output)


def _rows(found):
  return {
    'rounded': [
      {
        'format': form,
        'activation': name,
        'points': of.points[form].round(3).tolist(),
      }
      for form in FORMATS
      for name, of in found.items()
    ],
    'largest_output': {
      name: of.largest.round(2).tolist() for name, of in found.items()
    },
  }


if __name__ == '__main__':
  sys.exit(main())
