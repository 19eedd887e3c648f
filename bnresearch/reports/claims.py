"""Claims of a paper beside what was measured, with a verdict for each."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bnresearch import paths


@dataclasses.dataclass(frozen=True)
class Claim:
  """A published claim, and what this code measured.

  Attributes:
    setting: under which assumption, such as an initialization.
    claim: what is claimed, in few words.
    published: the paper's number or words.
    measured: ours, with spread over seeds.
    holds: for each seed, or round, whether the claim holds.
  """

  setting: str
  claim: str
  published: str
  measured: str
  holds: tuple[bool, ...]

  @property
  def verdict(self) -> str:
    """'reproduced', 'not reproduced', or in how many of the seeds."""
    if not self.holds:
      return 'not tested'
    if all(self.holds):
      return 'reproduced'
    if not any(self.holds):
      return 'not reproduced'
    return f'{sum(self.holds)} of {len(self.holds)} times'


def text(claims: Sequence[Claim]) -> str:
  """Returns the claims as lines for a terminal: verdict, then numbers."""
  lines, setting = [], None
  for c in claims:
    if c.setting != setting:
      setting = c.setting
      lines.append(f'{setting}:')
    lines += [
      f'  {c.claim}: {c.verdict.upper()}',
      f'    published: {c.published}',
      f'    measured:  {c.measured}',
    ]
  return '\n'.join(lines)


def write(file: Path, claims: Sequence[Claim], **notes: Any) -> None:
  """Writes the claims and notes (device, seeds, ...) as JSON."""
  rows = [
    {**dataclasses.asdict(claim), 'verdict': claim.verdict} for claim in claims
  ]
  paths.made(file).write_text(
    json.dumps({**notes, 'claims': rows}, indent=2) + '\n'
  )
