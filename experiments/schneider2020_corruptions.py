"""Which statistics at test time, if the test images are corrupted?

Claim:    Under covariate shift the statistics of training are the wrong ones.
          Those of the test images at hand restore much of the accuracy, and if
          these are few, a mixture of both is best.
Source:   Nado et al. 2020, prediction-time batch normalization (arXiv
          2006.10963); Schneider et al. 2020 (arXiv 2006.16971: ImageNet-C);
          Wang et al. 2021, TENT (arXiv 2006.10726: CIFAR-10-C).
Scale:    LeNet with ReLU and BN on Fashion-MNIST, 2,000 steps; the first 2,000
          test images. The published networks are ResNets on ImageNet-C and
          CIFAR-10-C.
Room:     statistics
Config:   configs/corruptions.py:seeds=3
Command:  python -m experiments.schneider2020_corruptions --seeds=3
Cost:     about 3 min on two CPU cores.
Result:   experiments/results/schneider2020_corruptions_*.{png,svg,json}

The network is trained on clean images. Noise, blur, contrast and rotation of
five strengths are those of `bnresearch/augment/corruption.py`. *Running* are
the averages of training, *population* those of Algorithm 2; *batch* are those
of 200 test images alone. A mixture counts training as N examples beside the n
at hand.
"""

import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from rich.progress import track

import bnresearch as bnr
from bnresearch import command
from bnresearch.augment import corruption
from bnresearch.reports import claims
from configs import corruptions as study
from experiments import _study
from experiments._table import Table

NOTES = """
"""

KINDS = tuple(corruption.AMOUNTS)
STRENGTHS = (0, *corruption.STRENGTHS)  # 0 are the clean images
EXAMPLES = 2000  # first test images
BATCH = 200  # TENT's
SIZES = (1, 4, 16, 64, 200)  # n, examples that a mixture sees
PRIORS = (0, 4, 16, 64)  # N; 0 is the batch alone
PRIOR, FEW, MIDDLE = 16, 4, 3  # by which mixtures are judged; a strength
NAMES = {
  'ema': 'running',
  'population': 'population',
  'batch': f'batch of {BATCH}',
}
COLORS = {'ema': '#c0504d', 'population': '#e08a1e', 'batch': '#2e75b6'}
SHADES = dict(zip(PRIORS, ('#2e75b6', '#9ecae1', '#41ab5d', '#8a63b8')))


class Found(NamedTuple):
  """Errors of R seeds, as fractions.

  Attributes:
    by_strength: {(statistics, kind): (R, 6)}, at each of `STRENGTHS`.
    by_size: {N: (R, sizes)}, mean over kinds at strength `MIDDLE`.
    sizes: the n of these.
  """

  by_strength: dict[tuple[str, str], np.ndarray]
  by_size: dict[int, np.ndarray]
  sizes: tuple[int, ...]

  def mean(self, statistics: str, strengths: slice, *kinds: str) -> np.ndarray:
    """Returns the mean error (R,) over kinds, by default all."""
    of = [self.by_strength[statistics, kind] for kind in kinds or KINDS]
    return np.mean(of, axis=0)[:, strengths].mean(1)


CLEAN, CORRUPTED = slice(0, 1), slice(1, None)


@command.line()
def main(argv: Sequence[str] | None = None) -> int:
  """Runs or reuses the runs, corrupts, draws, judges; returns the status."""
  parser = _study.parser('schneider2020_corruptions', __doc__, steps=2000)
  parser.set_defaults(data='fashion_mnist')
  args = parser.parse_args(argv)
  arg = f'data={args.data},seeds={args.seeds},steps={args.steps}'
  return _study.conduct(
    args, study.get_config, arg, judge, draw, _rows, measure
  )


def measure(runs: Sequence[bnr.Run]) -> Found:
  """Returns the errors on corrupted test images under all statistics."""
  of_runs = [
    _of_run(run) for run in track(runs, 'on corrupted images', transient=True)
  ]
  by_strength, by_size = (
    {key: np.array([of_run[k][key] for of_run in of_runs]) for key in first}
    for k, first in enumerate(of_runs[0][:2])
  )
  return Found(by_strength, by_size, of_runs[0][2])


def _of_run(run):
  """Returns errors by strength and by size, and the sizes, of one network."""
  sets, labels_N = _corrupted(run)
  state = run.restore()
  apply = bnr.adapt_run(run, state)
  mixed = jax.jit(jax.vmap(lambda x, N: apply(x, N)[0], (0, None)))
  exact = {name: run.with_statistics(state, name) for name in NAMES}
  by_strength = {
    (name, kind): [
      _of_batches(mixed, sets[kind, strength], labels_N, BATCH, 0)
      if name == 'batch'
      else _error(run.apply(of, sets[kind, strength])[0], labels_N)
      for strength in STRENGTHS
    ]
    for name, of in exact.items()
    for kind in KINDS
  }
  sizes = tuple(n for n in SIZES if n <= len(labels_N))
  by_size = {
    prior: [
      np.mean(
        [
          _of_batches(mixed, sets[kind, MIDDLE], labels_N, n, prior)
          for kind in KINDS
        ]
      )
      for n in sizes
    ]
    for prior in PRIORS
  }
  return by_strength, by_size, sizes


def _corrupted(run):
  """Returns {(kind, strength): images}, and their labels."""
  source = run.source('test')
  clean, labels_N = source.images_NHWC[:EXAMPLES], source.labels_N[:EXAMPLES]
  key = jax.random.key(int(run.config.seed))
  sets = {
    (kind, strength): np.asarray(
      corruption.corrupt(key, clean, kind=kind, strength=strength)
    )
    if strength
    else clean
    for kind in KINDS
    for strength in STRENGTHS
  }
  return sets, labels_N


def _of_batches(mixed, images, labels_N, n, prior):
  """Returns the error if n images at a time are normalized together."""
  n = min(n, len(images))
  whole = len(images) // n * n
  batches = images[:whole].reshape(-1, n, *images.shape[1:])
  logits = np.asarray(mixed(batches, float(prior)))
  return _error(logits.reshape(whole, -1), labels_N[:whole])


def _error(logits_NK, labels_N):
  return float((np.argmax(logits_NK, -1) != labels_N).mean())


def judge(found: Found) -> list[claims.Claim]:
  """Returns the claims, each by seed."""
  percent = lambda error_R: _study.plus_minus(error_R, '.1%')
  both = lambda of, *kinds: (
    f'{percent(found.mean("batch", of, *kinds))} of the batch, '
    f'{percent(found.mean("ema", of, *kinds))} running'
  )
  all_of = lambda holds: tuple(bool(h) for h in holds)
  ema, batch, exact = (
    found.mean(name, CORRUPTED) for name in ('ema', 'batch', 'population')
  )
  gain = {
    kind: found.mean('ema', CORRUPTED, kind)
    - found.mean('batch', CORRUPTED, kind)
    for kind in KINDS
  }
  last = slice(-1, None)
  return [
    claims.Claim(
      'corrupted images',
      'statistics of the batch make fewer errors than running ones',
      'ImageNet-C, ResNet-50: mCE 62.2% instead of 76.7% (Schneider); 60.28% '
      '(Nado)',
      f'errors: {both(CORRUPTED)}',
      all_of(batch < ema),
    ),
    claims.Claim(
      'corrupted images',
      'the same at the greatest strength',
      'CIFAR-10-C: 20.4% instead of 43.5% (TENT)',
      f'errors: {both(last)}',
      all_of(found.mean('batch', last) < found.mean('ema', last)),
    ),
    claims.Claim(
      'corrupted images',
      'they help least where moments are not what has shifted: rotation',
      'worse under more natural types of shift (Nado); no number',
      'points won: '
      + ', '.join(
        f'{kind} {_study.plus_minus(100 * won_R, "+.1f")}'
        for kind, won_R in gain.items()
      ),
      all_of(np.argmin([*gain.values()], 0) == KINDS.index('rotation')),
    ),
    claims.Claim(
      'corrupted images',
      "the training images' population does not help, by a point",
      'no number',
      f'errors: {percent(exact)} by Algorithm 2, {percent(ema)} running',
      all_of(np.abs(exact - ema) < 0.01),
    ),
    claims.Claim(
      'clean images',
      'running statistics make no more errors than those of the batch',
      'no number',
      f'errors: {both(CLEAN)}',
      all_of(found.mean('ema', CLEAN) <= found.mean('batch', CLEAN)),
    ),
    *_of_few(found, percent, all_of),
  ]


def _of_few(found, percent, all_of):
  """Returns the claims about few examples."""
  setting = f'few examples, strength {MIDDLE}'
  running = np.mean([found.by_strength['ema', k][:, MIDDLE] for k in KINDS], 0)
  of = lambda N, n: found.by_size[N][:, found.sizes.index(n)]
  single, mixed, alone = of(PRIOR, 1), of(PRIOR, FEW), of(0, FEW)
  return [
    claims.Claim(
      setting,
      f'with {FEW} examples a mixture is better than either alone',
      'ImageNet-C, ResNet-50: partial adaptation, mCE 65.0% instead of 76.7%',
      f'errors: {percent(mixed)} with N = {PRIOR}, {percent(alone)} of the '
      f'batch, {percent(running)} running',
      all_of((mixed < alone) & (mixed < running)),
    ),
    claims.Claim(
      setting,
      'a single example helps',
      '"Even adapting to a single sample improves robustness" (Schneider)',
      f'errors: {percent(single)} with N = {PRIOR}, {percent(running)} running',
      all_of(single < running),
    ),
  ]


def table(result: dict[str, Any]) -> Table:
  """Returns errors by corruption and strength, under all statistics."""
  rows = [
    [
      f'{row["kind"]}, {NAMES[row["statistics"]]}',
      *(f'{np.mean(of):.1%}' for of in zip(*row['error'])),
    ]
    for row in result['by_strength']
  ]
  columns = ['errors', 'clean', *(f'strength {s}' for s in STRENGTHS[1:])]
  return Table(columns, rows, 'Means over the seeds.')


def draw(found: Found, args) -> None:
  """Writes the figure: errors by strength, and by size of the batch."""
  figure, panels = _study.canvas(1, len(KINDS) + 1, (14, 3.6), sharey=True)
  for panel, kind in zip(panels[0], KINDS):
    for name, label in NAMES.items():
      error = found.by_strength[name, kind]
      panel.plot(STRENGTHS, error.mean(0), color=COLORS[name], label=label)
      for of_seed in error:
        panel.plot(STRENGTHS, of_seed, '.', color=COLORS[name], alpha=0.5)
    panel.set(title=kind, xlabel='strength', xticks=STRENGTHS)
  last = panels[0, -1]
  for prior, error in found.by_size.items():
    label = f'N = {prior}'
    last.plot(
      found.sizes, error.mean(0), 'o-', color=SHADES[prior], label=label
    )
  running = np.mean([found.by_strength['ema', k][:, MIDDLE] for k in KINDS])
  last.axhline(running, color=COLORS['ema'], ls='--', label='running')
  last.set(xscale='log', xlabel='n', title=f'mixtures, strength {MIDDLE}')
  panels[0, 0].set(ylabel='error', ylim=(0, 1))
  panels[0, 0].legend(frameon=False)
  last.legend(frameon=False, ncols=2)
  figure.suptitle(
    'Which statistics normalize corrupted test images: LeNet with BN, '
    f'{args.data} ({_study.seeds(args.seeds)})'
  )
  _study.save(figure, args.output)


def _rows(found):
  return {
    'by_strength': [
      {'statistics': name, 'kind': kind, 'error': error.round(4).tolist()}
      for (name, kind), error in found.by_strength.items()
    ],
    'by_size': {
      'n': found.sizes,
      **{f'N={N}': e.round(4).tolist() for N, e in found.by_size.items()},
    },
  }


if __name__ == '__main__':
  sys.exit(main())
