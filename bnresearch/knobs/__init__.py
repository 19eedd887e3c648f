"""The knobs of a config: one table with all that is known of each.

A new knob is a line of `table.py`. In the order of imports:

  tree          a config, whose leaves have dotted keys
  values        rules: what a knob may be
  conditions    what a knob needs to have an effect
  knob  table   a line, and all lines
  defaults      the config that config files begin with
  together      what several knobs must satisfy together
  effects       which knobs are set in vain
  validation    every problem of the values of a config
  words  page   a knob explained, and docs/knobs.md

`python -m bnresearch.knobs` prints that page. Nothing here imports JAX before a
condition asks which options a norm, model or optimizer has.
"""

from bnresearch.knobs.defaults import default_config as default_config
from bnresearch.knobs.defaults import parse as parse
from bnresearch.knobs.effects import are_set as are_set
from bnresearch.knobs.effects import refusal as refusal
from bnresearch.knobs.table import GROUPS as GROUPS
from bnresearch.knobs.table import KNOBS as KNOBS
from bnresearch.knobs.tree import Config as Config
from bnresearch.knobs.tree import from_leaves as from_leaves
from bnresearch.knobs.tree import leaves as leaves
from bnresearch.knobs.tree import nearest as nearest
from bnresearch.knobs.validation import of_all as of_all
from bnresearch.knobs.validation import problems as problems
from bnresearch.knobs.validation import without_effect as without_effect
from bnresearch.knobs.validation import wrong as wrong
from bnresearch.knobs.words import explain as explain
