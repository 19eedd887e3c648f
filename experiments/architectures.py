"""Every network of the library, with BN and without, after the same few steps.

Claim:    BN makes a network learn faster, whatever its architecture.
Source:   Ioffe & Szegedy 2015, Figure 2 (section 4.2.1, arXiv 1502.03167; its
          only architecture is Inception. Accuracy against operations and
          parameters is drawn as by Canziani et al. 2016, arXiv 1605.07678).
Scale:    Fashion-MNIST, 300 steps, deep networks at a quarter of their width.
          The paper has Inception on ImageNet.
Room:     models
Config:   configs/architectures.py:data=fashion_mnist
Command:  python -m experiments.architectures --data=fashion_mnist
Cost:     53 minutes on two cores of an AMD EPYC, most of it for the Inception
          networks.
Result:   experiments/results/architectures_*.{png,svg,json}

Every network gets the same few steps of the same optimizer at the same learning
rate, in batches of 60. The accuracy says how soon a network learns, not how
well it does in the end.
"""

import sys
from collections.abc import Sequence

import numpy as np

import bnresearch as bnr
from bnresearch import command
from bnresearch.assembly import assemble
from bnresearch.models import measure
from bnresearch.reports import claims
from configs import architectures as study
from experiments import _study

NOTES = """
With BN, 13 of 15 networks are ahead. Six are still at chance without it, and
have learned with it. The LSTM and LeNet are not ahead. There is one seed only.
"""

COLORS = {'none': '#777777', 'batch': '#2e75b6'}
LABELS = {'none': 'without', 'batch': 'with BN'}

Measured = dict[str, dict[str, np.ndarray]]


@command.line()
def main(argv: Sequence[str] | None = None) -> int:
  """Runs or reuses the runs, draws, judges; returns the exit status."""
  parser = _study.parser(
    'architectures', __doc__, steps=300, ci={'models': 'mlp,lenet'}
  )
  parser.add_argument(
    '--models', help='comma-separated; default all, in a dry run mlp,lenet'
  )
  args = parser.parse_args(argv)
  args.models = args.models or ('mlp,lenet' if args.dry_run else 'all')
  arg = f'data={args.data},models={args.models.replace(",", "+")},'
  arg += f'seeds={args.seeds},steps={args.steps}'
  return _study.conduct(
    args,
    study.get_config,
    arg,
    lambda runs: judge(accuracies(runs)),
    draw,
    lambda runs: {'networks': costs(runs)},
  )


def accuracies(runs: Sequence[bnr.Run]) -> Measured:
  """Returns last test accuracies, {model: {norm: by seed}}."""
  result: Measured = {}
  for (model, norm), group in _study.grouped(
    runs, 'model.name', 'norm.name'
  ).items():
    values = [_study.final(run) for run in group]
    result.setdefault(model, {})[norm] = np.array(values)
  return result


def costs(runs: Sequence[bnr.Run]) -> dict[str, dict[str, dict[str, float]]]:
  """Returns {model: {norm: parameters, macs, depth, seconds}}.

  The seconds are the median of the seeds' training, compiling included.
  """
  result: dict[str, dict[str, dict[str, float]]] = {}
  for (model, norm), group in _study.grouped(
    runs, 'model.name', 'norm.name'
  ).items():
    parts = assemble(group[0].config)
    size, _, channels = parts.data.spec.image_shape
    cost = measure(parts.network.model, size, channels)
    seconds = [run.status['seconds'] for run in group]
    result.setdefault(model, {})[norm] = {
      'parameters': cost.parameters,
      'macs': cost.macs,
      'depth': cost.depth,
      'seconds': float(np.median(seconds)),
    }
  return result


def judge(measured: Measured) -> list[claims.Claim]:
  """Returns the claim about each architecture."""
  return [
    claims.Claim(
      model,
      'after the same few steps the network with BN is better',
      'of Inception on ImageNet, Figure 2',
      f'{_study.plus_minus(by_norm["batch"], ".1%")} with BN, '
      f'{_study.plus_minus(by_norm["none"], ".1%")} without',
      tuple(bool(h) for h in by_norm['batch'] > by_norm['none']),
    )
    for model, by_norm in measured.items()
  ]


def draw(runs: Sequence[bnr.Run], args) -> None:
  """Writes the figure: accuracy by network, and against its two costs."""
  measured, cost = accuracies(runs), costs(runs)
  figure, panels = _study.canvas(1, 3, (15, 5.5))
  bars, *scatters = panels[0]
  models = sorted(measured, key=lambda m: measured[m]['batch'].mean())
  for norm, color in COLORS.items():
    at = np.arange(len(models)) + (0.2 if norm == 'batch' else -0.2)
    values = [measured[model][norm].mean() for model in models]
    bars.barh(at, values, 0.38, color=color, label=LABELS[norm])
    for y, model in zip(at, models):
      seeds = measured[model][norm]
      bars.plot(seeds, np.full(len(seeds), y), 'k.', markersize=3)
  bars.set_yticks(range(len(models)), models)
  bars.set(xlabel='test accuracy', xlim=(0, 1))
  bars.legend(frameon=False, loc='lower right')
  titles = {'parameters': 'parameters', 'macs': 'multiply-adds an image'}
  for panel, (key, title) in zip(scatters, titles.items()):
    for model in models:
      pair = [
        (cost[model][norm][key], measured[model][norm].mean())
        for norm in COLORS
      ]
      panel.plot(*zip(*pair), color='#cccccc', zorder=1)
      for (x, y), color in zip(pair, COLORS.values()):
        panel.plot(x, y, 'o', color=color, markersize=5)
      panel.annotate(
        model, pair[1], fontsize=7, xytext=(4, 3), textcoords='offset points'
      )
    panel.set(xscale='log', xlabel=title, ylabel='test accuracy')
  for panel in scatters:
    panel.yaxis.set_major_formatter(lambda y, _: f'{y:.0%}')
  bars.xaxis.set_major_formatter(lambda x, _: f'{x:.0%}')
  figure.suptitle(
    f'{args.data}, {args.steps} steps, '
    f'{_study.seeds(args.seeds)}: with BN and without'
  )
  _study.save(figure, args.output)


if __name__ == '__main__':
  sys.exit(main())
