"""A config: a tree of knobs, whose leaves a dotted key names."""

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
