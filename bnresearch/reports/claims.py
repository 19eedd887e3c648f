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
    setting: the assumption, such as an initialization.
    claim: what is claimed, in few words.
    published: the paper's number or words.
    measured: ours, with the deviation over seeds.
    holds: for each seed, or round, whether the claim holds.
  """

  setting: str
  claim: str
  published: str
  measured: str
  holds: tuple[bool, ...]

  @property
  def verdict(self) -> str:
    """See `verdict`."""
    return verdict(self.holds)


def verdict(holds: Sequence[bool]) -> str:
  """Returns 'reproduced', 'not reproduced', or '2 of 3 times'.

  It says so if something was tried only once.
  """
  if not holds:
    return 'not tested'
  once = ', tried once' if len(holds) == 1 else ''
  if all(holds):
    return f'reproduced{once}'
  if not any(holds):
    return f'not reproduced{once}'
  return f'{sum(holds)} of {len(holds)} times'


def told(holds: Sequence[bool]) -> str:
  """Returns the verdict, and how many seeds or rounds it comes from."""
  if len(set(holds)) == 1 < len(holds):
    return f'{verdict(holds)}, {sum(holds)} of {len(holds)} times'
  return verdict(holds)


def text(claims: Sequence[Claim]) -> str:
  """Returns the claims as lines for a terminal: verdict, then numbers."""
  lines, setting = [], None
  for c in claims:
    if c.setting != setting:
      setting = c.setting
      lines.append(f'{setting}:')
    lines += [
      f'  {c.claim}: {told(c.holds).upper()}',
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
