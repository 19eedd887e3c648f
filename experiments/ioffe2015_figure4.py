"""Figure 4 of the BN paper: one crop, many crops, and an ensemble of six.

Claim:    The mean of BN-x30's probabilities over many crops has a lower error
          than a single crop. The mean over six networks like it has a lower
          one yet.
Source:   Ioffe & Szegedy 2015, Figure 4 (section 4.2.3, arXiv 1502.03167).
Scale:    Fashion-MNIST at 28 pixels, an eighth of the width, 10 crops.
          The paper has ImageNet and 144 crops.
Room:     evaluation
Config:   configs/inception.py:study=ensemble,seeds=3
Command:  python -m experiments.ioffe2015_figure4
Cost:     45 minutes for the 21 runs of three seeds, on two cores of an AMD
          EPYC, and 22 for their evaluation, on one.
Not run:  `--scale=paper`, the study as published: the 144 crops of GoogLeNet.
Result:   experiments/results/ioffe2015_figure4_*.{png,svg,json}

Each of the six networks has a seed of its own. BN-x30 is that of Figure 2. All
are evaluated at the end of their training, so no test image chooses the
checkpoint that it judges. A seed in which one of the seven diverges is left
out.
"""

import functools
import json
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from rich.progress import track

import bnresearch as bnr
from bnresearch import command
from bnresearch.reports import claims, results
from bnresearch.runs import config_file, run_directory
from configs import inception
from experiments import _inception, _study
from experiments._table import Table

NOTES = """
The ensemble has a lower top-1 error than BN-x30 in all seeds.

Ten crops help in one of three seeds only. They come from images of 28 pixels
with a margin of 2; on ImageNet they come from much larger images.

One of the six networks, with initial weights twice as large, does alone what
all six do together: 16.1 ± 1.2%, and 15.7 ± 1.5% with ten crops. The others
have 17.3 to 19.4%.

Means are worse calibrated than BN-x30 alone.
"""


class Row(NamedTuple):
  """A way to predict, and what the paper says of it.

  Attributes:
    ensemble: whether the six networks predict, or BN-x30.
    many: whether from many crops, or from one.
    top1, top5: published errors on ImageNet, in percent; nan for none.
    color: of its bars.
  """

  ensemble: bool
  many: bool
  top1: float
  top5: float
  color: str


ROWS = {
  'BN-x30, single crop': Row(False, False, 25.2, 7.82, '#9dc3e6'),
  'BN-x30, many crops': Row(False, True, 21.99, 5.82, '#2e75b6'),
  'six networks, single crop': Row(True, False, np.nan, np.nan, '#c5e0b4'),
  'six networks, many crops': Row(True, True, 20.1, 4.9, '#70ad47'),
}
_ONE, _MANY, _, _SIX = ROWS

# {row: for each seed {'seed'; 'top1', 'top5', 'calibration': errors in percent;
# 'members': top-1 of each network; 'crops': how many}}
Errors = dict[str, list[dict[str, Any]]]


@command.line()
def main(argv: Sequence[str] | None = None) -> int:
  """Runs or reuses the runs, evaluates, draws; returns the exit status."""
  args = _inception.parse('ioffe2015_figure4', __doc__, argv, trial='synthetic')
  # A dry run of 144 crops would take long.
  crops = 144 if args.scale == 'paper' and not args.dry_run else 10
  if args.data in inception.NOT_TO_MIRROR:
    print(
      f'--data={args.data}: has no ten crops, as its images are not to be '
      'mirrored. Take another, such as fashion_mnist.',
      file=sys.stderr,
    )
    return 2
  return _inception.conduct(
    args, 'ensemble', judge, draw, functools.partial(measure, crops=crops)
  )


def measure(runs: _inception.Runs, crops: int) -> Errors:
  """Evaluates each row; keeps the errors beside the runs.

  Raises:
    Refused: a network has diverged in every seed.
  """
  errors: Errors = {name: [] for name in ROWS}
  for alone, *six in zip(*runs.values(), strict=True):  # the first is BN-x30
    lost = [r.path for r in (alone, *six) if r.status['status'] != 'done']
    if lost:
      print(f'{lost[0]} has diverged: its seed is left out.', file=sys.stderr)
      continue
    for name, row in ROWS.items():
      together = six if row.ensemble else [alone]
      count = crops if row.many else 1
      found = _kept(together, count, name)
      errors[name].append({'seed': alone.config.seed, **found})
  if not errors[_ONE]:
    raise run_directory.Refused('No seed is left to be evaluated.')
  return errors


def _kept(networks, crops, name):
  """Returns the errors of networks, evaluated unless they were before."""
  file = networks[0].path.parent / 'ensembles.json'
  found = json.loads(file.read_text()) if file.exists() else {}
  # A run that is made again has another date.
  made = [
    f'{config_file.digest(run.config)} '
    f'{results.made_by(run.path).get("date", "")}'
    for run in networks
  ]
  key = f'{crops} of {", ".join(made)}'
  if key not in found:
    found[key] = {**_evaluate(networks, crops, name), 'crops': crops}
    partial = file.with_suffix('.partial')
    partial.write_text(json.dumps(found, indent=2))
    partial.replace(file)
  return found[key]


def _evaluate(runs, crops, name):
  total = len(runs[0].source('test'))
  progress = functools.partial(
    track, description=name, total=total, transient=True
  )
  networks = [(run, run.restore()) for run in runs]
  found = bnr.evaluate_together(networks, crops, progress=progress)
  error = lambda accuracy: round(100 * (1 - accuracy), 6)
  return {
    'top1': error(found.ensemble.top1),
    'top5': error(found.ensemble.top5),
    'calibration': 100 * found.ensemble.reliability.error,
    'members': [error(alone.top1) for alone in found.members],
  }


def judge(errors: Errors) -> list[claims.Claim]:
  """Returns whether many crops, and six networks, have a lower error.

  As in the paper, the six are compared with BN-x30 alone.
  """
  result = []
  for subject, before, after in (
    ('many crops of one network', _ONE, _MANY),
    ('six networks, many crops', _MANY, _SIX),
  ):
    for metric, what in (('top1', 'top-1'), ('top5', 'top-5')):
      old, new = _of(errors[before], metric), _of(errors[after], metric)
      published = [getattr(ROWS[name], metric) for name in (before, after)]
      result.append(
        claims.Claim(
          subject,
          f'a lower {what} error',
          f'{published[1]:g}% instead of {published[0]:g}%, 144 crops',
          f'{_study.plus_minus(new, ".2f")}% instead of '
          f'{_study.plus_minus(old, ".2f")}%, {errors[_MANY][0]["crops"]} '
          'crops',
          tuple((new < old).tolist()),
        )
      )
  return result


def draw(errors: Errors, args) -> None:
  """Prints the table, and draws it as bars beside the published ones."""
  table({'rows': errors}).show()
  figure, panels = _study.canvas(1, 2, (9, 3.2), sharey=True)
  for panel, metric in zip(panels[0], ('top1', 'top5')):
    for y, (name, row) in enumerate(ROWS.items()):
      measured = _of(errors[name], metric)
      panel.barh(
        y - 0.2, getattr(row, metric), 0.35, color=row.color, alpha=0.4
      )
      panel.barh(y + 0.2, measured.mean(), 0.35, color=row.color)
      panel.plot(measured, [y + 0.2] * len(measured), 'k.', markersize=4)
    panel.set(title=f'top-{metric[-1]} error, %')
  panels[0, 0].set_yticks(range(len(ROWS)), ROWS)
  panels[0, 0].invert_yaxis()
  figure.suptitle(
    f'Ioffe & Szegedy 2015, Figure 4: published on ImageNet (pale), ours on '
    f'{args.data}, scale {args.scale}\n(dots: seeds; many crops: 144 '
    f'published, {errors[_MANY][0]["crops"]} ours)'
  )
  _study.save(figure, args.output)


def _of(found, metric):
  """Returns (S,), one value per seed."""
  return np.array([of_seed[metric] for of_seed in found])


def table(result: dict[str, Any]) -> Table:
  """Returns the errors: published beside measured, and of each network."""
  errors = result['rows']
  rows = []
  for name, row in ROWS.items():
    cells = [name]
    for metric in ('top1', 'top5'):
      published = getattr(row, metric)
      cells.append('' if np.isnan(published) else f'{published:g}')
      cells.append(_study.plus_minus(_of(errors[name], metric), '.2f'))
    members = np.mean([of_seed['members'] for of_seed in errors[name]], axis=0)
    cells.append(f'{members.min():.2f} to {members.max():.2f}')
    cells.append(_study.plus_minus(_of(errors[name], 'calibration'), '.1f'))
    rows.append(cells)
  errors_of = (
    f'{m}{of}' for m in ('top-1', 'top-5') for of in (', published', ', ours')
  )
  return Table(
    [
      'error, %',
      *errors_of,
      'each network, top-1',
      'expected calibration error',
    ],
    rows,
    f'Many crops are 144 where published, {errors[_MANY][0]["crops"]} here.',
  )


if __name__ == '__main__':
  sys.exit(main())
