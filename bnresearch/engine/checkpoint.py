"""Checkpoints by Orbax: the latest few and the best, each proven whole.

With the state goes `meta`: step, versions, the config's digest, how statistics
were made, and a digest of all bytes: what is restored is what was saved.
"""

import errno
import hashlib
import json
import logging
import pathlib
import shutil
from typing import Any

import flax
import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import preservation_policy

from bnresearch.engine.state import State
from bnresearch.terminal import UserError

# What says nothing of a checkpoint: too many files or too little memory, no
# right to read, a disk that does not answer.
_OF_THE_MACHINE = (
  errno.EMFILE,
  errno.ENFILE,
  errno.ENOMEM,
  errno.EACCES,
  errno.EIO,
  errno.ESTALE,
)
_NEVER_BEST = -1.0  # accuracy of a checkpoint that was not evaluated


class RestoreError(UserError, RuntimeError):
  """A checkpoint cannot be restored; the message says why and what is left."""


class Damaged(RestoreError):
  """A checkpoint is not what was saved."""


class Checkpoints:
  """The checkpoints of one run directory."""

  def __init__(self, folder: pathlib.Path, keep: int | None):
    """Opens a folder.

    Args:
      folder: made if need be.
      keep: how many of the latest to hold, and the best besides; None opens
        the folder for reading only, and changes nothing in it.
    """
    self._folder = folder.absolute()
    alone = _alone()
    if keep is None:
      options = ocp.CheckpointManagerOptions(
        create=False, multiprocessing_options=alone
      )
    else:
      self._folder.mkdir(parents=True, exist_ok=True)
      self._set_unreadable_aside()
      latest = preservation_policy.LatestN(keep)
      best = preservation_policy.BestN(get_metric_fn=_accuracy, n=1)
      options = ocp.CheckpointManagerOptions(
        create=False,
        best_fn=_accuracy,
        preservation_policy=preservation_policy.AnyPreservationPolicy(
          [latest, best]
        ),
        multiprocessing_options=alone,
      )
    self._manager = ocp.CheckpointManager(
      self._folder,
      options=options,
      item_handlers={
        'state': ocp.StandardCheckpointHandler(multiprocessing_options=alone),
        'meta': ocp.JsonCheckpointHandler(multiprocessing_options=alone),
      },
    )

  @property
  def steps(self) -> list[int]:
    """The steps of the checkpoints, ascending."""
    return sorted(self._manager.all_steps())

  def save(
    self, state: State, metrics: dict[str, float] | None, meta: dict[str, Any]
  ) -> None:
    """Begins to save; the disk is written while training goes on.

    Args:
      state: it may be donated afterwards: a copy is saved.
      metrics: of the test split at this step, for which is the best; None
        where it was not evaluated.
      meta: what to note beside it, ready for JSON.
    """
    step = int(state.step)
    state = jax.tree.map(np.array, state)
    self._manager.save(
      step,
      args=ocp.args.Composite(
        state=ocp.args.StandardSave(_tree(state)),
        meta=ocp.args.JsonSave(
          {**meta, 'step': step, 'metrics': metrics, 'digest': digest(state)}
        ),
      ),
      metrics=metrics or {'accuracy': _NEVER_BEST},
      force=step not in self.steps,  # also one that is older than others
    )

  def restore(self, template: State, which: str | int = 'latest') -> State:
    """Returns a saved state.

    Args:
      template: a state of the same tree, shapes and dtypes.
      which: 'latest', 'best' (highest test accuracy), or a step.

    Raises:
      RestoreError: there is no such checkpoint, it is damaged, or its tree is
        another one; names every leaf that differs.
    """
    step = self._step(which)
    try:
      meta = self.meta(step)
      saved = self._manager.item_metadata(step)['state'].tree
    except Exception as error:
      raise self._damaged(step, error) from error
    _compare(saved, _tree(template), step)
    try:
      restored = self._manager.restore(
        step,
        args=ocp.args.Composite(
          state=ocp.args.StandardRestore(_tree(template))
        ),
      )['state']
    except Exception as error:
      raise self._damaged(step, error) from error
    restored.setdefault('average', {})
    state = flax.serialization.from_state_dict(template, restored)
    if digest(state) != meta['digest']:
      raise self._damaged(step, 'its digest is another one')
    return state

  def restore_variables(self, which: str | int = 'latest') -> dict[str, Any]:
    """Returns what a network has of a saved state, whatever its tree.

    Its parameters, as 'params', and each collection by its name.

    Raises:
      RestoreError: there is no such checkpoint, or it is damaged.
    """
    step = self._step(which)
    try:
      saved = self._manager.restore(
        step, args=ocp.args.Composite(state=ocp.args.StandardRestore())
      )['state']
    except Exception as error:
      raise self._damaged(step, error) from error
    if digest(saved) != self.meta(step)['digest']:
      raise self._damaged(step, 'its digest is another one')
    return {'params': saved['params'], **saved['collections']}

  def restore_newest_whole(self, template: State, logged: int) -> State | None:
    """Returns the newest state that is whole; None if there is none.

    A damaged checkpoint is set aside, with a warning: training makes it again.
    So is one that was saved when the logbook had more than `logged` bytes.
    """
    while self.steps:
      step = self.steps[-1]
      try:
        restored = self.restore(template, step)
        if self.meta(step).get('logbook_size', 0) > logged:
          raise self._damaged(step, 'the logbook has lost rows before it')
        return restored
      except Damaged as error:
        self._set_aside(step, error)
        self._manager.reload()
    return None

  def meta(self, step: int) -> dict[str, Any]:
    """Returns what was noted beside the checkpoint at `step`."""
    args = ocp.args.Composite(meta=ocp.args.JsonRestore())
    return self._manager.restore(step, args=args)['meta']

  def close(self) -> None:
    """Waits until everything is on disk."""
    self._manager.wait_until_finished()
    self._manager.close()

  def _step(self, which):
    steps = self.steps
    if not steps:
      raise RestoreError(f'{self._folder} holds no checkpoint yet.')
    if which == 'latest':
      return steps[-1]
    if which == 'best':
      metrics = {s: self.meta(s)['metrics'] for s in steps}
      evaluated = [s for s in steps if metrics[s]] or steps[-1:]
      return max(evaluated, key=lambda s: (_accuracy(metrics[s] or {}), s))
    if not str(which).isdecimal() or int(which) not in steps:
      raise RestoreError(
        f'{self._folder} holds no checkpoint of step {which}. It holds '
        f'{", ".join(map(str, steps))}; or say latest or best.'
      )
    return int(which)

  def _damaged(self, step, why):
    if isinstance(why, MemoryError) or (
      isinstance(why, OSError) and why.errno in _OF_THE_MACHINE
    ):
      raise why
    return Damaged(
      f'The checkpoint {self._folder / str(step)} is damaged '
      f'({str(why).splitlines()[0]}). There are steps '
      f'{", ".join(map(str, self.steps))}.'
    )

  def _set_aside(self, step, why):
    folder = self._folder / str(step)
    aside = folder.with_suffix('.damaged')
    logging.warning('%s It is now %s.', why, aside.name)
    if aside.exists():  # of an earlier time
      shutil.rmtree(aside)
    folder.rename(aside)

  def _set_unreadable_aside(self):
    """Does so before Orbax, which reads these files first, fails on them."""
    for file in sorted(self._folder.glob('*/metrics/metrics')):
      if not file.parents[1].name.isdecimal():
        continue  # set aside already
      try:
        json.loads(file.read_text())
      except ValueError as error:
        folder = file.parents[1]
        why = f'The checkpoint {folder} is damaged ({file.name}: {error}).'
        self._set_aside(folder.name, why)


def _alone():
  """Returns the options by which Orbax waits for no other host.

  A state is whole on each of them: the first one saves, all restore.
  """
  me = jax.process_index()
  if jax.process_count() == 1:
    return ocp.options.MultiprocessingOptions()
  return ocp.options.MultiprocessingOptions(
    primary_host=me,
    active_processes={me},
    barrier_sync_key_prefix=f'host_{me}',
  )


def _accuracy(metrics):
  return metrics.get('accuracy', _NEVER_BEST)


def digest(state: State) -> str:
  """Returns a hash of every byte of a state, by the path of its leaves."""
  hashed = hashlib.blake2b(digest_size=16)
  for path, leaf in jax.tree_util.tree_leaves_with_path(_tree(state)):
    hashed.update(jax.tree_util.keystr(path).encode())
    hashed.update(np.ascontiguousarray(leaf).tobytes())
  return hashed.hexdigest()


def _tree(state):
  """Returns a state as nested dicts, the form in which it is on disk."""
  tree = flax.serialization.to_state_dict(state)
  if not tree.get('average', True):  # as before there were averages
    del tree['average']
  return tree


def _compare(saved, wanted, step):
  """Raises RestoreError with every leaf that differs between two trees."""
  a, b = (
    {
      jax.tree_util.keystr(path, simple=True, separator='/'): (
        f'{np.dtype(leaf.dtype).name}{list(leaf.shape)}'
      )
      for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }
    for tree in (saved, wanted)
  )
  different = [
    f'{name}: {a.get(name, "absent")} saved, {b.get(name, "absent")} wanted'
    for name in sorted(a.keys() | b.keys())
    if a.get(name) != b.get(name)
  ]
  if different:
    raise RestoreError(
      '\n  '.join(
        [f'The checkpoint of step {step} has another tree:', *different]
      )
    )
