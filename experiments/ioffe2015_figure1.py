"""Figure 1 of the BN paper: sigmoid network with and without BN, on digits.

Claim:    With BN the network trains faster and to a higher accuracy, and the
          inputs to its sigmoids keep a more stable distribution.
Source:   Ioffe & Szegedy 2015, section 4.1 and Figure 1, arXiv 1502.03167.
Command:  python -m experiments.ioffe2015_figure1 --data=mnist --seeds=3
Cost:     see README.md; digits about a minute on two CPU cores.
Result:   experiments/results/ioffe2015_figure1_*.{png,svg,json}

The paper leaves open what decides the outcome, the size of the initial
weights: each row of the figure is one reading of "small random Gaussian".
"""

import argparse
import pathlib
import sys
import tempfile
from collections.abc import Sequence

import numpy as np
from rich.console import Console

import bnresearch as bnr
from bnresearch import config as configs
from bnresearch.records import provenance
from bnresearch.reports import claims, drift, summary
from bnresearch.sweeps import local
from bnresearch.sweeps.points import Point, points
from configs import figure1

INITS = {0.01: 'tight init, std 0.01', 0.1: 'easy init, std 0.1'}
NORMS = {'none': 'without BN', 'batch': 'with BN'}
COLORS = {'none': '#c0504d', 'batch': '#2e75b6'}
STYLES = {'-': '—', '--': '- -', ':': '···'}  # of the layers, bottom to top


def main(argv: Sequence[str] | None = None) -> int:
  """Runs or reuses the runs, draws, judges; returns the exit status."""
  args = _parse(argv)
  arg = f'data={args.data},init=both,seeds={args.seeds},steps={args.steps}'
  chosen = points(figure1.get_config(arg), {})
  workdir = args.workdir or pathlib.Path('runs', f'figure1-{args.data}')
  console = Console()
  with tempfile.TemporaryDirectory() as scratch:
    if args.dry_run:
      workdir = pathlib.Path(scratch)
      chosen = [Point(p.name, configs.tiny(p.config)) for p in chosen]
    try:
      local.run(chosen, workdir, args.processes, console)
    except (configs.ConfigError, FileNotFoundError, RuntimeError) as error:
      print(error, file=sys.stderr)
      return 2
    console.print(summary.table(chosen, workdir))
    runs = {}
    for point in chosen:
      run = bnr.open_run(point.directory(workdir))
      if run.status['status'] != 'done':
        print('Not all runs are done: the same command continues them.')
        return 1
      key = (run.config.model.init_std, run.config.norm.name)
      runs.setdefault(key, []).append(run)
    judged = judge(runs)
    print(claims.text(judged))
    draw(runs, args.data, args.output)
    claims.write(
      args.output.with_suffix('.json'),
      judged,
      experiment='ioffe2015_figure1',
      data=args.data,
      seeds=args.seeds,
      steps=chosen[0].config.train.steps,
      units={
        f'{k[0]},{k[1]}': drift.typical_unit(r[0]) for k, r in runs.items()
      },
      unit_is=drift.TYPICAL,
      seconds_per_run=[r.status['seconds'] for rs in runs.values() for r in rs],
      processes=args.processes,
      **provenance.collect(),
    )
  print(f'Wrote {args.output}.png, .svg and .json')
  return 0


def judge(runs: dict[tuple[float, str], list[bnr.Run]]) -> list[claims.Claim]:
  """Returns the paper's three claims about each initialization."""
  return [
    claim
    for std, setting in INITS.items()
    for claim in _judge_one(setting, runs[std, 'none'], runs[std, 'batch'])
  ]


def _judge_one(setting, plain, normed):
  final = {}
  for name, group in (('plain', plain), ('normed', normed)):
    final[name] = np.array(
      [run.metrics['test/accuracy'].values[-1] for run in group]
    )
  reached = [
    (_first_step(n, target), _first_step(p, target))
    for p, n, target in zip(plain, normed, final['plain'])
  ]
  moved = {
    name: np.array([drift.movement(run) for run in group])
    for name, group in (('plain', plain), ('normed', normed))
  }
  never = any(n is None for n, _ in reached)
  with_bn = (
    'never'
    if never
    else (f'after {np.mean([n for n, _ in reached]):,.0f} steps')
  )
  return [
    claims.Claim(
      setting,
      'trains faster',
      'yes, Fig. 1(a)',
      f"the plain network's final accuracy is reached {with_bn} with BN, "
      f'{np.mean([p for _, p in reached]):,.0f} without',
      tuple(n is not None and n < p for n, p in reached),
    ),
    claims.Claim(
      setting,
      'higher test accuracy',
      'yes, Fig. 1(a)',
      f'{_spread(final["normed"], ".2%")} with BN, '
      f'{_spread(final["plain"], ".2%")} without',
      tuple(bool(h) for h in final['normed'] > final['plain']),
    ),
    claims.Claim(
      setting,
      'more stable distributions',
      'yes, Fig. 1(b, c)',
      'inputs to the last sigmoids over the run: median moves by '
      f'{_spread(moved["normed"][:, 0], ".2f")} with BN, '
      f'{_spread(moved["plain"][:, 0], ".2f")} without; spread changes '
      f'{_spread(moved["normed"][:, 1], ".3g")}-fold with BN, '
      f'{_spread(moved["plain"][:, 1], ".3g")}-fold without',
      tuple(
        bool((n < p).all()) for n, p in zip(moved['normed'], moved['plain'])
      ),
    ),
  ]


def _first_step(run, accuracy):
  steps, values = run.metrics['test/accuracy']
  there = np.flatnonzero(values >= accuracy)
  return int(steps[there[0]]) if len(there) else None


def _spread(values, form):
  mean = format(np.mean(values), form)
  return (
    mean if len(values) == 1 else f'{mean} ± {np.std(values, ddof=1):{form}}'
  )


def draw(
  runs: dict[tuple[float, str], list[bnr.Run]], data: str, output: pathlib.Path
) -> None:
  """Writes `output`.png and .svg: a row of four panels an initialization."""
  import matplotlib

  matplotlib.use('Agg')
  from matplotlib import pyplot as plt

  plt.rcParams.update({'font.size': 9, 'svg.hashsalt': 'bnresearch'})
  figure, axes = plt.subplots(
    len(INITS), 4, figsize=(13, 6), layout='constrained', sharex=True
  )
  for row, (std, setting) in zip(axes, INITS.items()):
    _draw_accuracy(row[0], {n: runs[std, n] for n in NORMS})
    row[0].set_ylabel(f'{setting}\n\ntest accuracy')
    for panel, letter, norm in zip(row[1:3], 'bc', NORMS):
      _draw_percentiles(panel, runs[std, norm][0])
      panel.set_title(f'({letter}) {NORMS[norm]}')
    row[1].set_ylabel('input to one sigmoid')
    row[2].sharey(row[1])
    _draw_drift(row[3], {n: runs[std, n] for n in NORMS})
  axes[0, 0].legend(loc='lower right', frameon=False)
  for panel in axes[-1]:
    panel.set_xlabel('training steps')
  for panel in axes.flat:
    panel.spines[['top', 'right']].set_visible(False)
    panel.xaxis.set_major_formatter(
      lambda x, _: f'{x / 1000:g}K' if x >= 1000 else f'{x:g}'
    )
  seeds = len(runs[next(iter(INITS)), 'none'])
  figure.suptitle(
    f'Ioffe & Szegedy 2015, Figure 1, on {data} '
    f'({seeds} seed{"s" * (seeds > 1)})'
  )
  figure.savefig(output.with_suffix('.png'), dpi=130)
  figure.savefig(output.with_suffix('.svg'), metadata={'Date': None})
  plt.close(figure)


def _draw_accuracy(panel, groups):
  for norm, group in groups.items():
    steps = group[0].metrics['test/accuracy'].steps
    values = np.stack([run.metrics['test/accuracy'].values for run in group])
    color = COLORS[norm]
    panel.plot(steps, values.mean(axis=0), color=color, label=NORMS[norm])
    panel.fill_between(
      steps, values.min(axis=0), values.max(axis=0), color=color, alpha=0.2
    )
  panel.set_title('(a) accuracy')
  panel.set_ylim(0, 1)
  panel.grid(alpha=0.3)


def _draw_percentiles(panel, run):
  unit, layer = drift.typical_unit(run), drift.layers(run)[-1]
  steps, values_TPC = run.metrics[f'{drift.PERCENTILES}/{layer}']
  color = COLORS[run.config.norm.name]
  low_T, median_T, high_T = values_TPC[:, :, unit].T
  panel.fill_between(steps, low_T, high_T, color=color, alpha=0.15)
  for values_T, width in ((low_T, 0.8), (median_T, 1.6), (high_T, 0.8)):
    panel.plot(steps, values_T, color=color, linewidth=width)
  panel.text(0.02, 0.02, f'{layer}, unit {unit}', transform=panel.transAxes)


def _draw_drift(panel, groups):
  for norm, group in groups.items():
    for layer, style in zip(drift.layers(group[0]), STYLES):
      per_run = [drift.of_layer(run, layer) for run in group]
      panel.plot(
        per_run[0][0],
        np.mean([drift_TC.mean(axis=1) for _, drift_TC in per_run], axis=0),
        style,
        color=COLORS[norm],
      )
  key = ', '.join(f'{k} {sign}' for k, sign in enumerate(STYLES.values(), 1))
  panel.set_title(f'(d) drift of layers {key}')


def _parse(argv):
  parser = argparse.ArgumentParser(
    prog='python -m experiments.ioffe2015_figure1',
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  parser.add_argument('--data', default='digits', help='digits, mnist, ...')
  parser.add_argument('--seeds', type=int, default=1)
  parser.add_argument('--steps', type=int, default=50_000)
  parser.add_argument('--processes', type=int, default=local.cores())
  parser.add_argument(
    '--workdir', type=pathlib.Path, help='default runs/figure1-DATA'
  )
  parser.add_argument(
    '--output',
    type=pathlib.Path,
    default=pathlib.Path('figure1'),
    help='path of the picture without its ending; default figure1',
  )
  parser.add_argument(
    '--dry_run', action='store_true', help='two steps, synthetic data'
  )
  return parser.parse_args(argv)


if __name__ == '__main__':
  sys.exit(main())
