"""A file is an entry: `bnresearch.lookup`, and what each room's entries are."""

import dataclasses
import inspect
import pathlib

import flax.linen as nn
import pytest

from bnresearch import data, knobs, lookup
from configs import default
from tests.traits import says

OF_THE_USER = ('image_folder', 'tfds')  # their specs need options
ENTRIES = [(r, n) for r in lookup.NOUNS for n in lookup.names(r)]


@pytest.mark.parametrize('room', lookup.NOUNS)
def test_every_file_of_a_room_is_an_entry_and_underscores_hide_one(room):
  files = (pathlib.Path(lookup.__file__).parent / room).glob('*.py')
  expected = sorted(f.stem for f in files if not f.stem.startswith('_'))
  assert lookup.names(room) == tuple(expected)
  assert len(expected) > 0


def test_a_file_shared_by_its_room_is_no_entry():
  assert '_tfds' not in lookup.names('data')
  with pytest.raises(LookupError, match="No data set '_tfds'"):
    lookup.find('data', '_tfds')


@pytest.mark.parametrize(('room', 'name'), ENTRIES)
def test_find_returns_the_module_of_that_name(room, name):
  assert lookup.find(room, name).__name__ == f'bnresearch.{room}.{name}'


def test_a_wrong_name_is_answered_by_the_nearest_one_and_all():
  known = ', '.join(lookup.names('norms'))
  message = rf"^No norm 'bacth'\. Did you mean 'batch'\? Known: {known}\.$"
  with pytest.raises(LookupError, match=message):
    lookup.find('norms', 'bacth')


def test_a_name_like_no_other_is_answered_by_all():
  with pytest.raises(LookupError, match=r"^No model 'zzz'\. Known: .*mlp"):
    lookup.find('models', 'zzz')


def test_suggest_takes_any_iterable():
  words = (word for word in ('scale', 'bias'))
  assert lookup.suggest('scael', words) == (
    "Did you mean 'scale'? Known: scale, bias."
  )


@pytest.mark.parametrize('name', lookup.names('norms'))
def test_every_norm_is_a_module_whose_options_are_keys_of_the_config(name):
  cls = lookup.find('norms', name).Norm
  assert issubclass(cls, nn.Module)
  assert isinstance(says(name, 'cancels_bias'), bool)
  # For models to set, and for who maps one over devices.
  others = {'activates', 'axis_name'}
  assert _fields(cls) - others <= set(default.get_config().norm)
  _assert_train_is_keyword_only(cls)


@pytest.mark.parametrize('name', lookup.names('models'))
def test_every_model_is_a_module_whose_options_are_keys_of_the_config(name):
  cls = lookup.find('models', name).Model
  assert issubclass(cls, nn.Module)
  from_assembly = {'num_classes', 'layers'}
  assert _fields(cls) - set(default.get_config().model) == from_assembly
  _assert_train_is_keyword_only(cls)


@pytest.mark.parametrize('name', lookup.names('data'))
def test_every_data_set_has_a_spec_and_options_of_the_config(name):
  entry = lookup.find('data', name)
  if name not in OF_THE_USER:
    spec = entry.spec()
    assert isinstance(spec, data.Spec)
    assert len(spec.image_shape) == 3
    assert len(set(spec.class_names)) == len(spec.class_names) > 1
    assert set(spec.examples) == {*data.SPLITS}
  described = inspect.signature(entry.spec).parameters.values()
  _assert_options(described, default.get_config().data)
  split, *options = inspect.signature(entry.load).parameters.values()
  assert split.name == 'split'
  _assert_options(options, default.get_config().data)


@pytest.mark.parametrize('name', lookup.names('probes'))
def test_every_probe_measures_with_options_of_the_config(name):
  measure = lookup.find('probes', name).measure
  view, *options = inspect.signature(measure).parameters.values()
  assert view.name == 'view'
  of_config = [option for option in options if option.name != 'previous']
  _assert_options(of_config, default.get_config().probes)


def _fields(cls):
  names = {field.name for field in dataclasses.fields(cls)}
  return names - {'name', 'parent'}


def _assert_train_is_keyword_only(cls):
  """Two switches, never one: nobody trains or evaluates by default."""
  train = inspect.signature(cls.__call__).parameters['train']
  assert train.kind is train.KEYWORD_ONLY
  assert train.default is train.empty


def _assert_options(options, group):
  """Assembly hands over keyword-only options, by their names in the config."""
  for option in options:
    assert option.kind is option.KEYWORD_ONLY
    assert option.name in knobs.leaves(group)


@pytest.fixture
def added():
  """Returns `lookup.add`; what it adds is gone after the test."""
  yield lookup.add
  lookup._ADDED.clear()


def test_what_is_added_is_an_entry_like_a_file(added):
  cls = lookup.find('norms', 'layer').Norm
  before = lookup.names('norms')
  module = added('norms', 'mine', Norm=cls)
  assert lookup.names('norms') == tuple(sorted([*before, 'mine']))
  assert lookup.find('norms', 'mine') is module
  assert module.Norm is cls
  assert 'mine' not in lookup.names('models')


def test_what_is_added_again_is_replaced(added):
  added('norms', 'mine', Norm=1)
  added('norms', 'mine', Norm=2)
  assert lookup.find('norms', 'mine').Norm == 2
  assert lookup.names('norms').count('mine') == 1


def test_a_config_takes_what_was_added_after_its_rules_were_made(added):
  config = default.get_config()
  config.norm.name = 'mine'
  (problem,) = knobs.problems(config)
  assert problem.startswith("norm.name = 'mine': needs one of ")
  added('norms', 'mine', Norm=lookup.find('norms', 'layer').Norm)
  assert knobs.problems(config) == []


@pytest.mark.parametrize(
  ('room', 'name', 'said'),
  [
    ('norm', 'mine', r"room = 'norm': Did you mean 'norms'\?"),
    ('norms', 'batch', r"name = 'batch': is a file of bnresearch/norms"),
    ('norms', '_mine', r"name = '_mine': needs letters, digits and _"),
    ('norms', 'my norm', r"name = 'my norm': needs letters, digits and _"),
  ],
)
def test_what_cannot_be_added_is_refused(room, name, said):
  with pytest.raises(ValueError, match=said):
    lookup.add(room, name, Norm=None)
  assert lookup._ADDED == {}
