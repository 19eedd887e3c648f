"""Five kinds of flowers: GoogLeNet and Inception V2, with BN and without.

Claim:    With BN, an Inception network trains faster, and reaches a higher
          accuracy.
Source:   Ioffe & Szegedy 2015, section 4.2 (arXiv 1502.03167).
Scale:    2,934 photographs of 96 pixels to train on and 736 to validate, half
          the channels, 1,400 steps of Adam, batches of 32. The paper
          has ImageNet.
Room:     data
Config:   configs/flowers.py:seeds=2
Command:  python -m experiments.flowers --folder=FOLDER --seeds=2
Cost:     70 minutes on two cores of an AMD EPYC that also ran tests, 11 to 20
          minutes a run on one.
Not run:  `--scale=paper`, the recipe of the source documents: 224 pixels and
          3,120 steps.
Result:   experiments/results/flowers_*.{png,svg,json}

The photographs are TensorFlow's flower_photos: 3,670, CC-BY 2.0, credits by
their Flickr ids. The source documents train BN-GoogLeNet on them. FOLDER, by
default `$BNRESEARCH_DATA_DIR/flowers160`, has a folder of photographs for each
class, and a tenth of them is held out, or it has `train/` and `val/` with such
folders. Any other photographs serve as well.

Every run keeps the checkpoint that is best on validation, and class_names.json
for `--mode=predict`. The worst mistakes are drawn into OUTPUT_mistakes.png,
which shows the photographs themselves.
"""

import functools
import os
import pathlib
import sys
from collections.abc import Sequence

import numpy as np

import bnresearch as bnr
from bnresearch import command, paths
from bnresearch.inference.predict import probabilities
from bnresearch.reports import claims, targets
from configs import flowers as study
from experiments import _study

NOTES = """
The best accuracy of the plain networks is reached in half the steps with BN.
Training waited for data under 0.1% of the time.
"""

LABELS = {'batch': 'with BN', 'none': 'without'}
COLORS = {'batch': '#2e75b6', 'none': '#777777'}
_MISTAKES = 8
# Of dry runs and trials; and of trials, which train.
_TINY = {
  'data__image_size': '32',
  'model__auxiliary_heads': 'False',
  'model__blocks': '(1, 1, 1)',
  'model__width': '0.1',
}
_FEW = {
  'train__steps': '100',
  'eval__every': '50',
  'checkpoint__every': '50',
  'optim__decay_steps': '50',
}


@command.line()
def main(argv: Sequence[str] | None = None) -> int:
  """Runs or reuses the runs, draws, judges; returns the exit status."""
  parser = _study.parser(
    'flowers', __doc__, ci={'models': 'googlenet'}, paper={}
  )
  originals = os.environ.get('BNRESEARCH_DATA_DIR', '')
  parser.add_argument(
    '--folder',
    type=paths.local,
    default=pathlib.Path(originals, 'flowers160') if originals else None,
    help='photographs; default $BNRESEARCH_DATA_DIR/flowers160',
  )
  parser.add_argument('--models', default='all', help=', '.join(study.MODELS))
  parser.add_argument('--workers', type=int, default=0, help='that decode')
  parser.set_defaults(data='flowers')
  args = parser.parse_args(argv)
  if args.folder is None:
    print(
      '--folder=FOLDER is missing, and BNRESEARCH_DATA_DIR is not set.',
      file=sys.stderr,
    )
    return 2
  models = args.models.replace(',', '+')
  scale = 'full' if args.scale == 'paper' else 'small'
  return _study.conduct(
    args,
    study.get_config,
    f'scale={scale},models={models},seeds={args.seeds}',
    judge,
    draw,
    lambda runs: {
      'best': [_study.best(run) for run in runs],
      'confusion': confusion(_shown(runs)).tolist(),
      'classes': _shown(runs).spec.class_names,
      'examples': _shown(runs).spec.examples,
    },
    data__folder=str(args.folder),
    data__workers=str(args.workers),
    **(_TINY if args.dry_run or args.scale == 'ci' else {}),
    **(_FEW if args.scale == 'ci' else {}),
  )


def judge(runs: Sequence[bnr.Run]) -> list[claims.Claim]:
  """Returns, for each network, whether BN is faster and better, by seed."""
  grouped = _study.grouped(runs, 'model.name', 'norm.name')
  result = []
  for model in dict.fromkeys(model for model, _ in grouped):
    normed, plain = grouped[model, 'batch'], grouped[model, 'none']
    highest = [[_study.best(run) for run in group] for group in (normed, plain)]
    needed = [
      [
        targets.steps_to(run.metrics['test/accuracy'], _study.best(other))
        for run, other in zip(group, plain)
      ]
      for group in (normed, plain)
    ]
    result += [
      claims.Claim(
        model,
        'higher accuracy',
        'section 4.2: 72.7% against 72.2% on ImageNet, BN alone',
        f'best on validation {_study.plus_minus(highest[0], ".1%")} with BN, '
        f'{_study.plus_minus(highest[1], ".1%")} without',
        tuple(a > b for a, b in zip(*highest)),
      ),
      claims.Claim(
        model,
        'trains faster',
        'section 4.2: 13.3M steps instead of 31M on ImageNet, BN alone',
        f'steps to the best of the plain network: '
        f'{_study.plus_minus(needed[0], ",.0f")} with BN, '
        f'{_study.plus_minus(needed[1], ",.0f")} without',
        tuple(a < b for a, b in zip(*needed)),
      ),
    ]
  return result


def _shown(runs):
  """Returns the run whose confusion is drawn: the best one."""
  return max(runs, key=_study.best)


@functools.cache
def _predicted(run):
  """Returns probabilities (N, K) and labels (N,) of the validation images."""
  pairs = list(probabilities(run, run.restore('best'), run.source('test')))
  return np.stack([p for p, _ in pairs]), np.array(
    [label for _, label in pairs]
  )


def confusion(run: bnr.Run) -> np.ndarray:
  """Returns counts of validation images, by class and predicted class, (K, K).

  The best checkpoint predicts.
  """
  probabilities_NK, labels_N = _predicted(run)
  K = len(run.spec.class_names)
  counts_KK = np.zeros((K, K), int)
  np.add.at(counts_KK, (labels_N, probabilities_NK.argmax(-1)), 1)
  return counts_KK


def draw(runs: Sequence[bnr.Run], args) -> None:
  """Writes curves and confusion and, in another file, the worst mistakes."""
  grouped = _study.grouped(runs, 'model.name', 'norm.name')
  models = list(dict.fromkeys(model for model, _ in grouped))
  figure, panels = _study.canvas(
    1, len(models) + 1, (4.2 * len(models) + 4.5, 4)
  )
  *curves, matrix = panels[0]
  for panel, model in zip(curves, models):
    for norm, color in COLORS.items():
      for k, run in enumerate(grouped[model, norm]):
        steps, values = run.metrics['test/accuracy']
        label = LABELS[norm] if k == 0 else None
        panel.plot(steps, values, color=color, label=label, linewidth=1.2)
    panel.set(title=model, xlabel='step', ylabel='validation accuracy')
    panel.yaxis.set_major_formatter(lambda y, _: f'{y:.0%}')
    panel.legend(frameon=False, loc='lower right')
  _draw_confusion(matrix, _shown(runs))
  figure.suptitle(
    f'{len(_shown(runs).spec.class_names)} kinds, scale {args.scale}, '
    f'{_study.seeds(args.seeds)}'
  )
  _study.save(figure, args.output)
  _draw_mistakes(_shown(runs), args.output)


def _draw_confusion(panel, run):
  counts_KK, names = confusion(run), run.spec.class_names
  panel.imshow(counts_KK / counts_KK.sum(1, keepdims=True), cmap='Blues')
  for row, column in np.ndindex(counts_KK.shape):
    dark = counts_KK[row, column] > counts_KK[row].sum() / 2
    panel.text(
      column,
      row,
      counts_KK[row, column],
      ha='center',
      va='center',
      color='white' if dark else 'black',
    )
  text = {'parse_math': False}  # a class's name is no formula
  panel.set_xticks(range(len(names)), names, rotation=40, ha='right', **text)
  panel.set_yticks(range(len(names)), names, **text)
  norm = LABELS[run.config.norm.name]
  panel.set(title=f'{run.config.model.name}, {norm}', xlabel='taken for')
  panel.grid(visible=False)


def _draw_mistakes(run, output):
  """Draws the images whose own class gets the lowest probability."""
  probabilities_NK, labels_N = _predicted(run)
  wrong_N = np.flatnonzero(probabilities_NK.argmax(-1) != labels_N)
  own_N = probabilities_NK[wrong_N, labels_N[wrong_N]]
  worst_N = wrong_N[np.argsort(own_N, kind='stable')][:_MISTAKES]
  source, view = run.source('test'), run.parts.images.crop()
  figure, panels = _study.canvas(2, _MISTAKES // 2, (10, 5.5))
  for panel in panels.flat:
    panel.axis('off')
  for panel, n in zip(panels.flat, worst_N.tolist()):
    image_HWC, label = source[n]
    if image_HWC.shape != run.spec.image_shape:
      image_HWC = view(image_HWC)
    taken = probabilities_NK[n].argmax()
    panel.imshow(image_HWC.squeeze(), cmap='gray')
    panel.set_title(
      f'{run.spec.class_names[label]}, taken for\n'
      f'{run.spec.class_names[taken]} ({probabilities_NK[n, taken]:.0%})',
      fontsize=8,
      parse_math=False,
    )
  file = output.with_name(f'{output.stem}_mistakes.png')
  figure.savefig(file, dpi=100)
  print(f'Wrote {file}')


if __name__ == '__main__':
  sys.exit(main())
