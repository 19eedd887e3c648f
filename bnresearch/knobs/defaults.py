"""What every config file begins with: the defaults, and its argument.

It is a config file itself, that of `--config=default`.
"""

from bnresearch.knobs import tree
from bnresearch.knobs.table import KNOBS


def default_config() -> tree.Config:
  """Returns a config in which every knob has its default, locked."""
  return tree.from_leaves({knob.key: knob.default for knob in KNOBS.values()})


def get_config(arg: str = '') -> tree.Config:
  """Returns the defaults; takes no argument after the colon."""
  parse(arg)
  return default_config()


def parse(arg: str, **defaults: str | int) -> dict[str, str | int]:
  """Reads what follows the colon of `--config=FILE:key=value,key=value`.

  Args:
    arg: the text after the colon.
    **defaults: the keys that this config knows; a value takes its default's
      type, and a number is at least 1.

  Raises:
    ValueError: a key is unknown, a value has the wrong type or is too small.
  """
  values = dict(defaults)
  for item in filter(None, arg.split(',')):
    key, equals, text = item.partition('=')
    if not equals or key not in defaults:
      takes = ', '.join(f'{k}={v}' for k, v in defaults.items()) or 'nothing'
      raise ValueError(f'{item!r} after the colon: this config takes {takes}.')
    try:
      values[key] = type(defaults[key])(text)
    except ValueError:
      kind = type(defaults[key]).__name__
      raise ValueError(f'{item!r} after the colon: needs {kind}.') from None
    if type(value := values[key]) is int and value < 1:
      raise ValueError(f'{item} after the colon: needs 1 or more.')
  return values
