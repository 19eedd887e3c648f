"""Beginning from trained weights instead of random ones: fine-tuning.

The layers in `config.start.exclude`, such as a head for other classes, stay as
the seed made them; all others must be there, in the same shape.
"""

import difflib
import fnmatch
from typing import Any

import flax
import jax
import jax.numpy as jnp

from bnresearch import paths, pretrained
from bnresearch.assembly import Parts
from bnresearch.runs import run_directory
from bnresearch.runs.checkpoint import Checkpoints, RestoreError
from bnresearch.training.state import State


def into(fresh: State, parts: Parts) -> State:
  """Returns a fresh state with the weights of `config.start` in it.

  It takes parameters and statistics; the optimizer's state and the step stay
  fresh.

  Args:
    fresh: from `parts.training.fresh_state`.
    parts: of the run that begins.

  Raises:
    RestoreError: the weights do not fit, or `exclude` fits no layer; names
      every variable.
    FileNotFoundError: there is nothing at `config.start.path`, or no run.
  """
  start = parts.config.start
  path, model = paths.local(start.path), parts.network.model
  check(parts)
  ours = {'params': fresh.params, **fresh.collections}
  wanted = flax.traverse_util.flatten_dict(ours, sep='/')
  if start.source == 'run':
    saved = Checkpoints(path / 'checkpoints', keep=None)
    theirs = saved.restore_variables(start.checkpoint)
    found = flax.traverse_util.flatten_dict(theirs, sep='/')
    excluded = _excluded(wanted.keys() | found.keys(), start.exclude)
  else:
    excluded = _excluded(wanted.keys(), start.exclude)
    try:
      size = parts.data.spec.image_shape[0]
      theirs = pretrained.load(path, start.source, model, size, excluded)
    except ValueError as error:
      raise RestoreError(f'start.path = {str(path)!r}: {error}') from error
    found = flax.traverse_util.flatten_dict(theirs, sep='/')
  _compare(found, wanted, excluded, path)
  if start.source == 'run':
    names = parts.data.spec.class_names
    _compare_classes(path, names, wanted.keys() - excluded)
  taken = {
    name: value if name in excluded else jnp.asarray(found[name], value.dtype)
    for name, value in wanted.items()
  }
  variables = flax.traverse_util.unflatten_dict(taken, sep='/')
  params = variables.pop('params')
  # It starts as a copy of the parameters, because a state is donated.
  average = jax.tree.map(jnp.copy, params) if fresh.average else {}
  return fresh.replace(params=params, collections=variables, average=average)


def check(parts: Parts) -> None:
  """Raises what can be known before anything is read.

  Raises:
    RestoreError: the network's options are not those of `start.source`.
    FileNotFoundError: there is nothing at `config.start.path`.
  """
  start = parts.config.start
  path = paths.local(start.path)
  if not path.exists():
    raise FileNotFoundError(
      f'start.path = {str(path)!r}: there is nothing. It needs a run directory'
      ', or a file of pretrained weights.'
    )
  if start.source == 'run':
    if path.is_file():
      raise FileNotFoundError(
        f'start.path = {str(path)!r}: this is a file. Say whose weights it '
        'has by start.source: keras, timm or torchvision.'
      )
    run_directory.read_config(path)
    return

  def excluded(layer):
    return any(fnmatch.fnmatchcase(layer, p) for p in start.exclude)

  model = parts.network.model
  try:
    pretrained.check(start.source, model, excluded=excluded)
  except (LookupError, ValueError) as error:
    raise RestoreError(f'start.source: {error}') from error


def _excluded(names, patterns) -> set[str]:
  """Returns the variables of the layers whose paths fit a pattern."""
  found = set()
  for pattern in patterns:
    fits = {n for n in names if fnmatch.fnmatchcase(_layer(n), pattern)}
    if not fits:
      known = sorted({_layer(n) for n in names})
      near = difflib.get_close_matches(pattern, known, n=1)
      hint = f' Did you mean {near[0]!r}?' if near else ''
      raise RestoreError(
        f'start.exclude: {pattern!r} fits no layer.{hint} There are '
        f'{", ".join(known)}.'
      )
    found |= fits
  return found


def _compare_classes(path, class_names, taken):
  """Refuses heads for other classes, even if their shapes fit."""
  _, theirs, _ = run_directory.read_data(path)
  heads = sorted({_layer(n) for n in taken if _layer(n).endswith('logits')})
  if heads and theirs != tuple(class_names):
    raise RestoreError(
      f'{path} tells {", ".join(theirs)} apart, this network shall tell '
      f'{", ".join(class_names)}. Leave out its heads by start.exclude, '
      "('*logits',)."
    )


def _layer(name):
  """'params/stem/conv/kernel' is of the layer 'stem/conv'."""
  return name.partition('/')[2].rpartition('/')[0]


def _compare(found: dict[str, Any], wanted, excluded, path):
  def shape(variables, name):
    return list(variables[name].shape) if name in variables else 'absent'

  problems = [
    f'{name}: {shape(found, name)} there, {shape(wanted, name)} here'
    for name in sorted(found.keys() | wanted.keys())
    if name not in excluded and shape(found, name) != shape(wanted, name)
  ]
  if problems:
    title = (
      f'The weights of {path} do not fit this network; layers that shall stay '
      "random, or are not needed, go into start.exclude, such as ('*logits',):"
    )
    raise RestoreError('\n  '.join([title, *problems]))
