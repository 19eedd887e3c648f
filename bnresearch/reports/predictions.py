"""Predictions of image files, as a table or as JSON."""

import json
import pathlib
import sys
from collections.abc import Sequence

import numpy as np
from rich.table import Table

from bnresearch.inference.predict import predict
from bnresearch.inference.run import Run
from bnresearch.reports import photographs
from bnresearch.terminal import say, track, wide
from bnresearch.training.state import State

_SHOWN = 3  # classes per row


def show(
  run: Run,
  state: State,
  files: Sequence[str],
  *,
  crop_count: int,
  as_json: bool,
  figure: pathlib.Path | None = None,
) -> int:
  """Prints what the run predicts for each file; returns the exit status.

  It is 1 if a file could not be read; the others are predicted all the same.

  Args:
    run: predicts.
    state: from `run.restore`.
    files: paths of images.
    crop_count: see `predict`.
    as_json: whether to print JSON instead of a table.
    figure: where to draw the photographs with their predictions, see
      `photographs.draw`; None for nowhere.
  """
  predicted = predict(run, state, files, crop_count)
  found = list(track(predicted, 'predicting', len(files)))
  names = run.spec.class_names
  if as_json:
    say(json.dumps([_as_dict(p, names) for p in found], indent=2))
  else:
    wide().print(_table(found, names))
  if figure:
    drawn = photographs.draw(found, names, figure)
    said = f'Wrote {figure}: {drawn} of {len(found)} photographs.'
    say(said if drawn else f'{figure}: no photograph to draw.', sys.stderr)
  problems = [p for p in found if p.problem]
  for p in problems:
    say(f'{p.file}: {p.problem}', sys.stderr)
  return 1 if problems else 0


def _as_dict(prediction, names):
  if prediction.problem:
    return {'file': prediction.file, 'problem': prediction.problem}
  values = [float(p) for p in prediction.probabilities_K]
  best = int(np.argmax(values))
  return {
    'file': prediction.file,
    'class': names[best],
    'probability': values[best],
    'probabilities': dict(zip(names, values)),
  }


def _table(found, names):
  table = Table('file', 'class', 'probability', 'and then')
  for prediction in found:
    if prediction.problem:
      continue
    p_K = prediction.probabilities_K
    first, *rest = np.argsort(-p_K, kind='stable')
    others = ', '.join(f'{names[k]} {p_K[k]:.2%}' for k in rest[: _SHOWN - 1])
    table.add_row(prediction.file, names[first], f'{p_K[first]:.2%}', others)
  return table
