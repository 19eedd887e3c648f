"""The knobs of a config: one table of all that is known of each.

A new knob is a line of `table.py`. In the order of imports:

  tree          a config, whose leaves a dotted key names
  values        rules: what a knob may be
  conditions    what a knob needs to have an effect
  knob  table   a line, and all lines
  defaults      the config that config files begin with
  together      what several knobs must be together
  effects       which knobs are set in vain
  validation    all that is wrong with the values of a config
  words  page   a knob explained, and docs/knobs.md

`python -m bnresearch.knobs` prints that page. Nothing here imports JAX before a
condition asks which options a norm, model or optimizer has.
"""

from bnresearch.knobs.defaults import default_config, parse
from bnresearch.knobs.effects import are_set, refusal
from bnresearch.knobs.table import GROUPS, KNOBS
from bnresearch.knobs.tree import Config, from_leaves, leaves, nearest
from bnresearch.knobs.validation import (
  of_all,
  problems,
  without_effect,
  wrong,
)
from bnresearch.knobs.words import explain

__all__ = [
  'GROUPS',
  'KNOBS',
  'Config',
  'are_set',
  'default_config',
  'explain',
  'from_leaves',
  'leaves',
  'nearest',
  'of_all',
  'parse',
  'problems',
  'refusal',
  'without_effect',
  'wrong',
]
