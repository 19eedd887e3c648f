"""Run directories that were written, not trained, for the tests of reports."""

import json

import numpy as np

from bnresearch import knobs
from bnresearch.runs import config_file
from bnresearch.runs.logbook import Logbook

STEPS = range(0, 101, 10)
SESSION = {
  'from_step': 0,
  'date': '2026-11-30T18:00:00+00:00',
  'device': 'a CPU',
  'commit': 'abc1234',
  'jax': '0.10.2',
  'conventions': ['batch: momentum 0.99'],
}


def write(path, *, rows=(), status=None, sessions=(SESSION,), **changed):
  """Writes a run directory; returns it.

  Args:
    path: of the run.
    rows: (step, {name: numbers}) of its logbook.
    status: fields of status.json beside those of a run that is done.
    sessions: of provenance.json.
    **changed: knobs, their dots as `__`.
  """
  path.mkdir(parents=True)
  values = knobs.leaves(knobs.default_config())
  values |= {k.replace('__', '.'): v for k, v in changed.items()}
  text = config_file.to_json(knobs.from_leaves(values))
  (path / 'config.json').write_text(text)
  book = Logbook(path / 'metrics.jsonl')
  for step, row in rows:
    book.write(step, row)
  said = {'status': 'done', 'step': 100, 'steps': 100, 'seconds': 2.5}
  (path / 'status.json').write_text(json.dumps(said | (status or {})))
  (path / 'provenance.json').write_text(json.dumps(list(sessions)))
  about = {'image_shape': [8, 8, 1], 'examples': {'train': 9, 'test': 5}}
  (path / 'data.json').write_text(json.dumps(about))
  (path / 'class_names.json').write_text(json.dumps(['cat', 'dog']))
  return path


def trained(best=0.9, steps=STEPS):
  """Yields rows of accuracies and losses that approach `best`, and 0."""
  for step in steps:
    part = step / 100
    yield step, {'test/accuracy': best * part, 'test/loss': 2 - part}
    if step:
      yield step, {'train/accuracy': part, 'train/loss': 2.0 - 1.9 * part}


def probed(layers=('hidden_1', 'hidden_2'), steps=STEPS, seed=0):
  """Yields rows of probes: numbers, units, histograms, a line of losses."""
  draw = np.random.RandomState(seed)
  for step in steps:
    row = {'probe/gradient_norm/norm': 1 / (1 + step)}
    for layer in layers:
      x = draw.normal(step / 50, 1 + step / 100, (60, 20))
      counts = [np.histogram(u, 8, (x.min(), x.max()))[0] for u in x.T]
      of = f'probe/activation_histogram/{layer}'
      row |= {
        f'probe/gradient_norm/{layer}/kernel': draw.uniform(0.5, 1),
        f'probe/gradient_norm/{layer}/bias': draw.uniform(1e-4, 2e-4),
        f'probe/activation_moments/{layer}/mean': x.mean(0),
        f'probe/activation_percentiles/{layer}': np.percentile(
          x, (15, 50, 85), axis=0
        ),
        f'{of}/counts': np.array(counts),
        f'{of}/edges': np.linspace(x.min(), x.max(), 9),
      }
    row |= {
      'probe/loss_slices/line': np.linspace(-1, 1, 5) ** 2,
      'probe/loss_slices/line_at': np.linspace(-1, 1, 5),
      'probe/loss_slices/plane': np.ones((3, 3)),
    }
    yield step, row


def sweep(folder):
  """Writes a sweep: two norms with two seeds each, and one that diverged."""
  for norm, best in (('batch', 0.9), ('none', 0.6)):
    for seed in range(2):
      write(
        folder / f'norm={norm},seed={seed}',
        rows=[*trained(best + 0.02 * seed), *probed(seed=seed)],
        status={'steps_per_second': 40.0, 'probe_seconds': 0.1},
        norm__name=norm,
        seed=seed,
      )
  write(
    folder / 'norm=batch,learning_rate=9',
    rows=[(0, {'test/accuracy': 0.1, 'test/loss': 3.0})],
    status={'status': 'diverged', 'message': 'The loss is nan.', 'step': 1},
    optim__learning_rate=9.0,
  )
  return folder
