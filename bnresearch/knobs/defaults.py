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


def parse(
  arg: str, **defaults: str | int | tuple[str, ...]
) -> dict[str, str | int]:
  """Reads what follows the colon of `--config=FILE:key=value,key=value`.

  Args:
    arg: the text after the colon.
    **defaults: the keys that this config knows; a value takes its default's
      type, and a number is at least 1. Of a tuple it is one, by default the
      first.

  Raises:
    ValueError: a key is unknown, a value has the wrong type, is too small or no
      choice.
  """
  choices = {k: d for k, d in defaults.items() if isinstance(d, tuple)}
  own = {k: d[0] if isinstance(d, tuple) else d for k, d in defaults.items()}
  values = dict(own)
  for item in filter(None, arg.split(',')):
    key, equals, text = item.partition('=')
    if not equals or key not in own:
      takes = ', '.join(f'{k}={v}' for k, v in own.items()) or 'nothing'
      raise ValueError(f'{item!r} after the colon: this config takes {takes}.')
    try:
      values[key] = type(own[key])(text)
    except ValueError:
      kind = type(own[key]).__name__
      raise ValueError(f'{item!r} after the colon: needs {kind}.') from None
    if text not in choices.get(key, (text,)):
      known = ', '.join(choices[key])
      raise ValueError(f'{item} after the colon: needs one of {known}.')
    if type(value := values[key]) is int and value < 1:
      raise ValueError(f'{item} after the colon: needs 1 or more.')
  return values
