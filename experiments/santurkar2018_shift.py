"""Does BN reduce internal covariate shift, measured by gradients?

Claim:    Networks with BN have similar, or even larger, internal covariate
          shift by Definition 2.1: how far a layer's gradient moves when the
          layers below are updated.
Source:   Santurkar et al. 2018, sections 2.2 and 2.3, Figure 2 (arXiv
          1805.11604); gradients that vanish: Ioffe & Szegedy 2015, section 2.
Scale:    the sigmoid networks of Figure 1 of the BN paper on digits of 8 x 8
          pixels, SGD of rate 0.1; the paper's are VGG on CIFAR-10 and a deep
          linear network of 25 layers.
Room:     probes
Config:   configs/figure1.py:init=both,probes=gradients,seeds=3
Command:  python -m experiments.santurkar2018_shift --seeds=3
Cost:     about 4 min on two CPU cores.
Result:   experiments/results/santurkar2018_shift_*.{png,svg,json}

The batch is fixed, 60 training examples; its own statistics normalize, at both
points. The update is the optimizer's own next one. Early is steps 100 to 1,000,
late the last tenth of the run; both are means over the records there.
"""

import sys
from collections.abc import Sequence

import numpy as np

import bnresearch as bnr
from bnresearch import command
from bnresearch.reports import claims
from configs import figure1 as study
from experiments import _study

NOTES = """
Both papers are right about their own quantity. With BN, gradients reach the
first layer from the first step on; the layers that therefore learn shift each
other's gradients, most of all while they learn. Without BN nothing shifts at
first, because nothing below the last layer moves. From the tight start that
lasts 20,000 steps; once the network learns, its shift is the larger one.
"""

NORMS = {'none': 'without BN', 'batch': 'with BN'}
COLORS = {'none': '#c0504d', 'batch': '#2e75b6'}
SETTINGS = {0.01: 'tight start, std 0.01', 0.1: 'easy start, std 0.1'}
LOWEST = 'probe/gradient_norm/hidden_1/kernel'
GROWTH = 'probe/gradient_norm/growth'
RELATIVE, COSINE = (
  'probe/gradient_shift/relative',
  'probe/gradient_shift/cosine',
)
AT = (1_000, 50_000)  # steps of the table in the notes
PANELS = {
  LOWEST: "norm of the first layer's gradient",
  GROWTH: "first layer's gradient / last layer's",
  RELATIVE: "shift: ||G' - G|| / ||G||",
  COSINE: "cosine of G and G'",
}


@command.line()
def main(argv: Sequence[str] | None = None) -> int:
  """Runs or reuses the runs, draws, judges; returns the exit status."""
  parser = _study.parser(
    'santurkar2018_shift', __doc__, steps=50_000, folder='covariate_shift'
  )
  args = parser.parse_args(argv)
  arg = (
    f'data={args.data},init=both,probes=gradients,seeds={args.seeds},'
    f'steps={args.steps}'
  )
  return _study.conduct(args, study.get_config, arg, judge, draw, at_steps)


def judge(runs: Sequence[bnr.Run]) -> list[claims.Claim]:
  """Returns the claims for each initialization."""
  groups = _study.grouped(runs, 'model.init_std', 'norm.name')
  return [
    claim
    for std, setting in SETTINGS.items()
    for claim in judge_one(setting, groups[std, 'none'], groups[std, 'batch'])
  ]


def judge_one(
  setting: str, plain: Sequence[bnr.Run], normed: Sequence[bnr.Run]
) -> list[claims.Claim]:
  """Judges the networks without and with BN from one initialization."""
  growth = [[early(run, GROWTH) for run in runs] for runs in (plain, normed)]
  result = [
    claims.Claim(
      setting,
      'with BN gradients do not vanish on their way down',
      'it prevents "the saturation problem and the resulting vanishing '
      'gradients", section 2 of the BN paper',
      "the first layer's gradient over the last layer's, early: "
      f'{_study.plus_minus(growth[1], ".2g")} with BN, '
      f'{_study.plus_minus(growth[0], ".2g")} without',
      tuple(bool(n > p and n > 0.1) for p, n in zip(*growth)),
    )
  ]
  for when, of in (('early', early), ('late', late)):
    shift = [[of(run, RELATIVE) for run in runs] for runs in (plain, normed)]
    angle = [[of(run, COSINE) for run in runs] for runs in (plain, normed)]
    result.append(
      claims.Claim(
        setting,
        f'{when}, the shift is no smaller with BN',
        '"similar, or even worse", section 2.3',
        f"||G' - G|| / ||G|| is {_study.plus_minus(shift[1], '.2g')} with BN, "
        f'{_study.plus_minus(shift[0], ".2g")} without; the cosine '
        f'{_study.plus_minus(angle[1], ".3f")} and '
        f'{_study.plus_minus(angle[0], ".3f")}',
        tuple(bool(n >= p) for p, n in zip(*shift)),
      )
    )
  return result


def early(run: bnr.Run, metric: str) -> float:
  """Returns the mean of a metric over steps 100 to 1,000."""
  return _between(run, metric, 100, 1_000)


def late(run: bnr.Run, metric: str) -> float:
  """Returns the mean of a metric over the last tenth of the run."""
  steps = run.config.train.steps
  return _between(run, metric, 0.9 * steps, steps)


def _between(run, metric, first, last):
  steps, values = run.metrics[metric]
  chosen = (steps >= min(first, steps[-1])) & (steps <= last)
  return float(values[chosen].mean())


def at_steps(runs: Sequence[bnr.Run]) -> dict[str, list]:
  """Returns every number of the figure at the steps `AT`, run by run."""
  rows = []
  for run in runs:
    for step in AT:
      row = {'run': run.path.name, 'step': step}
      for metric in PANELS:
        steps, values = run.metrics[metric]
        if step in steps:
          at = np.flatnonzero(steps == step)[0]
          row[metric.removeprefix('probe/')] = float(values[at])
      rows.append(row)
  return {'at_steps': rows}


def draw(runs: Sequence[bnr.Run], args) -> None:
  """Writes the figure: a row of four panels per initialization."""
  groups = _study.grouped(runs, 'model.init_std', 'norm.name')
  figure, panels = _study.canvas(len(SETTINGS), 4, (13, 6), sharex=True)
  for row, (std, setting) in zip(panels, SETTINGS.items()):
    for panel, (metric, title) in zip(row, PANELS.items()):
      for norm, name in NORMS.items():
        for k, run in enumerate(groups[std, norm]):
          steps, values = run.metrics[metric]
          panel.plot(
            np.maximum(steps, 0.5),  # step 0, on a logarithmic scale
            values,
            color=COLORS[norm],
            linewidth=1,
            label=name if k == 0 else None,
          )
      panel.set(xscale='log', title=title)
      if metric != COSINE:
        panel.set_yscale('log')
    row[0].set_ylabel(setting)
  for panel in panels[-1]:
    panel.set_xlabel('training steps (left end: before the first)')
  panels[0, 2].legend(loc='center left', frameon=False)
  figure.suptitle(
    'Santurkar et al. 2018, Definition 2.1, on the networks of Figure 1 and '
    f'{args.data} ({_study.seeds(args.seeds)})'
  )
  _study.save(figure, args.output)


if __name__ == '__main__':
  sys.exit(main())
