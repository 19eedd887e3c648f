"""config.json: a run's config on disk, and how two configs differ.

Its `format` says by which rules it is read; there was none at first. A run
that was made before a knob was there opens with what was done then.
"""

import hashlib
import json
from typing import Any

from bnresearch.knobs.tree import Config, leaves

# One more where a value that is there already gets another meaning.
FORMAT = 2
# What runs did before a knob was there. Each new knob is a line, with the value
# that reproduces that, whatever its default in configs/default.py is.
BEFORE = {
  'data.held_out': 0.0,
  'label': '',
  'model.init_gain': 1.0,
  'model.padding': 'own',
  'optim.clip_adaptive': 0.0,
  'optim.clip_norm': 0.0,
  'parallel.backend': 'jit',
  'parallel.devices': 0,
  'slurm.array_parallelism': 100,
  'slurm.cpus': 1,
  'slurm.gpus': 0,
  'slurm.memory': 8,
  'slurm.minutes': 240,
  'slurm.options': (),
  'slurm.partition': '',
  'slurm.requeues': 100,
  'slurm.signal_delay': 120,
  'train.average': 0.0,
  'train.dtype': 'float32',
  'train.microbatches': 1,
  'train.remat': 'none',
}


def differences(old: Config, new: Config) -> list[str]:
  """Returns one line for each leaf that is not the same in both."""
  a, b = leaves(old), leaves(new)
  return [
    f'{key}: {a.get(key, "absent")!r} -> {b.get(key, "absent")!r}'
    for key in sorted(a.keys() | b.keys())
    if a.get(key, ...) != b.get(key, ...)
  ]


def to_json(config: Config) -> str:
  """Returns the config as JSON, with its format; tuples become lists."""
  return json.dumps({'format': FORMAT, **config.to_dict()}, indent=2)


def from_json(text: str) -> Config:
  """Reads what `to_json` wrote; see `restored`."""
  return restored(json.loads(text))


def restored(values: dict[str, Any]) -> Config:
  """Returns the config that was written, now or at an earlier time.

  Lists become tuples again; what the time before a knob did is filled in.

  Raises:
    ValueError: it has a later format.
  """
  values = dict(values)
  written = values.pop('format', 1)
  if type(written) is not int or written > FORMAT:
    raise ValueError(
      f'its format is {written!r}, and this version of bnresearch reads those '
      f'up to {FORMAT}. A newer version made it: update bnresearch'
    )
  _bring_up_to_date(values)
  return Config(_with_tuples(values)).lock()


def _with_tuples(value):
  if isinstance(value, dict):
    return {key: _with_tuples(v) for key, v in value.items()}
  return tuple(map(_with_tuples, value)) if isinstance(value, list) else value


def _bring_up_to_date(values):
  """Changes what was written at an earlier time, in place."""
  for key, value in BEFORE.items():
    group, _, leaf = key.rpartition('.')
    inside = values.setdefault(group, {}) if group else values
    if isinstance(inside, dict):  # who compares the keys finds what else it is
      inside.setdefault(leaf, value)
  # Whether it was for all layers, before it was for those of some paths.
  norm = values.get('norm')
  if isinstance(norm, dict) and type(norm.get('per_activation')) is bool:
    norm['per_activation'] = ['*'] if norm['per_activation'] else []


def digest(config: Config) -> str:
  """Returns a hash of a config, the same for equal configs."""
  text = json.dumps(config.to_dict(), indent=2)
  return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
