"""EMA, population and batch statistics, of the same checkpoints.

Claim:    Inference should use population statistics (Algorithm 2). Moving
          averages stand in for them while the model trains. Statistics of the
          evaluated batch make an output depend on its neighbors.
Source:   Ioffe & Szegedy 2015, section 3.1 and Algorithm 2 (arXiv 1502.03167;
          the shares of the initial 0 and 1 are arithmetic).
Scale:    the network of Figure 1, 3,200 steps. The paper gives no numbers.
Room:     statistics
Config:   configs/population_statistics.py:data=mnist,seeds=3
Command:  python -m experiments.population_statistics --seeds=3
Cost:     43 s on two CPU cores; 83 s with `--data=mnist`.
Result:   experiments/results/population_statistics_*.{png,svg,json}

The running statistics have no part in training: all runs of a seed have the
same parameters. Population statistics are those of 100 training batches.
"""

import itertools
import sys
from collections.abc import Sequence

import numpy as np
from rich.progress import track

import bnresearch as bnr
from bnresearch import command
from bnresearch.evaluation.distances import distances
from bnresearch.reports import claims
from configs import population_statistics as study
from experiments import _study

COMMANDS = {
  'population_statistics_mnist': 'python -m experiments.population_statistics '
  '--data=mnist --seeds=3'
}

NOTES = """
Its start, mean 0 and variance 1, harms a long average early. Without this start
even the longest one is no worse than the population. After 3,200 steps the
average of 0.99 has caught up.
"""

SIZES = (2, 4, 8, 16, 32, 64, 128, 256)  # of evaluation batches
SHORT, DEFAULT, LONG, DEBIASED = study.AVERAGES
ESTIMATORS = ('population', 'pooled')
COLORS = dict(zip(study.AVERAGES, ('#9ecae1', '#4292c6', '#08306b', '#41ab5d')))

# {what: (seeds, steps or sizes)} of the test loss; 'steps' and 'distance'.
Measured = dict


@command.line()
def main(argv: Sequence[str] | None = None) -> int:
  """Runs or reuses the runs, evaluates, draws; returns the exit status."""
  parser = _study.parser('population_statistics', __doc__, steps=3200)
  args = parser.parse_args(argv)
  arg = f'data={args.data},seeds={args.seeds},steps={args.steps}'
  return _study.conduct(
    args, study.get_config, arg, judge, draw, measure=measure
  )


def measure(runs: Sequence[bnr.Run]) -> Measured:
  """Evaluates checkpoints at steps that double, under all statistics."""
  averages = _study.grouped(runs, 'norm.momentum', 'norm.debias')
  steps = [s for s in _doubling(runs[0]) if s in runs[0].checkpoints]
  loss = {average: [] for average in (*averages, *ESTIMATORS, 'sizes')}
  apart = []
  work = list(zip(*averages.values()))
  for of_seed in track(work, 'evaluating', transient=True):
    for average, run in zip(averages, of_seed):
      states = [run.restore(step) for step in steps]
      loss[average].append([run.evaluate(s)['loss'] for s in states])
    # The last one's: all have the same parameters.
    for estimator in ESTIMATORS:
      exact = [run.with_statistics(s, estimator) for s in states]
      loss[estimator].append([run.evaluate(s)['loss'] for s in exact])
      if estimator == 'population':
        apart.append(_last_distances(of_seed, steps, exact, run))
    loss['sizes'].append(
      [run.evaluate(states[-1], 'batch', 'test', n)['loss'] for n in SIZES]
    )
  found = {key: np.array(value) for key, value in loss.items()}
  return found | {'steps': steps, 'distance': np.array(apart)}


def _doubling(run):
  first, last = run.checkpoints[0], run.checkpoints[-1]
  powers = itertools.takewhile(
    lambda s: s < last, (first * 2**k for k in itertools.count())
  )
  return [*powers, last]


def _last_distances(of_seed, steps, exact, run):
  """Returns each average's mean divergence from the population, in nats."""
  epsilon = run.config.norm.epsilon
  return [
    [
      np.mean(
        [
          d.divergence
          for d in distances(
            reference.collections, run.restore(step).collections, epsilon
          ).values()
        ]
      )
      for step, reference in zip(steps, exact)
    ]
    for run in of_seed
  ]


def judge(measured: Measured) -> list[claims.Claim]:
  """Returns the claims, each by seed."""
  population, sizes = measured['population'], measured['sizes']
  steps = measured['steps']
  first, last = f'step {steps[0]:,}', f'step {steps[-1]:,}'
  result = []
  for average in (DEFAULT, LONG):
    ema = measured[average]
    left = average[0] ** steps[0]
    result.append(
      claims.Claim(
        first,
        f'an average of momentum {average[0]} is worse than the population',
        f'{left:.0%} of the initial mean 0 and variance 1 are left in it',
        f'test loss {_study.plus_minus(ema[:, 0], ".3f")} against '
        f'{_study.plus_minus(population[:, 0], ".3f")}',
        tuple(bool(h) for h in ema[:, 0] > population[:, 0]),
      )
    )
  late, debiased = measured[DEFAULT][:, -1], measured[DEBIASED][:, 0]
  result += [
    claims.Claim(
      first,
      f'debiased, {LONG[0]} is at most 5% worse than the population',
      'the initial 0 and 1 have no part in it',
      f'test loss {_study.plus_minus(debiased, ".3f")} against '
      f'{_study.plus_minus(population[:, 0], ".3f")}',
      tuple(bool(h) for h in debiased < 1.05 * population[:, 0]),
    ),
    claims.Claim(
      last,
      f'an average of {DEFAULT[0]} is at most 5% worse than the population',
      'the moving average tracks the model (section 3.1)',
      f'test loss {_study.plus_minus(late, ".4f")} against '
      f'{_study.plus_minus(population[:, -1], ".4f")}',
      tuple(bool(h) for h in late < 1.05 * population[:, -1]),
    ),
    claims.Claim(
      last,
      'statistics of small evaluation batches are worse than the population',
      'the output should depend on the input only (section 3.1)',
      ', '.join(
        f'{n}: {_study.plus_minus(sizes[:, k], ".3f")}'
        for k, n in enumerate(SIZES)
      ),
      tuple(bool(h) for h in sizes[:, 0] > population[:, -1]),
    ),
  ]
  return result


def draw(measured: Measured, args) -> None:
  """Writes the figure: loss and distance against steps, loss against size."""
  figure, ((early, apart, size),) = _study.canvas(1, 3, (13, 4))
  steps = measured['steps']
  for k, average in enumerate(study.AVERAGES):
    label = f'EMA {average[0]}{", debiased" if average[1] else ""}'
    color = COLORS[average]
    early.plot(steps, measured[average].mean(0), 'o-', color=color, label=label)
    distance = measured['distance'][:, k].mean(0)
    apart.plot(steps, distance, 'o-', color=color, label=label)
  styles = {'population': '-', 'pooled': '--'}
  for estimator, style in styles.items():
    loss = measured[estimator]
    early.plot(steps, loss.mean(0), style, color='#d6604d', label=estimator)
    size.axhline(loss[:, -1].mean(), ls=style, color='#d6604d', label=estimator)
  for loss in measured['sizes']:
    size.plot(SIZES, loss, 'o', color='#777777', alpha=0.5)
  size.plot(
    SIZES, measured['sizes'].mean(0), color='#777777', label="the batch's own"
  )
  early.set(title='test loss by statistics', xlabel='training steps')
  apart.set(title='KL(population || EMA), nats', xlabel='training steps')
  size.set(title=f'test loss, step {steps[-1]:,}', xlabel='evaluation batch')
  for panel in (early, apart, size):
    panel.set(xscale='log', yscale='log')
  for panel in (early, size):
    panel.legend(frameon=False)
  size.set_xscale('log', base=2)
  figure.suptitle(
    f'Which statistics normalize, {args.data}, {_study.seeds(args.seeds)}'
  )
  _study.save(figure, args.output)


if __name__ == '__main__':
  sys.exit(main())
