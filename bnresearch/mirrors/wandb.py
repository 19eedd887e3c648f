"""W&B: a run of the same name, in the project of WANDB_PROJECT or 'bnresearch'.

The runs of a sweep form a group. W&B's environment variables apply. Without a
login, without a network or with WANDB_MODE=offline, everything is in RUN/wandb,
and `wandb sync` of the newest folder there uploads it.

A continued run stays the same W&B run, by the id in RUN/wandb/id. W&B forgets
no row, so the rows that it has seen stay as they were; those written again are
the same up to rounding.
"""

import logging
import os
import pathlib
import uuid
from collections.abc import Mapping
from typing import Any

import numpy as np

from bnresearch.mirrors import Row

PACKAGE = 'wandb'
_SECONDS = 30  # longest wait for a network, at each end of a run


class Mirror:
  """Hands rows to W&B's own process, which does not wait for the network."""

  def __init__(
    self, path: pathlib.Path, values: Mapping[str, Any], *, fresh: bool
  ):
    import wandb

    self._wandb = wandb
    self._run = _begun(wandb, path, values, _identity(path, fresh=fresh))
    self._from = self._run.step  # the first step that W&B has not seen

  def write(self, row: Row) -> None:
    """Hands over a row, unless W&B has it from an earlier session."""
    if row.step < self._from:
      return
    histograms = {
      name: self._wandb.Histogram(values_C[np.isfinite(values_C)])
      for name, values_C in row.channels.items()
      if np.isfinite(values_C).any()
    }
    for name, histogram in row.histograms.items():
      pair = tuple(histogram)
      histograms[name] = self._wandb.Histogram(np_histogram=pair)
    self._run.log({**row.scalars, **histograms}, step=row.step)

  def close(self) -> None:
    """Waits for the upload, for `_SECONDS` at most."""
    self._run.finish()


def _identity(path, *, fresh):
  """Returns the run's id at W&B, a new one for a new run."""
  file = path / 'wandb' / 'id'
  if fresh or not file.exists():
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(uuid.uuid4().hex)
  return file.read_text()


def _begun(wandb, path, values, identity):
  """Returns the W&B run, kept on this machine if W&B cannot be reached."""

  def begin(mode):
    # Silent, it does not ask for a login: points may train in many processes.
    wandb.setup(wandb.Settings(silent=True))
    return wandb.init(
      id=identity,
      resume='allow',
      mode=mode,
      project=os.environ.get('WANDB_PROJECT') or 'bnresearch',
      name=path.name,
      group=path.absolute().parent.name,
      dir=path,
      config=dict(values),
      reinit='create_new',  # others may be open: members of one program
      settings=wandb.Settings(
        console='off',
        silent=True,
        init_timeout=_SECONDS,
        finish_timeout=_SECONDS,
      ),
    )

  try:
    return begin(os.environ.get('WANDB_MODE'))
  except wandb.errors.Error as error:
    logging.warning(
      'W&B: %s The run goes on, and is kept in %s: `wandb sync` uploads it.',
      error,
      path / 'wandb',
    )
    wandb.teardown()  # its process still tries to reach W&B
    # Spares the other runs of this process the same wait.
    os.environ['WANDB_MODE'] = 'offline'
    return begin('offline')
