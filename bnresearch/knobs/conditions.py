"""Conditions under which a knob has an effect, from which their refusals come.

Most say that what a config has chosen, such as its norm, has an option of the
knob's name: which options that has, its class or function tells by itself.
"""

import dataclasses
import inspect
from collections.abc import Callable, Collection, Iterable
from typing import Any, NamedTuple

from bnresearch import lookup, models
from bnresearch.knobs.optimizers import OPTIONS

Values = dict[str, Any]  # {dotted key: value} of a config, complete


class Condition(NamedTuple):
  """What a knob needs of a config's other values.

  `obstacle(key, values)` says why the knob has no effect, '' if it has one;
  `remedy(key, values)` what else to set.
  """

  obstacle: Callable[[str, Values], str]
  remedy: Callable[[str, Values], str] = lambda key, values: ''


# Which options an entry of a room has, by name.


def of_a_norm(name: str) -> set[str]:
  """Returns the options of a normalizer."""
  return _fields(lookup.find('norms', name).Norm)


def _of_a_model(name: str) -> set[str]:
  return _fields(lookup.find('models', name).Model)


def _of_a_data_set(name: str) -> set[str]:
  entry = lookup.find('data', name)
  return _parameters(entry.spec) | _parameters(entry.load)


def _of_a_probe(name: str) -> set[str]:
  return _parameters(lookup.find('probes', name).measure)


def _fields(cls):
  return {field.name for field in dataclasses.fields(cls)}


def _parameters(function):
  return {*inspect.signature(function).parameters}


class _Room(NamedTuple):
  """Whose options a group of knobs has: entries that a config chooses."""

  chooser: str  # the knob that names them
  used: Callable[[Values], Iterable[str]]
  there_are: Callable[[], Iterable[str]]
  options: Callable[[str], Collection[str]]


def norms(values: Values) -> list[str]:
  """Returns the norms in use, that of the network in general first."""
  sites = (site.rpartition('=')[2] for site in values['norm.sites'])
  return [values['norm.name'], *sites]


ROOMS = {
  'data': _Room(
    'data.name',
    lambda values: [values['data.name']],
    lambda: lookup.names('data'),
    _of_a_data_set,
  ),
  'model': _Room(
    'model.name',
    lambda values: [values['model.name']],
    lambda: lookup.names('models'),
    _of_a_model,
  ),
  'norm': _Room('norm.name', norms, lambda: lookup.names('norms'), of_a_norm),
  'optim': _Room(
    'optim.name',
    lambda values: [values['optim.name']],
    lambda: OPTIONS,
    OPTIONS.__getitem__,
  ),
  'probes': _Room(
    'probes.names',
    lambda values: values['probes.names'],
    lambda: lookup.names('probes'),
    _of_a_probe,
  ),
}


def _option_of(room: str, named: str = '', words: str = '') -> Condition:
  """Needs an entry with an option of the knob's name, or one `named` so.

  `words` say what it is that the entry does not have then.
  """
  of = ROOMS[room]

  def obstacle(key, values):
    option = named or key.partition('.')[2]
    if any(option in of.options(name) for name in of.used(values)):
      return ''
    what = words or 'no such option'
    return f'{of.chooser} = {values[of.chooser]!r} has {what}'

  def remedy(key, values):
    option = named or key.partition('.')[2]
    names = [name for name in of.there_are() if option in of.options(name)]
    return f'choose another {of.chooser}: {", ".join(names)}'

  return Condition(obstacle, remedy)


# Conditions on other knobs.


def knob(needed: str, *wanted: Any) -> Condition:
  """Needs one of the values, or without any, that a knob is not 0 or empty."""

  def obstacle(key, values):
    value = values[needed]
    met = value in wanted if wanted else bool(value)
    return '' if met else f'without effect, as {needed} is {value!r}'

  def remedy(key, values):
    choices = ' or '.join(map(repr, wanted))
    return f'set {needed} = {choices}' if wanted else f'set {needed}'

  return Condition(obstacle, remedy)


def says(holds: Callable[[Values], bool], why: str, remedy: str) -> Condition:
  """Needs what `holds` says; `why` may have values in it: {optim__name!r}."""

  def obstacle(key, values):
    named = {key.replace('.', '__'): value for key, value in values.items()}
    return '' if holds(values) else why.format(**named)

  return Condition(obstacle, lambda key, values: remedy)


def _follow(key, values):
  """Returns why no running statistics follow a knob; frozen ones do not."""
  option = key.partition('.')[2]
  of_it = [n for n in norms(values) if option in of_a_norm(n)]
  frozen = values['norm.frozen_statistics']
  if frozen and all('frozen_statistics' in of_a_norm(n) for n in of_it):
    return 'without effect, as norm.frozen_statistics is True'
  return ''


def _splits(key, values):
  """Returns why no split is drawn; what is held out, is held out of any set."""
  return '' if values['data.held_out'] else DATA.obstacle(key, values)


def _model(values):
  return lookup.find('models', values['model.name']).Model


MODEL, NORM, DATA = (_option_of(room) for room in ('model', 'norm', 'data'))
SPLIT = Condition(_splits, lambda key, values: 'set data.held_out')
OPTIMIZER, PROBE = _option_of('optim'), _option_of('probes')
NORM_OF_BATCHES = _option_of('norm', 'momentum', 'no running statistics')
OWN_SIZES = _option_of(
  'data', 'image_size', 'no images with sizes of their own'
)
SCALED = _option_of('norm', 'initial_scale', 'no scale')
NOT_FROZEN = Condition(_follow)
PROBED = knob('probes.names')
SCALE = knob('norm.use_scale', True)
PHOTOMETRIC = knob('augment.photometric')
FOUR = knob('augment.photometric_mode', 'four')
RESIZED = knob('augment.crop', 'resized')
DECAYS = knob('optim.schedule', 'exponential', 'step')
HEADS = knob('model.auxiliary_heads', True)
AFFINE = says(
  lambda v: v['norm.use_scale'] or v['norm.use_bias'],
  'without effect, as norm.use_scale and norm.use_bias are False',
  'set one of them',
)
CONVOLVES = says(
  lambda v: models.convolves(_model(v)),
  'model.name = {model__name!r} has no convolutions',
  'choose another model.name',
)
GAMMA = says(
  lambda v: 'recurrent_scale' not in _of_a_model(v['model.name']),
  'model.name = {model__name!r} has model.recurrent_scale instead',
  'set that',
)
NARROW = says(
  lambda v: v['model.width'] < 1,
  'without effect, as model.width is {model__width}',
  'set model.width below 1',
)
ENDS_A_BRANCH = says(
  lambda v: v['model.version'] != 'v2',
  "no norm ends a branch of model.version = 'v2'",
  'choose another model.version',
)
STEPS_DOWN = says(
  lambda v: (
    v['optim.schedule'] != 'step'
    or v['optim.warmup_steps'] + v['optim.decay_steps'] < v['train.steps']
  ),
  'the run of train.steps = {train__steps} ends before the rate steps down, '
  'after optim.decay_steps = {optim__decay_steps}',
  'make these fewer',
)
