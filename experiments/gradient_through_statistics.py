"""Section 2 of the BN paper: the gradient must know that the statistics move.

Claim:    If the gradient treats the batch's statistics as constants, the bias
          below the normalization grows without bound, the loss does not depend
          on it, and the model blows up.
Source:   Ioffe & Szegedy 2015, section 2 (arXiv 1502.03167).
Scale:    the network of Figure 1 on digits of 8 x 8 pixels. The paper mentions
          "initial experiments", and names neither network nor learning rate.
Room:     norms
Config:   configs/gradient_through_statistics.py:affine=both,seeds=3
Command:  python -m experiments.gradient_through_statistics --seeds=3
Cost:     82 s on two CPU cores.
Result:   experiments/results/gradient_through_statistics_*.{png,svg,json}

Each normalization has a bias b below it. Section 2 speaks of normalization
alone. With gamma and beta after it, beta learns what b cannot: that is measured
too. The learning rates 0.1 and 1 are ours.
"""

import re
import sys
from collections.abc import Sequence

import numpy as np

import bnresearch as bnr
from bnresearch import command
from bnresearch.reports import claims
from configs import gradient_through_statistics as study
from experiments import _study

NOTES = """
The bias grows, as step^0.19 to step^0.5, and the loss does not depend on it.

The model blows up in one setting of four: at learning rate 1, without gamma and
beta.
"""

NORMS = 'probe/parameter_norm'
AFFINE = {False: 'no gamma, beta', True: 'with gamma, beta'}
COLORS = {False: '#2e75b6', True: '#c0504d'}  # by whether gradients are stopped
STYLES = {0.1: '-', 1.0: '--'}
SHIFT = 10.0  # to each bias, in the units of the pre-activation
NEGLIGIBLE = 1e-4  # of what it is compared with: float32 has seven digits
GROWS = 1.05  # the least growth in the last half of a run that we call growth


@command.line()
def main(argv: Sequence[str] | None = None) -> int:
  """Runs or reuses the runs, draws, judges; returns the exit status."""
  parser = _study.parser('gradient_through_statistics', __doc__, steps=20_000)
  args = parser.parse_args(argv)
  arg = f'data={args.data},affine=both,seeds={args.seeds},steps={args.steps}'
  return _study.conduct(args, study.get_config, arg, judge, draw)


def judge(runs: Sequence[bnr.Run]) -> list[claims.Claim]:
  """Returns section 2's claims for each learning rate and normalization."""
  groups = _study.grouped(
    runs, 'norm.use_bias', 'optim.learning_rate', 'norm.stop_gradient'
  )
  settings = dict.fromkeys(key[:2] for key in groups)
  return [
    claim
    for affine, rate in settings
    for claim in judge_one(
      f'{AFFINE[affine]}, learning rate {rate:g}',
      groups[affine, rate, False],
      groups[affine, rate, True],
    )
  ]


def judge_one(
  setting: str, through: Sequence[bnr.Run], stopped: Sequence[bnr.Run]
) -> list[claims.Claim]:
  """Judges runs with the gradient through the statistics, and without it."""
  still = np.array([bias_norm(run)[1][-1] for run in through])
  moved = np.array([bias_norm(run)[1][-1] for run in stopped])
  growth = np.array([late_growth(run) for run in stopped])
  return [
    claims.Claim(
      setting,
      'with the gradient through the statistics, b stands still',
      'its effect is cancelled by the mean subtraction, section 3.2',
      f'|b| is at most {still.max():.1e} at the end; without that gradient, at '
      f'least {moved.min():.3g}',
      tuple(bool(s <= NEGLIGIBLE * m) for s, m in zip(still, moved)),
    ),
    claims.Claim(
      setting,
      'without it, b grows indefinitely',
      'yes, section 2',
      f'|b| is {_study.plus_minus(moved, ".3g")} at the end, '
      f'{_study.plus_minus(growth, ".2f")} times that at half of the run: it '
      f'grows as step^p, p = {_study.plus_minus(np.log2(growth), ".2f")}',
      tuple(bool(g >= GROWS) for g in growth),
    ),
    *_loss_unmoved(setting, [*through, *stopped]),
    *_harm(setting, through, stopped),
  ]


def bias_norm(run: bnr.Run) -> tuple[np.ndarray, np.ndarray]:
  """Returns steps (T,) and |b| (T,), over the biases of all hidden layers."""
  metrics = run.metrics
  below = [
    metrics[name]
    for name in metrics
    if re.fullmatch(rf'{NORMS}/hidden_\d+/bias', name)
  ]
  squares = [series.values.astype(float) ** 2 for series in below]
  return below[0].steps, np.sqrt(np.sum(squares, axis=0))


def late_growth(run: bnr.Run) -> float:
  """Returns |b| at the end over |b| halfway through the run."""
  steps, norm = bias_norm(run)
  half = norm[np.searchsorted(steps, steps[-1] / 2)]
  return float(norm[-1] / max(half, np.finfo(np.float32).tiny))


def _loss_unmoved(setting, runs):
  """Shifts all biases of each last checkpoint, and evaluates again.

  Returns no claim if all runs have diverged before their first checkpoint.
  """
  changes = []
  for run in runs:
    if run.checkpoints:
      state = run.restore('latest')
      shifted = state.replace(params=_shifted(state.params))
      before, after = (
        run.evaluate(s, statistics='batch')['loss'] for s in (state, shifted)
      )
      changes.append(abs(after - before) / before)
  if not changes:
    return []
  return [
    claims.Claim(
      setting,
      'the loss does not depend on b',
      'it "remains fixed", section 2',
      f'adding {SHIFT:g} to every b of {len(changes)} trained networks changes '
      'the test loss under batch statistics by at most '
      f'{max(changes):.1e} of it',
      tuple(bool(change <= NEGLIGIBLE) for change in changes),
    )
  ]


def _shifted(params):
  return {
    layer: values | {'bias': values['bias'] + SHIFT}
    if layer.startswith('hidden_')
    else values
    for layer, values in params.items()
  }


def _harm(setting, through, stopped):
  """Returns whether the model is worse, and whether it blows up."""
  accuracy, loss = (
    [np.array([_study.final(run, metric) for run in g]) for g in both]
    for both, metric in (
      ((through, stopped), 'test/accuracy'),
      ((through, stopped), 'train/loss'),
    )
  )
  classes = len(stopped[0].spec.class_names)
  diverged = np.array([_study.diverged(run) for run in stopped])
  return [
    claims.Claim(
      setting,
      'without it, the network learns less',
      'not in the paper',
      f'test accuracy {_study.plus_minus(accuracy[1], ".2%")} without'
      f'{_by_batch_statistics(stopped)}, '
      f'{_study.plus_minus(accuracy[0], ".2%")} with; training loss '
      f'{_study.plus_minus(loss[1], ".3g")} without, '
      f'{_study.plus_minus(loss[0], ".3g")} with',
      tuple(bool(a[1] < a[0]) for a in zip(*accuracy)),
    ),
    claims.Claim(
      setting,
      'without it, the model blows up',
      '"observed empirically in initial experiments", section 2',
      f'diverged {diverged.sum()} of {len(diverged)} times; last training loss '
      f'{_study.plus_minus(loss[1], ".3g")} where guessing has '
      f'{np.log(classes):.3g}',
      tuple(bool(b) for b in diverged | ~(loss[1] < np.log(classes))),
    ),
  ]


def _by_batch_statistics(runs):
  """Says how accurate the runs are by statistics that do not lag behind."""
  accuracy = [
    run.evaluate(run.restore('latest'), statistics='batch')['accuracy']
    for run in runs
    if run.checkpoints
  ]
  return (
    f' ({_study.plus_minus(accuracy, ".2%")} under batch statistics)'
    if accuracy
    else ''
  )


def draw(runs: Sequence[bnr.Run], args) -> None:
  """Writes the figure: |b| and test accuracy against steps."""
  groups = _study.grouped(
    runs, 'norm.use_bias', 'optim.learning_rate', 'norm.stop_gradient'
  )
  figure, panels = _study.canvas(len(AFFINE), 2, (10, 6), sharex=True)
  for (affine, rate, stop), group in groups.items():
    row = panels[list(AFFINE).index(affine)]
    how = 'stopped' if stop else 'through'
    look = {'color': COLORS[stop], 'linestyle': STYLES[rate]}
    for k, run in enumerate(group):
      label = f'{how}, learning rate {rate:g}' if k == 0 else None
      steps, norm = bias_norm(run)
      row[0].plot(steps[1:], norm[1:], **look, label=label)
      steps, accuracy = run.metrics['test/accuracy']
      row[1].plot(steps[1:], accuracy[1:], **look)
  for row, name in zip(panels, AFFINE.values()):
    row[0].set(xscale='log', yscale='log', ylabel=f'{name}\n\n|b|')
    row[1].set(ylim=(0, 1), ylabel='test accuracy')
  for panel in panels[-1]:
    panel.set_xlabel('training steps')
  panels[0, 1].legend(
    *panels[0, 0].get_legend_handles_labels(),
    title='gradient and statistics',
    loc='center',
    bbox_to_anchor=(0.5, 0.6),
  )
  figure.suptitle(
    'Ioffe & Szegedy 2015, section 2: the bias below the normalization, on '
    f'{args.data} ({_study.seeds(args.seeds)})'
  )
  _study.save(figure, args.output)


if __name__ == '__main__':
  sys.exit(main())
