"""Scales of a study, by --scale: a trial, what is committed, as published.

A scale is other defaults of the study's flags; a flag that is given wins. `ci`
tries all of a study in seconds, with one seed, fewer steps and the digits: its
verdicts are no evidence, and every result and page says so.
"""

import argparse
import math
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

CI, SMALL, PAPER = SCALES = 'ci', 'small', 'paper'
MEANING = {
  CI: 'A trial of the code: one seed, few steps, small data. No evidence.',
  SMALL: 'What the committed results use.',
  PAPER: 'As published.',
}
# A trial has a 20th of the steps, and at least 200; hundreds, as of the logs.
_LEAST, _PART, _ROUND = 200, 20, 100


def results(scale: str) -> pathlib.Path:
  """Returns the folder of a scale's results; never that of committed ones."""
  return pathlib.Path('runs', scale, 'results')


def trial(steps: int | None, given: Mapping[str, Any]) -> dict[str, Any]:
  """Returns the defaults of a trial's flags.

  Args:
    steps: of the study; None if it has no --steps and no --data.
    given: what the study wants otherwise.
  """
  found: dict[str, Any] = {'seeds': 1}
  if steps:
    few = max(_LEAST, math.ceil(steps / _PART / _ROUND) * _ROUND)
    found |= {'data': 'digits', 'steps': min(steps, few)}
  return found | given


class Parser(argparse.ArgumentParser):
  """The flags of a study, whose defaults follow --scale."""

  def __init__(
    self,
    name: str,
    text: str,
    ci: Mapping[str, Any],
    paper: Mapping[str, Any] | None = None,
  ):
    """Adds --scale.

    Args:
      name: of the study.
      text: its header.
      ci: {flag: value} of a trial.
      paper: the same of the published scale; None if there is none, which is so
        unless the header says 'as published:'.
    """
    super().__init__(
      prog=f'python -m experiments.{name}',
      description=text,
      formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    if paper is None and re.search(r'^Scale: +as published:', text, re.M):
      paper = {}
    self._name, self._text = name, text
    self._of_scale = {CI: ci, SMALL: {}, PAPER: paper}
    self.add_argument(
      '--scale',
      choices=SCALES,
      default=SMALL,
      help='small: the default; paper: as published, if there is such a scale; '
      f'ci: a trial in seconds, which is no evidence, in {results(CI)}',
    )

  def parse_args(
    self, args: Sequence[str] | None = None, namespace: Any = None
  ) -> Any:
    """Reads the flags; those that are not given are the scale's."""
    first = super().parse_args(args)
    values = self._of_scale[first.scale]
    if values is None:
      told = re.search(r'^Scale: +(.*(?:\n .*)*)', self._text, re.M)
      own = ' '.join(told[1].split()) if told else 'none told'
      self.error(
        f'--scale=paper: {self._name} has no paper scale. Leave it out. What '
        f'it runs is: {own}'
      )
    if first.scale == CI and getattr(first, 'dry_run', False):
      self.error(
        '--scale=ci has no effect with --dry_run, which is smaller still. '
        'Leave out one of them.'
      )
    namespace = namespace or argparse.Namespace()
    if first.scale != SMALL:
      namespace.output = results(first.scale) / self._name
    # What a namespace has already is not set to a flag's default.
    vars(namespace).update(values)
    return super().parse_args(args, namespace)
