"""A line of the table of knobs."""

from typing import Any, NamedTuple

from bnresearch.knobs.conditions import Condition
from bnresearch.knobs.values import Rule

# What a config alone does not show. The room `preflight` finds it in the data,
# or in the network, the devices and the probes once they are made.
SHOWN_BY = {
  'network': 'needs a network that it changes',
  'heads': 'needs a network that has a place for heads',
  'devices': 'needs a run on several devices',
  'examples': 'needs a probe that looks at test images',
  'taps': 'needs a probe that looks at taps',
  'gradients': 'needs a probe that looks at losses or gradients',
  'colours': 'needs images in colour',
  'resident': 'needs training images that live on the device',
  'split': 'needs a split that is drawn, not one that the data set has',
}


class Group(NamedTuple):
  """The knobs of a part of the config; `text` says what that part is."""

  name: str
  text: str


class Knob(NamedTuple):
  """A knob, and all that is known of it.

  Attributes:
    key: dotted, as 'norm.momentum'.
    default: its value unless a config says otherwise.
    rule: what it may be.
    comment: what it means.
    needs: conditions on other knobs. If one fails, a value other than the
      default has no effect; the first that fails is reported.
    shown_by: '', or what else shows whether it has an effect, a word of
      `SHOWN_BY`.
    before: its value in runs older than the knob, so that they go on as they
      began; None for the knobs of the first format.
  """

  key: str
  default: Any
  rule: Rule
  comment: str
  needs: tuple[Condition, ...] = ()
  shown_by: str = ''
  before: Any = None
