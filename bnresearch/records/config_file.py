"""config.json: a run's config on disk, and how two configs differ."""

import hashlib
import json
from typing import Any

import ml_collections

Config = ml_collections.ConfigDict


def leaves(config: Config) -> dict[str, Any]:
  """Returns the config as a flat {dotted key: value}."""
  flat = {}
  for key, value in config.items():
    if isinstance(value, Config):
      flat |= {f'{key}.{k}': v for k, v in leaves(value).items()}
    else:
      flat[key] = value
  return flat


def differences(old: Config, new: Config) -> list[str]:
  """Returns one line for each leaf that is not the same in both."""
  a, b = leaves(old), leaves(new)
  return [
    f'{key}: {a.get(key, "absent")!r} -> {b.get(key, "absent")!r}'
    for key in sorted(a.keys() | b.keys())
    if a.get(key, ...) != b.get(key, ...)
  ]


def to_json(config: Config) -> str:
  """Returns the config as JSON; tuples become lists."""
  return json.dumps(config.to_dict(), indent=2)


def from_json(text: str) -> Config:
  """Reads what `to_json` wrote; lists become tuples again."""

  def restored(value):
    if isinstance(value, dict):
      return {key: restored(v) for key, v in value.items()}
    return tuple(map(restored, value)) if isinstance(value, list) else value

  return Config(restored(json.loads(text))).lock()


def digest(config: Config) -> str:
  """Returns a hash of a config, the same for equal configs."""
  return hashlib.blake2b(to_json(config).encode(), digest_size=16).hexdigest()
