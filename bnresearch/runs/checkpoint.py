"""Checkpoints: the latest few and the best, each proven whole.

Each has the state and its `meta`: step, versions, the config's digest, how
statistics were made, and a digest of all bytes, which proves that what is
restored is what was saved.
"""

import itertools
import logging
import pathlib
import shutil
from collections.abc import Callable
from typing import Any, TypeVar

import flax
import jax
import numpy as np

from bnresearch.runs import disk, logbook
from bnresearch.terminal import UserError
from bnresearch.training.state import State, differences, digest, nested

_T = TypeVar('_T')

# What a kill leaves of a checkpoint that was being written or deleted.
_LEFT_OVER = ('*.orbax-checkpoint-tmp*', '*.deleted')


class RestoreError(UserError, RuntimeError):
  """A checkpoint cannot be restored; the message says why and what is left."""


class Damaged(RestoreError):
  """A checkpoint is not what was saved."""


class Checkpoints:
  """The checkpoints of one run directory."""

  def __init__(self, folder: pathlib.Path, keep: int | None):
    """Opens a folder.

    Args:
      folder: made if it is absent.
      keep: how many of the latest to keep, besides the best; None opens the
        folder for reading only, and changes nothing in it.

    Raises:
      run_directory.Refused: no checkpoint can be kept under such a path.
    """
    disk.check_path(folder)
    self._folder, self._keep = folder.absolute(), keep
    self._disk = disk.Disk()
    # (step, digest) of what is being written, and of what was begun last.
    self._begun = self._saved = None
    self._told: set[int] = set()  # steps that were reported as damaged
    if keep is not None:
      self._folder.mkdir(parents=True, exist_ok=True)
      self._clean()

  @property
  def steps(self) -> list[int]:
    """The steps of the checkpoints that are whole, ascending."""
    return list(self._metas())

  def save(
    self, state: State, metrics: dict[str, float] | None, meta: dict[str, Any]
  ) -> None:
    """Begins to save; training goes on while the disk is written.

    Args:
      state: it may be donated afterwards: a copy is saved.
      metrics: at this step, on the split that chooses the best; None if it
        was not evaluated.
      meta: what to note beside it, ready for JSON.

    Raises:
      disk.SaveError: it, or the one before, cannot be written.
    """
    step, state = int(state.step), jax.tree.map(np.array, state)
    own = digest(state)
    before = self._metas().get(step)
    if before and before['digest'] == own:
      return
    if before:  # statistics of other parameters
      self._delete(step)
    if metrics is not None:
      metrics = {name: logbook.plain(value) for name, value in metrics.items()}
    self._saved = None
    self._disk.begin(
      self._folder / str(step),
      nested(state),
      {**meta, 'step': step, 'metrics': metrics, 'digest': own},
    )
    self._begun = self._saved = step, own

  def restore(self, template: State, which: str | int = 'latest') -> State:
    """Returns a saved state.

    Args:
      template: a state of the same tree, shapes and dtypes.
      which: 'latest', 'best' (highest accuracy), or a step. The first two pass
        over damaged checkpoints, with a warning.

    Raises:
      RestoreError: there is no such checkpoint, it is damaged, or it has
        another tree; names every leaf that differs.
    """

    def read(step):
      try:
        saved = self._disk.shapes(self._folder / str(step))
      except Exception as error:
        raise self._damaged(step, error) from error
      _compare(saved, nested(template), step)
      restored = self._read(step, nested(template))
      restored.setdefault('average', {})
      return flax.serialization.from_state_dict(template, restored)

    return self._first_whole(which, read)

  def restore_variables(self, which: str | int = 'latest') -> dict[str, Any]:
    """Returns the network's variables in a saved state, whatever its tree.

    They are the parameters, as 'params', and each collection by its name.

    Raises:
      RestoreError: there is no such checkpoint, or it is damaged.
    """
    saved = self._first_whole(which, self._read)
    return {'params': saved['params'], **saved['collections']}

  def restore_newest_whole(self, template: State) -> State | None:
    """Returns the newest state that is whole; None if there is none.

    A damaged checkpoint is set aside, with a warning: training makes it again.
    """
    while self.steps:
      step = self.steps[-1]
      try:
        return self.restore(template, step)
      except Damaged as error:
        self._set_aside(step, error)
    return None

  def meta(self, step: int) -> dict[str, Any]:
    """Returns what was noted beside the checkpoint at `step`."""
    self._wait()
    try:
      return disk.read_meta(self._folder / str(step))
    except Exception as error:
      raise self._damaged(step, error) from error

  def close(self) -> None:
    """Waits until everything is on disk, and reads the last one back.

    Raises:
      disk.SaveError: the last one cannot be written.
      RestoreError: what was saved last is not what is there.
    """
    try:
      self._wait()
      if self._saved:
        step, saved = self._saved
        self._read(step)
        if self.meta(step)['digest'] != saved:
          raise self._damaged(step, 'it is another one than was saved')
    finally:
      self._disk.close()

  def _metas(self) -> dict[int, dict[str, Any]]:
    """Returns {step: meta} of what can be read, ascending; warns of the rest.

    Damaged arrays are not noticed here.
    """
    self._wait()
    metas = {}
    for step in self._on_disk():
      try:
        metas[step] = self.meta(step)
      except Damaged as error:
        if step not in self._told:
          logging.warning('%s It is passed over.', error)
          self._told.add(step)
    return metas

  def _on_disk(self):
    """Returns the steps of all checkpoints, whole or not, ascending."""
    names = [f.name for f in self._folder.glob('*') if f.is_dir()]
    return sorted(int(name) for name in names if name.isdecimal())

  def _first_whole(self, which: str | int, read: Callable[[int], _T]) -> _T:
    """Returns what `read` makes of the first step that is whole."""
    steps = self._wanted(which)
    for step, following in itertools.pairwise(steps):
      try:
        return read(step)
      except Damaged as error:
        logging.warning('%s Step %d is taken instead.', error, following)
    return read(steps[-1])

  def _wanted(self, which):
    """Returns the steps that `which` may mean, the first choice first."""
    metas = self._metas()
    if which not in ('latest', 'best'):
      step = int(which) if str(which).isdecimal() else None
      if step in self._on_disk():
        return [step]
    if not metas:
      held = ', '.join(map(str, self._on_disk()))
      what = (
        f'whole checkpoint; damaged are {held}' if held else 'checkpoint yet'
      )
      raise RestoreError(f'{self._folder} holds no {what}.')
    if which == 'latest':
      return [*reversed(metas)]
    if which == 'best':
      return _by_accuracy(metas) or [*reversed(metas)]
    raise RestoreError(
      f'{self._folder} holds no checkpoint of step {which}. It holds '
      f'{", ".join(map(str, metas))}; or say latest or best.'
    )

  def _read(self, step, template=None):
    """Returns the tree of a checkpoint, if it is what was saved."""
    noted = self.meta(step)['digest']
    try:
      tree = self._disk.read(self._folder / str(step), template)
    except Exception as error:
      raise self._damaged(step, error) from error
    if digest(tree) != noted:
      raise self._damaged(step, 'its digest is another one')
    return tree

  def _damaged(self, step, why):
    if disk.is_of_the_machine(why):
      raise why
    return Damaged(
      f'The checkpoint {self._folder / str(step)} is damaged '
      f'({disk.in_short(why)}). There are steps '
      f'{", ".join(map(str, self._on_disk()))}.'
    )

  def _wait(self):
    """Waits for what is being written; deletes only then what is not kept."""
    if not self._begun:
      return
    saved, self._begun, self._saved = self._saved, None, None
    self._disk.wait()
    self._saved = saved
    metas = self._metas()
    keep = {*list(metas)[-self._keep :], *_by_accuracy(metas)[:1]}
    for step in metas.keys() - keep:
      self._delete(step)

  def _delete(self, step):
    """Takes the name away first: a kill leaves nothing that looks whole."""
    folder = self._folder / str(step)
    shutil.rmtree(folder.rename(folder.with_suffix('.deleted')))

  def _set_aside(self, step, why):
    folder = self._folder / str(step)
    aside = folder.with_suffix('.damaged')
    logging.warning('%s It is now %s.', why, aside.name)
    if aside.exists():  # from an earlier time
      shutil.rmtree(aside)
    folder.rename(aside)

  def _clean(self):
    """Removes what a kill left, and sets aside what is not whole."""
    for pattern in _LEFT_OVER:
      for left in self._folder.glob(pattern):
        shutil.rmtree(left)
    for step in self._on_disk():
      try:
        self.meta(step)
      except Damaged as error:
        self._set_aside(step, error)


def _by_accuracy(metas):
  """Returns the steps that were evaluated, the best one first."""
  found = {
    step: float(meta['metrics']['accuracy'])
    for step, meta in metas.items()
    if meta['metrics']
  }
  steps = list(found)
  return [steps[k] for k in logbook.ranked([found[step] for step in steps])]


def _compare(saved, wanted, step):
  """Raises RestoreError with every leaf that differs between two trees."""
  if different := differences(saved, wanted):
    title = f'The checkpoint of step {step} has another tree:'
    raise RestoreError('\n  '.join([title, *different]))
