"""All normalizers on one network, in batches of 2 to 128 examples.

Claim:    BN loses accuracy in small batches. Normalizers of single examples
          lose none, and are more accurate there.
Source:   Wu & He 2018 (arXiv 1803.08494) and Luo et al. 2018 (arXiv 1806.10779;
          the numbers of ResNet-50 are those of Switchable-Normalization's
          README at 5472286); Ioffe 2017 (arXiv 1702.03275); Liu et al. 2020
          (arXiv 2004.02967); Singh & Krishnan 2019 (arXiv 1911.09737).
Scale:    LeNet with ReLUs on digits of 8 x 8 pixels, 5 epochs. The published
          networks are ResNet-50 and Inception-v3 on ImageNet.
Room:     norms
Config:   configs/normalizers.py:seeds=3
Command:  python -m experiments.normalizers --seeds=3
Cost:     202 s of training on two busy CPU cores, compiling included.
Result:   experiments/results/normalizers_*.{png,svg,json}

Every run sees 7,168 examples, 5 epochs, so that smaller batches make more
updates: 3,584 with batches of 2, 56 with batches of 128. The learning rate is
proportional to the batch size (Goyal et al. 2017, arXiv 1706.02677), and
running statistics average over as many examples. Compare columns with that in
mind; within one, only the normalizer differs. `experiments/batch_size` has
batches of one size, in groups. Only the two convolutions are normalized, over
maps of 8 x 8 and 4 x 4 positions: a channel of a batch of 2 has 128 and 32
values.
"""

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

import bnresearch as bnr
from bnresearch import command
from bnresearch.reports import claims
from configs import normalizers as study
from experiments import _study
from experiments._table import Table

NOTES = """
With many positions a batch of 2 is enough: BN loses 0.3 points in it, and no
normalizer of single examples is ahead. Most of those do worse in larger
batches, which make fewer updates. In batches of 128 the learning rate is 0.2
with a momentum of 0.9, and the column says who stands that: iterative whitening
has 97%, BN and switchable normalization 94%, layer normalization 78%, and the
network without a normalizer 33%. One image of the 355 is 0.3 points: take
differences below a point for none.
"""

# Top-1 accuracy of ResNet-50 in percent by examples per GPU, 8 GPUs.
PUBLISHED = {
  'batch': {2: 65.3, 32: 76.4},
  'group': {2: 75.9, 32: 75.9},
}
# What is more accurate than BN in batches of 2, with the published numbers.
BETTER = {
  'group': '75.9% against 65.3%, R50',
  'switchable': '75.6% against 65.3%, R50',
  'batch_renorm': 'yes, in small minibatches, Inception-v3',
  'evonorm_s0': '7.8 points, R50',
}
LABELS = {
  'none': 'none',
  'affine': 'scale and bias only',
  'batch': 'batch',
  'batch_renorm': 'batch renormalization',
  'noisy_batch': 'noisy batch',
  'lp': 'L1 batch',
  'iterative_whitening': 'iterative whitening',
  'evonorm_b0': 'EvoNorm-B0',
  'switchable': 'switchable',
  'evonorm_s0': 'EvoNorm-S0',
  'filter_response': 'filter response',
  'group': 'group',
  'instance': 'instance',
  'layer': 'layer',
  'rms': 'RMS',
}
# The rows of the map that statistics of batches stand in.
OF_BATCHES = LABELS.keys() & {
  'batch',
  'batch_renorm',
  'noisy_batch',
  'lp',
  'iterative_whitening',
  'evonorm_b0',
  'switchable',
}
EXAMPLES = 7168
SMALL, LARGE = 2, 32
LOSES_NONE = 0.005  # less than this is none

Accuracies = dict[str, dict[int, np.ndarray]]  # by norm and size, each seed's


@command.line()
def main(argv: Sequence[str] | None = None) -> int:
  """Runs or reuses the runs, draws, judges; returns the exit status."""
  parser = _study.parser('normalizers', __doc__, launcher='vectorized')
  parser.add_argument('--data', default='digits', help='digits, mnist, ...')
  parser.add_argument(
    '--examples',
    type=_study.at_least_one,
    default=EXAMPLES,
    help=f'that each run sees; default {EXAMPLES:,}',
  )
  args = parser.parse_args(argv)
  arg = f'data={args.data},seeds={args.seeds},examples={args.examples}'
  if args.dry_run:
    arg += f',sizes={SMALL}+{LARGE}'
  return _study.conduct(
    args, study.get_config, arg, _print_and_judge, draw, measure=accuracies_of
  )


def accuracies_of(runs: Sequence[bnr.Run]) -> Accuracies:
  """Returns last test accuracies by normalizer and batch size."""
  return _accuracies((run.path.name, _study.final(run)) for run in runs)


def _accuracies(pairs) -> Accuracies:
  """Returns the same of (name of a run, accuracy).

  The name has the size, as the config of a dry run has another.
  """
  found: Accuracies = {}
  for name, accuracy in pairs:
    norm, _, size = name.partition(',')[0].rpartition('-')
    sizes = found.setdefault(norm, {})
    sizes[int(size)] = np.append(sizes.get(int(size), []), accuracy)
  return found


def _print_and_judge(found):
  _table(found).show()
  return judge(found)


def judge(found: Accuracies) -> list[claims.Claim]:
  """Returns the published claims about batches of 2 and of 32."""
  small = {norm: sizes[SMALL] for norm, sizes in found.items()}
  large = {norm: sizes[LARGE] for norm, sizes in found.items()}
  batch, group = PUBLISHED['batch'], PUBLISHED['group']
  lost_R = large['group'] - small['group']
  of_two, of_many = f'batches of {SMALL}', f'batches of {LARGE}'
  return [
    _more(
      of_two,
      f'BN is less accurate than in batches of {LARGE}',
      f'{batch[SMALL]}% against {batch[LARGE]}%, R50',
      {f'of {LARGE}': large['batch'], f'of {SMALL}': small['batch']},
    ),
    claims.Claim(
      of_two,
      'group normalization is as accurate as in batches of 32',
      f'{group[SMALL]}% against {group[LARGE]}%, R50',
      f'{_study.plus_minus(100 * lost_R, "+.2f")} points lost; we call less '
      f'than {100 * LOSES_NONE:g} none',
      tuple((lost_R < LOSES_NONE).tolist()),
    ),
    *(
      _more(
        of_two,
        f'{LABELS[norm]} is more accurate than BN',
        published,
        {LABELS[norm]: small[norm], 'BN': small['batch']},
      )
      for norm, published in BETTER.items()
    ),
    _more(
      of_two,
      'filter response normalization is more accurate than group',
      'more than 1 point, in small batches',
      {
        'filter response': small['filter_response'],
        'group': small['group'],
      },
    ),
    _more(
      of_many,
      'BN is more accurate than group normalization',
      f'{batch[LARGE]}% against {group[LARGE]}%, R50',
      {'BN': large['batch'], 'group': large['group']},
    ),
  ]


def _more(setting, words, published, accuracies):
  """Judges by seed whether the first of two accuracies is the higher one."""
  first, second = accuracies.values()
  return claims.Claim(
    setting,
    words,
    published,
    ', '.join(
      f'{_study.plus_minus(a, ".2%")} {of}' for of, a in accuracies.items()
    ),
    tuple(bool(a > b) for a, b in zip(first, second)),
  )


def table(result: dict[str, Any]) -> Table:
  """Returns accuracies: a row for each normalizer, a column for each size."""
  return _table(
    _accuracies((run['run'], run['test_accuracy']) for run in result['runs'])
  )


def _table(found):
  sizes = [*next(iter(found.values()))]
  return Table(
    ['normalizer', *(f'batches of {size}' for size in sizes)],
    [
      [
        LABELS[norm],
        *(_study.plus_minus(100 * a_R, '.2f') for a_R in of_norm.values()),
      ]
      for norm, of_norm in found.items()
    ],
    'Test accuracy in percent, mean ± standard deviation.',
  )


def draw(found: Accuracies, args) -> None:
  """Writes the map of accuracies by normalizer and batch size."""
  figure, ((panel,),) = _study.canvas(1, 1, (7.5, 6.5))
  norms, sizes = [*found], [*next(iter(found.values()))]
  error = [
    [1 - a_R.mean() for a_R in of_norm.values()] for of_norm in found.values()
  ]
  shown = -np.log10(np.maximum(error, 1e-4))
  panel.imshow(shown, cmap='viridis', aspect='auto')
  middle = (shown.min() + shown.max()) / 2
  for y, norm in enumerate(norms):
    for x, size in enumerate(sizes):
      panel.text(
        x,
        y,
        _study.plus_minus(100 * found[norm][size], '.1f'),
        ha='center',
        va='center',
        color='white' if shown[y, x] < middle else 'black',
      )
  panel.set_xticks(range(len(sizes)), [str(size) for size in sizes])
  panel.set_yticks(range(len(norms)), [LABELS[norm] for norm in norms])
  for label, norm in zip(panel.get_yticklabels(), norms):
    label.set_color('#2e75b6' if norm in OF_BATCHES else 'black')
  panel.grid(False)
  panel.set_xlabel('examples of a batch; every run sees as many in all')
  panel.set_title('blue: with statistics of the batch', fontsize=9)
  figure.suptitle(
    f'Test accuracy of LeNet in percent, {args.data} '
    f'({_study.seeds(args.seeds)})'
  )
  _study.save(figure, args.output)


if __name__ == '__main__':
  sys.exit(main())
