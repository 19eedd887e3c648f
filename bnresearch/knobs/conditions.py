"""What a knob needs to have an effect; its refusal follows from that.

Most conditions say that a choice of the config, such as its norm, has an option
of the knob's name. The class or function of that choice says which options it
has. Its file is imported only when a condition is asked: a config takes its
defaults from the table of knobs, and must not import JAX.
"""

import dataclasses
import importlib
import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

from bnresearch import lookup

Values = dict[str, Any]  # {dotted key: value} of a config, complete


class Condition(NamedTuple):
  """What a knob needs of a config's other values.

  `obstacle(key, values)` says why the knob has no effect, '' if it has one;
  `remedy(key, values)` what else to set; `words(key)` what the knob needs.
  """

  obstacle: Callable[[str, Values], str]
  remedy: Callable[[str, Values], str]
  words: Callable[[str], str]


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


def _of_optimizers() -> Mapping[str, Collection[str]]:
  return importlib.import_module('bnresearch.training.optimizer').OPTIONS


def _fields(cls):
  return {field.name for field in dataclasses.fields(cls)}


def _parameters(function):
  return {*inspect.signature(function).parameters}


class _Room(NamedTuple):
  """The room whose entries have a group's knobs as options."""

  chooser: str  # the knob that names the entries in use
  nouns: str  # what entries are called
  folder: str  # of the entries; '' for optimizers
  options: Callable[[str], Collection[str]]

  def there_are(self) -> Collection[str]:
    return lookup.names(self.folder) if self.folder else _of_optimizers()

  def used(self, values: Values) -> Collection[str]:
    if self.folder == 'norms':
      return norms(values)
    chosen = values[self.chooser]
    return chosen if type(chosen) is tuple else (chosen,)


def norms(values: Values) -> list[str]:
  """Returns the norms in use, the general one of the network first."""
  sites = (site.rpartition('=')[2] for site in values['norm.sites'])
  return [values['norm.name'], *sites]


ROOMS = {
  'data': _Room('data.name', 'data sets', 'data', _of_a_data_set),
  'model': _Room('model.name', 'models', 'models', _of_a_model),
  'norm': _Room('norm.name', 'norms', 'norms', of_a_norm),
  'optim': _Room('optim.name', 'optimizers', '', lambda n: _of_optimizers()[n]),
  'probes': _Room('probes.names', 'probes', 'probes', _of_a_probe),
}


def _option_of(room: str, named: str = '', words: str = '') -> Condition:
  """Needs an entry with an option of the knob's name, or else of `named`.

  `words` say what entries with that option have.
  """
  of = ROOMS[room]

  def option(key):
    return named or key.partition('.')[2]

  def having(key):
    return [name for name in of.there_are() if option(key) in of.options(name)]

  def obstacle(key, values):
    if any(option(key) in of.options(name) for name in of.used(values)):
      return ''
    what = words or 'such option'
    return f'{of.chooser} = {values[of.chooser]!r} has no {what}'

  def remedy(key, values):
    return f'choose another {of.chooser}: {", ".join(having(key))}'

  def in_words(key):
    have = having(key)
    lack = [name for name in of.there_are() if name not in have]
    those = f'{of.nouns}: {", ".join(have)}'
    if len(lack) < len(have):
      those = f'all {of.nouns}' + f' but {", ".join(lack)}' * bool(lack)
    return f'needs {words} ({those})' if words else f'is an option of {those}'

  return Condition(obstacle, remedy, in_words)


# Conditions on other knobs.


def setting(needed: str, *wanted: Any) -> Condition:
  """Needs a knob to be one of `wanted`; or, without any, not 0 or empty."""
  choices = ' or '.join(map(repr, wanted))

  def obstacle(key, values):
    value = values[needed]
    met = value in wanted if wanted else bool(value)
    return '' if met else f'without effect, as {needed} is {value!r}'

  def remedy(key, values):
    return f'set {needed} = {choices}' if wanted else f'set {needed}'

  def words(key):
    return f'needs {needed} {f"= {choices}" if wanted else "to be set"}'

  return Condition(obstacle, remedy, words)


def says(
  holds: Callable[[Values], bool], why: str, remedy: str, words: str
) -> Condition:
  """Needs `holds` to be true; `why` may quote values: {optim__name!r}."""

  def obstacle(key, values):
    named = {key.replace('.', '__'): value for key, value in values.items()}
    return '' if holds(values) else why.format(**named)

  return Condition(obstacle, lambda key, values: remedy, lambda key: words)


def _follow(key, values):
  """Returns why no running statistics follow a knob: they are all frozen."""
  option = key.partition('.')[2]
  of_it = [n for n in norms(values) if option in of_a_norm(n)]
  frozen = values['norm.frozen_statistics']
  if frozen and all('frozen_statistics' in of_a_norm(n) for n in of_it):
    return 'without effect, as norm.frozen_statistics is True'
  return ''


def _splits(key, values):
  """Returns why nothing is drawn; two knobs draw from any data set."""
  drawn = values['data.held_out'] or values['data.train_examples']
  return '' if drawn else DATA.obstacle(key, values)


def _model(values):
  return lookup.find('models', values['model.name']).Model


MODEL, NORM, DATA = (_option_of(room) for room in ('model', 'norm', 'data'))
SPLIT = Condition(
  _splits,
  lambda key, values: 'set data.held_out or data.train_examples',
  lambda key: (
    'needs data.held_out or data.train_examples to be set, or '
    f'{DATA.words(key)}'
  ),
)
OPTIMIZER, PROBE = _option_of('optim'), _option_of('probes')
NORM_OF_BATCHES = _option_of('norm', 'momentum', 'running statistics')
OWN_SIZES = _option_of('data', 'image_size', 'images with sizes of their own')
SCALED = _option_of('norm', 'initial_scale', 'scale')
NOT_FROZEN = Condition(
  _follow,
  lambda key, values: '',
  lambda key: 'needs norm.frozen_statistics = False, if the norm has it',
)
PROBED = setting('probes.names')
SCALE = setting('norm.use_scale', True)
PHOTOMETRIC = setting('augment.photometric')
FOUR = setting('augment.photometric_mode', 'four')
RESIZED = setting('augment.crop', 'resized')
DECAYS = setting('optim.schedule', 'exponential', 'step')
WHITENS = setting('data.whitening', 'pca', 'zca')
HEADS = setting('model.auxiliary_heads', True)
AFFINE = says(
  lambda v: v['norm.use_scale'] or v['norm.use_bias'],
  'without effect, as norm.use_scale and norm.use_bias are False',
  'set one of them',
  'needs norm.use_scale or norm.use_bias',
)
CONVOLVES = says(
  lambda v: getattr(_model(v), 'convolves', True),
  'model.name = {model__name!r} has no convolutions',
  'choose another model.name',
  'needs a network with convolutions',
)
GAMMA = says(
  lambda v: 'recurrent_scale' not in _of_a_model(v['model.name']),
  'model.name = {model__name!r} has model.recurrent_scale instead',
  'set that',
  'needs a model without model.recurrent_scale',
)
NARROW = says(
  lambda v: v['model.width'] < 1,
  'without effect, as model.width is {model__width}',
  'set model.width below 1',
  'needs model.width below 1',
)
ENDS_A_BRANCH = says(
  lambda v: v['model.version'] != 'v2',
  "no norm ends a branch of model.version = 'v2'",
  'choose another model.version',
  "needs a model.version other than 'v2'",
)
STEPS_DOWN = says(
  lambda v: (
    v['optim.schedule'] != 'step'
    or v['optim.warmup_steps'] + v['optim.decay_steps'] < v['train.steps']
  ),
  'the run of train.steps = {train__steps} ends before the rate steps down, '
  'after optim.decay_steps = {optim__decay_steps}',
  'make these fewer',
  "needs the rate to step down within train.steps, if it is 'step'",
)
