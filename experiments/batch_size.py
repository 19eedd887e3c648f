"""Error against the number of examples that share statistics.

Claim:    BN loses accuracy as its batches get small. Normalizers that do not
          depend on the batch lose none, and batch renormalization loses less.
Source:   Wu & He 2018 (arXiv 1803.08494); Ioffe 2017 (arXiv 1702.03275; the
          numbers of ResNet-50 are those of Switchable-Normalization's README at
          5472286).
Scale:    three layers of 100 ReLUs on small images. The published
          networks are ResNet-50 and Inception-v3 on ImageNet.
Room:     norms
Config:   configs/batch_size.py:data=mnist,seeds=3
Command:  python -m experiments.batch_size --seeds=3
Cost:     52 s on two CPU cores; 84 s with `--data=mnist`.
Result:   experiments/results/batch_size_*.{png,svg,json}

In the published studies fewer examples on a GPU also mean a smaller batch. Here
every update sees 128 examples, in groups with statistics of their own. In a
network of fully connected layers a group of one leaves nothing of its input:
the output of BN is its bias. The running variance is pooled over the groups,
since one value has no variance. Group normalization has 4 groups of 25 units.
"""

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

import bnresearch as bnr
from bnresearch import command
from bnresearch.reports import claims
from configs import batch_size as study
from experiments import _study
from experiments._table import Table

COMMANDS = {
  'batch_size_mnist': 'python -m experiments.batch_size --data=mnist --seeds=3'
}

NOTES = """
On the digits only groups of 1 and 2 fail, and batch renormalization is no better
than BN in groups of 4.
"""  # noqa: E501

# Top-1 error in percent by examples per GPU, 8 GPUs.
PUBLISHED = {
  'batch': {32: 23.6, 16: 23.7, 8: 24.8, 4: 27.3, 2: 34.7},
  'group': {32: 24.1, 16: 24.2, 8: 24.0, 4: 24.2, 2: 24.1},
}
LABELS = {
  'batch': 'BN',
  'batch_renorm': 'batch renormalization',
  'group': 'group normalization',
  'layer': 'layer normalization',
  'none': 'none',
}
COLORS = {
  'batch': '#2e75b6',
  'batch_renorm': '#e08a1e',
  'group': '#6a9a3c',
  'layer': '#7f5fa8',
  'none': '#777777',
}

Errors = dict[str, dict[int, np.ndarray]]


@command.line()
def main(argv: Sequence[str] | None = None) -> int:
  """Runs or reuses the runs, draws, judges; returns the exit status."""
  args = _study.parser('batch_size', __doc__, steps=2000).parse_args(argv)
  arg = f'data={args.data},seeds={args.seeds},steps={args.steps}'
  return _study.conduct(args, study.get_config, arg, _print_and_judge, draw)


def errors_of(runs: Sequence[bnr.Run]) -> Errors:
  """Returns test errors, {norm: {group size: one per seed}}.

  A norm without groups has group size 0.
  """
  return _errors({run.path.name: _study.final(run) for run in runs})


def _errors(accuracies) -> Errors:
  """Returns the same from {name of a run: its accuracy}."""
  result: Errors = {}
  for name, accuracy in accuracies.items():
    norm, size = _norm_and_size(name)
    sizes = result.setdefault(norm, {})
    sizes[size] = np.append(sizes.get(size, []), 1 - accuracy)
  return result


def _norm_and_size(name):
  """Reads the size from the name, as the config of a dry run has another."""
  name, _, rest = name.removeprefix('norm=').partition(',')
  size = rest.partition('group_size=')[2].partition(',')[0]
  return name, int(size or 0)


def _print_and_judge(runs):
  errors = errors_of(runs)
  _table(errors).show()
  return judge(errors)


def judge(errors: Errors) -> list[claims.Claim]:
  """Returns the published claims about small batches."""
  batch, renorm = errors['batch'], errors['batch_renorm']
  group = errors['group'][0]
  r50, r50_group = PUBLISHED['batch'], PUBLISHED['group']
  return [
    _larger(
      'groups of 2',
      'BN has a larger error than in groups of 32',
      f'{r50[2]}% against {r50[32]}%, R50',
      {'of 2': batch[2], 'of 32': batch[32]},
    ),
    _larger(
      'groups of 2',
      'BN has a larger error than group normalization',
      f'{r50[2]}% against {r50_group[2]}%, R50',
      {'with BN': batch[2], 'with GN': group},
    ),
    *(
      _larger(
        f'groups of {size}',
        'BN has a larger error than batch renormalization',
        'yes, for small minibatches, Ioffe 2017, Inception-v3',
        {'with BN': batch[size], 'renormalized': renorm[size]},
      )
      for size in (2, 4)
    ),
    _larger(
      'groups of 32',
      'BN has a smaller error than group normalization',
      f'{r50[32]}% against {r50_group[32]}%, R50',
      {'with GN': group, 'with BN': batch[32]},
    ),
    claims.Claim(
      'groups of 1',
      'BN fails',
      'yes, R50, one example a GPU',
      f'error {_study.plus_minus(batch[1], ".1%")}; we call more than half '
      'failed',
      tuple(bool(error > 0.5) for error in batch[1]),
    ),
  ]


def _larger(setting, words, published, errors):
  """Judges by seed whether the first of two errors is the larger one."""
  first, second = errors.values()
  return claims.Claim(
    setting,
    words,
    published,
    ', '.join(
      f'{_study.plus_minus(e, ".1%")} {of}' for of, e in errors.items()
    ),
    tuple(bool(a > b) for a, b in zip(first, second)),
  )


def table(result: dict[str, Any]) -> Table:
  """Returns the errors, with the published ones of ResNet-50."""
  runs = result['runs']
  return _table(_errors({run['run']: run['test_accuracy'] for run in runs}))


def _table(errors):
  names = [LABELS[name] for name in errors]
  rows = []
  for size in sorted({s for sizes in errors.values() for s in sizes}):
    ours = [
      _study.plus_minus(100 * sizes[size], '.1f') if size in sizes else ''
      for sizes in errors.values()
    ]
    published = [str(of_norm.get(size, '')) for of_norm in PUBLISHED.values()]
    rows.append([str(size or 'any'), *ours, *published])
  return Table(
    ['group size', *names, 'published: R50, BN', 'published: R50, GN'],
    rows,
    'Test error, %.',
  )


def draw(runs: Sequence[bnr.Run], args) -> None:
  """Writes the figure: error against group size, ours and published."""
  errors = errors_of(runs)
  figure, panels = _study.canvas(1, 2, (10, 4.2))
  for norm, sizes in errors.items():
    if 0 in sizes:
      x, values = [2, 128], np.stack([sizes[0]] * 2)
      look = {'linestyle': '--'}
    else:
      x, values = list(sizes), np.stack(list(sizes.values()))
      look = {'marker': 'o', 'markersize': 4}
    low, high = values.min(axis=1), values.max(axis=1)
    color, label = COLORS[norm], LABELS[norm]
    panels[0, 0].plot(x, values.mean(axis=1), color=color, label=label, **look)
    panels[0, 0].fill_between(x, low, high, color=color, alpha=0.15)
  for norm, sizes in PUBLISHED.items():
    panels[0, 1].plot(
      list(sizes), [e / 100 for e in sizes.values()], 'o-', color=COLORS[norm]
    )
  panels[0, 0].legend(frameon=False)
  panels[0, 0].set(yscale='log', title=f'measured: 3 x 100 ReLUs, {args.data}')
  panels[0, 1].set(ylim=(0, 0.4), title='published: ResNet-50, ImageNet')
  ticks = {'ticks': study.GROUP_SIZES, 'labels': study.GROUP_SIZES}
  for panel, of in zip(panels[0], ('group', 'GPU')):
    panel.set_xscale('log', base=2)
    panel.set_xticks(**ticks)
    panel.set_xlim(0.9, 142)
    panel.set_xlabel(f'examples of a {of}')
    panel.set_ylabel('test error')
  panels[0, 0].yaxis.set_major_formatter(lambda y, _: f'{y:.0%}')
  panels[0, 1].yaxis.set_major_formatter(lambda y, _: f'{y:.0%}')
  figure.suptitle(
    f'How many examples share statistics: mean and range of '
    f'{_study.seeds(args.seeds)}'
  )
  _study.save(figure, args.output)


if __name__ == '__main__':
  sys.exit(main())
