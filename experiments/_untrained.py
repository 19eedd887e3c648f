"""What experiments that train nothing share: their flags."""

import argparse
from collections.abc import Mapping
from typing import Any

from experiments import _scale, _study


def parser(
  name: str,
  text: str,
  *,
  dry_run: str,
  seeds: int = 3,
  output: str = '',
  ci: Mapping[str, Any] | None = None,
  paper: Mapping[str, Any] | None = None,
) -> argparse.ArgumentParser:
  """Returns the flags of an experiment that trains nothing.

  Args:
    name: of the experiment.
    text: its header.
    dry_run: what a dry run is.
    seeds: default of --seeds.
    output: default of --output, instead of the name.
    ci: {flag: value} of a trial, which else has one seed.
    paper: the same of the published scale, if there is one.
  """
  result = _scale.Parser(name, text, _scale.trial(None, ci or {}), paper)
  result.add_argument('--seeds', type=_study.at_least_one, default=seeds)
  result.add_argument(
    '--output',
    type=_study.picture,
    default=output or name,
    help=f'path of the picture without its ending; default {output or name}',
  )
  result.add_argument('--dry_run', action='store_true', help=dry_run)
  return result
