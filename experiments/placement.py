"""BN before the activation or after it, for three activations.

Claim:    Networks learn better with BN after the activation than with BN before
          it, where the paper puts it. Public numbers agree for one network, and
          disagree for another.
Source:   Ioffe & Szegedy 2015, section 3.2 (arXiv 1502.03167);
          caffenet-benchmark (ducha-aiki, batchnorm.md at e47c4ff).
Scale:    small networks on digits of 8 x 8 pixels, LeNet and VGG at a quarter
          of their width. The published networks are CaffeNet and GoogLeNet on
          ImageNet at 128 pixels.
Room:     models
Config:   configs/placement.py:seeds=3
Command:  python -m experiments.placement --seeds=3
Cost:     26 s on two CPU cores; 5 minutes with `--models=lenet,vgg
          --steps=1000`.
Result:   experiments/results/placement_*.{png,svg,json}

All points of a model share optimizer, learning rate and initial weights.
"""

import sys
from collections.abc import Sequence

import numpy as np

import bnresearch as bnr
from bnresearch import command
from bnresearch.reports import claims
from configs import placement as study
from experiments import _study

COMMANDS = {
  'placement_digits_lenet_vgg': 'python -m experiments.placement '
  '--models=lenet,vgg --steps=1000 --seeds=3'
}

NOTES = """
For ReLU and tanh there is no difference beyond the seeds. For sigmoids there is
one in all seeds of LeNet and VGG, and none in the MLP.
"""

# Accuracy on ImageNet at 128 pixels, {network: {place: with ReLU}}; CaffeNet
# without and with gamma and beta; GoogLeNet from LSUV and orthonormal weights,
# and before also as its variant BN_lim0606.
PUBLISHED = {
  'CaffeNet': {
    'nowhere': (0.471,),
    'before': (0.474, 0.478),
    'after': (0.499, 0.493),
  },
  'GoogLeNet': {
    'nowhere': (0.619,),
    'before': (0.603, 0.607, 0.645),
    'after': (0.596, 0.584),
  },
}
# CaffeNet with BN after each activation.
PUBLISHED_AFTER = {'relu': 0.499, 'sigmoid': 0.475, 'tanh': 0.448}
COLORS = {'nowhere': '#777777', 'before': '#2e75b6', 'after': '#e08a1e'}

Accuracies = dict[tuple[str, str], dict[str, np.ndarray]]


@command.line()
def main(argv: Sequence[str] | None = None) -> int:
  """Runs or reuses the runs, draws, judges; returns the exit status."""
  parser = _study.parser('placement', __doc__, steps=5000)
  parser.add_argument(
    '--models', default='mlp', help='comma-separated; default mlp'
  )
  args = parser.parse_args(argv)
  models = args.models.replace(',', '+')
  arg = f'data={args.data},models={models},seeds={args.seeds},'
  arg += f'steps={args.steps}'
  return _study.conduct(
    args, study.get_config, arg, judge, draw, measure=accuracies
  )


def accuracies(runs: Sequence[bnr.Run]) -> Accuracies:
  """Returns last test accuracies, {(model, activation): {place: by seed}}."""
  result: Accuracies = {}
  keys = ('model.name', 'model.activation', 'norm.name', 'model.norm_position')
  for (*setting, norm, position), group in _study.grouped(runs, *keys).items():
    place = 'nowhere' if norm == 'none' else position
    result.setdefault(tuple(setting), {})[place] = np.array(
      [_study.final(run) for run in group]
    )
  return result


def judge(measured: Accuracies) -> list[claims.Claim]:
  """Returns the two claims about each model and activation."""
  result = []
  for (model, activation), by_place in measured.items():
    numbers = {
      place: _study.plus_minus(values, '.2%')
      for place, values in by_place.items()
    }
    before, after = by_place['before'], by_place['after']
    result += [
      claims.Claim(
        f'{model}, {activation}',
        'BN after the activation is better than before',
        _published('after', 'before')
        + f'; CaffeNet, after {activation}: {PUBLISHED_AFTER[activation]:.1%}',
        f'{numbers["after"]} after, {numbers["before"]} before',
        tuple(bool(h) for h in after > before),
      ),
      claims.Claim(
        f'{model}, {activation}',
        'BN before the activation is better than none',
        _published('before', 'nowhere'),
        f'{numbers["before"]} before, {numbers["nowhere"]} without',
        tuple(bool(h) for h in before > by_place['nowhere']),
      ),
    ]
  return result


def _published(place, other):
  """Writes the published accuracies of two places, with ReLU."""
  return 'with ReLU ' + ', '.join(
    f'{network} '
    + ' against '.join(
      '/'.join(f'{100 * accuracy:.1f}' for accuracy in rows[name]) + '%'
      for name in (place, other)
    )
    for network, rows in PUBLISHED.items()
  )


def draw(measured: Accuracies, args) -> None:
  """Writes the figure: test error by activation and place, a row per model."""
  models = list(dict.fromkeys(model for model, _ in measured))
  figure, panels = _study.canvas(len(models), 2, (10, 4 * len(models)))
  for row, model in zip(panels, models):
    for at, activation in enumerate(study.ACTIVATIONS):
      for k, (place, values) in enumerate(measured[model, activation].items()):
        x = np.full(len(values), at + 0.2 * (k - 1))
        row[0].plot(x, 1 - values, 'o', color=COLORS[place], alpha=0.5)
        row[0].plot(
          x[:1],
          1 - values.mean(),
          '_',
          color=COLORS[place],
          markersize=18,
          label=place if at == 0 else None,
        )
    row[0].set_xticks(range(len(study.ACTIVATIONS)), study.ACTIVATIONS)
    row[0].set(ylabel='test error', title=f'{model}, {args.data}')
    row[0].legend(frameon=False, title='BN')
    for at, rows in enumerate(PUBLISHED.values()):
      for k, (place, values) in enumerate(rows.items()):
        x = np.full(len(values), at + 0.2 * (k - 1))
        errors = 1 - np.array(values)
        row[1].plot(x, errors, 'o', color=COLORS[place], alpha=0.7)
    row[1].set_xticks(range(len(PUBLISHED)), PUBLISHED)
    row[1].set(title='published, with ReLU, ImageNet at 128 px')
    for panel in row:
      panel.yaxis.set_major_formatter(lambda y, _: f'{y:.1%}')
  figure.suptitle(
    'BN before the activation, after it, or nowhere: '
    f'{_study.seeds(args.seeds)} and their mean'
  )
  _study.save(figure, args.output)


if __name__ == '__main__':
  sys.exit(main())
