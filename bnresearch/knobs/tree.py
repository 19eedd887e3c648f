"""A config: a tree of knobs, whose leaves have dotted keys."""

from collections.abc import Iterable
from typing import Any

import ml_collections

from bnresearch import lookup

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


def from_leaves(values: dict[str, Any]) -> Config:
  """Returns the locked config of a flat {dotted key: value}."""
  tree = {}
  for key, value in values.items():
    group, _, leaf = key.rpartition('.')
    inside = tree.setdefault(group, {}) if group else tree
    inside[leaf] = value
  return Config(tree).lock()


def nearest(key: str, known: Iterable[str]) -> str:
  """Names the known key that is nearest to an unknown one."""
  known = list(known)
  inside = [k for k in known if k.startswith(f'{key}.')]
  if inside:
    return f'It is a group; set one of {", ".join(inside)}.'
  same_leaf = [k for k in known if k.split('.')[-1] == key.split('.')[-1]]
  group = [k for k in known if k.split('.')[0] == key.split('.')[0]]
  return lookup.suggest(key, same_leaf or group or known)
