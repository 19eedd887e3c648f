"""What a user should know about points before they run, one line each."""

import collections
from collections.abc import Mapping

from bnresearch import knobs
from bnresearch.assembly import Parts
from bnresearch.machine import devices
from bnresearch.terminal import Console


def tell(parts: Mapping[str, Parts], console: Console) -> None:
  """Says what the points' norms mean, and which knobs are without effect."""
  lines, in_vain = {}, collections.Counter()  # a set that keeps the order
  for each in parts.values():
    config, header = each.config, each.network.conventions
    # That two steps are too few for a running average is no news.
    lines |= dict.fromkeys(header[:1] if config.dry_run else header)
    if not config.dry_run:  # a dry run has values of its own
      values = knobs.leaves(config)
      here = knobs.without_effect(config)
      in_vain.update(f'{key} = {values[key]!r}' for key in here)
  lines |= dict.fromkeys(
    f'{knob}: without effect at {count} of {len(parts)} points.'
    for knob, count in in_vain.items()
  )
  for line in lines:
    console.print(line, soft_wrap=True)


def tell_where(processes: int, console: Console) -> None:
  """Says which devices train, and warns of an accelerator that does not.

  Args:
    processes: runs at a time, each in its own process.
    console: where it is printed.
  """
  together = f', {processes} runs at a time' if processes > 1 else ''
  console.print(f'On {devices.described()}{together}.')
  if warning := devices.unused():
    console.print(warning, soft_wrap=True)
