"""What a user should know of points before they run, in a line each."""

import collections
from collections.abc import Sequence

from bnresearch import build, conventions, knobs
from bnresearch.knobs.tree import leaves
from bnresearch.sweeps.points import Point
from bnresearch.terminal import Console


def tell(points: Sequence[Point], console: Console) -> None:
  """Says what the norms of points mean, and which knobs some have in vain."""
  lines, in_vain = {}, collections.Counter()  # a set that keeps the order
  for config in (point.config for point in points):
    options = build.norm_options(config)
    header = conventions.header(config.norm, config.train.steps, options)
    # That two steps are too few for a running average is no news.
    lines |= dict.fromkeys(header[:1] if config.dry_run else header)
    if not config.dry_run:  # which has values of its own
      values = leaves(config)
      here = knobs.without_effect(config)
      in_vain.update(f'{key} = {values[key]!r}' for key in here)
  lines |= dict.fromkeys(
    f'{knob}: without effect at {count} of {len(points)} points.'
    for knob, count in in_vain.items()
  )
  for line in lines:
    console.print(line, soft_wrap=True)
