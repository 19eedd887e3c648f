"""A checkpoint's loss and accuracy under each kind of statistics."""

import functools

import jax
from rich.table import Table

from bnresearch.evaluation import average as averages
from bnresearch.evaluation.distances import distances
from bnresearch.evaluation.evaluate import STATISTICS
from bnresearch.inference.run import Run
from bnresearch.statistics.population import ESTIMATORS
from bnresearch.terminal import Console, say, track, wide
from bnresearch.training.state import State


def show(run: Run, state: State, *, save: bool) -> None:
  """Evaluates on the whole test split and prints the tables.

  Averaged parameters have rows of their own, but none by the running
  statistics, which belong to the parameters themselves.

  Args:
    run: the run.
    state: from `run.restore`.
    save: whether the estimated statistics are kept in the run's directory.
  """
  several = len(run.spec.class_names) > 5
  table = Table(
    'statistics', 'loss', 'accuracy', *['top-5'] * several, 'examples'
  )
  states, saved = {}, []
  for statistics, average in _rows(state):
    progress = functools.partial(track, description=f'{statistics} statistics')
    name = _row_name(run, state, statistics, average)
    try:
      if save and statistics in ESTIMATORS:
        saved.append(
          run.save_statistics(state, statistics, progress, average=average)
        )
      found = run.with_statistics(state, statistics, progress, average=average)
    except ValueError as error:  # one value has no unbiased variance
      table.add_row(name, 'undefined', str(error))
      continue
    if not average:
      states[statistics] = found
    by = 'batch' if statistics == 'batch' else 'ema'  # what the state holds
    means = run.evaluate(found, by)
    table.add_row(
      name,
      f'{means["loss"]:.6f}',
      *(f'{means[k]:.4%}' for k in ('accuracy', 'top5_accuracy') if k in means),
      f'{means["examples"]:,}',
    )
  say(f'{run.path}, test split, step {int(state.step):,}')
  say(f'The best step is chosen by {run.parts.data.chooses} accuracy.')
  wide().print(table)
  _print_distances(run, states)
  for folder in saved:
    say(f'Saved {folder}')


def _rows(state):
  """Yields each row's statistics, and whether its parameters are averaged."""
  for statistics in STATISTICS if state.collections else ('ema',):
    yield statistics, False
  if jax.tree.leaves(state.average):
    for statistics in averages.STATISTICS if state.collections else ('ema',):
      yield statistics, True


def _row_name(run, state, statistics, average):
  name = statistics
  if not state.collections:
    name = 'none in this network'
  elif statistics == 'batch':
    name = f'batch, of {run.config.eval.batch_size:,}'
  return f'{name}, averaged parameters' if average else name


def _print_distances(run, states):
  """Prints how far the estimates are from Algorithm 2's, layer by layer."""
  table = Table(
    'layer',
    'statistics',
    'shift',
    'spread',
    'divergence',
    title='distance from the population statistics',
    caption='shift in deviations, spread in ln, divergence KL in nats',
  )
  for statistics in ('ema', 'pooled'):
    if not states.keys() >= {'population', statistics}:
      continue
    pair = (states[s].collections for s in ('population', statistics))
    found = distances(*pair, run.config.norm.epsilon)
    for layer, distance in found.items():
      table.add_row(layer, statistics, *(f'{d:.2g}' for d in distance))
  if table.row_count:
    Console().print(table)
