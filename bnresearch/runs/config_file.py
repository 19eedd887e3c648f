"""config.json: a run's config on disk, and how two configs differ.

Its `format` says which rules read it; the oldest files have none. A run that
is older than a knob opens with what was done before the knob existed.
"""

import hashlib
import json
from typing import Any

from bnresearch import knobs
from bnresearch.config import plain

# Goes up by one when an existing value gets another meaning.
FORMAT = 3
# What runs did before a knob existed, whatever its default is.
BEFORE = {
  knob.key: knob.before
  for knob in knobs.KNOBS.values()
  if knob.before is not None
}


def differences(old: knobs.Config, new: knobs.Config) -> list[str]:
  """Returns one line for each leaf that is not the same in both."""
  a, b = knobs.leaves(old), knobs.leaves(new)
  return [
    f'{key}: {a.get(key, "absent")!r} -> {b.get(key, "absent")!r}'
    for key in sorted(a.keys() | b.keys())
    if a.get(key, ...) != b.get(key, ...)
  ]


def to_json(config: knobs.Config) -> str:
  """Returns the config as JSON, with its format; tuples become lists."""
  return json.dumps({'format': FORMAT, **config.to_dict()}, indent=2)


def from_json(text: str) -> knobs.Config:
  """Reads what `to_json` wrote; see `restored`."""
  return restored(json.loads(text))


def restored(values: dict[str, Any]) -> knobs.Config:
  """Returns the config that was written, by this or an earlier version.

  Lists become tuples again; a knob that did not exist yet gets what was done
  before it.

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
  _bring_up_to_date(values, written)
  return knobs.Config(plain(values)).lock()


def _bring_up_to_date(values, written):
  """Changes what an earlier version wrote, in place."""
  for key, value in BEFORE.items():
    group, _, leaf = key.rpartition('.')
    inside = values.setdefault(group, {}) if group else values
    if isinstance(inside, dict):  # else a comparison of the keys reports it
      inside.setdefault(leaf, value)
  # Its passes used to go through the whole network.
  own = values.get('objective')
  in_turn = isinstance(own, dict) and own.get('auxiliary') == 'alternating'
  if in_turn and written < 3:
    own['auxiliary'] = 'alternating_whole'
  # It used to say whether for all layers; now it has patterns of paths.
  norm = values.get('norm')
  if isinstance(norm, dict) and type(norm.get('per_activation')) is bool:
    norm['per_activation'] = ['*'] if norm['per_activation'] else []


def digest(config: knobs.Config) -> str:
  """Returns a hash of a config, the same for equal configs."""
  text = json.dumps(config.to_dict(), indent=2)
  return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
