"""Every family trains as a user starts it: a process, its devices, its threads.

The suite itself has eight devices, and programs with hardly any optimization.
"""

import dataclasses
import json
import pathlib
import subprocess
import sys

import pytest

from bnresearch import lookup, models
from bnresearch.machine import process
from tests import published
from tests.daily import some

ROOT = pathlib.Path(__file__).parent.parent


def train(workdir, **knobs):
  """Trains as a user does; returns status.json and the last session."""
  flags = [f'--config.{key}={value}' for key, value in knobs.items()]
  done = subprocess.run(
    [
      *(sys.executable, '-m', 'bnresearch.main'),
      *('--config=configs/default.py', f'--workdir={workdir}', *flags),
    ],
    cwd=ROOT,
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stdout + done.stderr
  read = lambda name: json.loads((workdir / name).read_text())
  return read('status.json'), read('provenance.json')[-1]


# One with convolutions and one without are of each day.
@pytest.mark.parametrize('name', some(lookup.names('models'), 'lenet', 'mlp'))
def test_a_family_trains_on_the_devices_that_a_user_has(name, tmp_path):
  model = lookup.find('models', name).Model
  fields = {field.name: field.default for field in dataclasses.fields(model)}
  options = dict(published.SMALL.get(name, {}))
  if 'stem' in fields:
    options['stem'] = 'small'
  if 'blocks' in options and (blocks := fields.get('blocks')):
    options['blocks'] = (0,) * len(blocks)  # the Inceptions do without
  convolves = models.convolves(model)
  if convolves:
    options |= {'width': 0.125}
  status, session = train(
    tmp_path / 'run',
    **{'model.name': name},
    **{f'model.{key}': value for key, value in options.items()},
    **{'train.steps': 40, 'train.log_every': 5},
    **{'eval.every': 10, 'checkpoint.every': 20},
  )
  assert status['status'] == 'done'
  cores = process.cores() if convolves else 1
  assert session['devices'] == max(
    devices for devices in range(1, cores + 1) if 60 % devices == 0
  )


@pytest.mark.grid
def test_a_thousand_quick_steps_on_all_cores_end(tmp_path):
  # On two quiet cores XLA aborted every such run, after 40 s without a thread
  # for the second device.
  status, _ = train(
    tmp_path / 'run',
    **{'model.name': 'lenet', 'model.stem': 'small', 'train.steps': 1000},
  )
  assert (status['status'], status['step']) == ('done', 1000)
