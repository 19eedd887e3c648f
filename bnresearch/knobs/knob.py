"""A line of the table of knobs."""

from typing import Any, NamedTuple

from bnresearch.knobs.conditions import Condition
from bnresearch.knobs.values import Rule

# What cannot be told from a config, but by the room `preflight`: from the
# network, the devices and the probes once they are made, or from the data.
SHOWN_BY = {
  'network': 'needs a network that it changes',
  'heads': 'needs a network that has a place for heads',
  'devices': 'needs a run on several devices',
  'probes': 'needs a probe that looks at images',
  'colours': 'needs images in colour',
  'resident': 'needs training images that live on the device',
  'split': 'needs a split that is drawn, not one that the data set has',
}


class Group(NamedTuple):
  """The knobs of a part of the config; `text` says what that part is."""

  name: str
  text: str


class Knob(NamedTuple):
  """A knob, with all that is known of it.

  Attributes:
    key: dotted, as 'norm.momentum'.
    default: what it is unless a config says otherwise.
    rule: what it may be.
    comment: what it means.
    needs: conditions on other knobs. All must hold where it differs from its
      default, or it would have no effect; the first one that fails is told.
    shown_by: '', or what else shows whether it has one, a word of `SHOWN_BY`.
    before: with what a run opens that was made before the knob was there, so
      that it goes on as it began; None for the knobs of the first format.
  """

  key: str
  default: Any
  rule: Rule
  comment: str
  needs: tuple[Condition, ...] = ()
  shown_by: str = ''
  before: Any = None
