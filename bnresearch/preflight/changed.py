"""A config with another value of one knob."""

from typing import Any

from bnresearch import config as configs
from bnresearch.knobs import KNOBS, Config


def without(config: Config, key: str) -> Config:
  """Returns a config in which a knob has its default."""
  return by(config, key, KNOBS[key].default)


def by(config: Config, key: str, value: Any) -> Config:
  """Returns a config in which a knob has another value."""
  other = config.copy_and_resolve_references()
  configs.override(other, {key: value})
  return other.lock()
