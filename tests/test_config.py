"""Configs: overrides, validation all at once, sweeps, and every config file."""

import math
import pathlib

import pytest

from bnresearch import config as configs
from bnresearch import knobs, lookup
from bnresearch.runs import config_file
from bnresearch.sweeps.points import points
from configs import default, figure1

ROOT = pathlib.Path(__file__).parents[1]
CONFIG_FILES = sorted(
  str(f.relative_to(ROOT)) for f in (ROOT / 'configs').glob('[!_]*.py')
)


@pytest.fixture(autouse=True)
def _in_the_checkout(monkeypatch):
  monkeypatch.chdir(ROOT)


def overridden(values):
  """Returns the defaults under overrides, and what was wrong with some."""
  config = default.get_config()
  return config, configs.override(config, values)


def refusal(values, config=None):
  """Returns the problems for which `points` refuses these overrides."""
  with pytest.raises(configs.ConfigError) as caught:
    points(config or default.get_config(), values)
  return caught.value.problems


# Overriding.


@pytest.mark.parametrize(
  ('key', 'value', 'expected'),
  [
    ('seed', '7', 7),
    ('seed', '1_000', 1000),
    ('seed', '1e3', 1000),
    ('seed', 7.0, 7),
    ('dry_run', 'true', True),
    ('dry_run', 'False', False),
    ('dry_run', True, True),
    ('norm.epsilon', '1e-3', 1e-3),
    ('norm.epsilon', '1', 1.0),
    ('norm.epsilon', 1, 1.0),
    ('norm.name', 'none', 'none'),
    ('norm.name', '5', '5'),
    ('model.features', '(10, 20)', (10, 20)),
    ('model.features', '[10, 20]', (10, 20)),
    ('model.features', '10, 20', (10, 20)),
    ('model.features', '10', (10,)),
    ('model.features', [10, 20], (10, 20)),
    ('probes.names', "('saturation',)", ('saturation',)),
    ('probes.names', '()', ()),
    ('sweep', "({'seed': 1}, {'seed': 2})", ({'seed': 1}, {'seed': 2})),
  ],
)
def test_an_override_takes_the_type_of_its_leaf(key, value, expected):
  config, wrong = overridden({key: value})
  assert wrong == []
  set_value = knobs.leaves(config)[key]
  assert set_value == expected
  assert type(set_value) is type(expected)


@pytest.mark.parametrize(
  ('key', 'value', 'kind'),
  [
    ('seed', '1.5', 'int'),
    ('seed', 1.5, 'int'),
    ('seed', 'many', 'int'),
    ('seed', '', 'int'),
    ('seed', 'True', 'int'),
    ('seed', '1e999', 'int'),
    ('dry_run', '1', 'bool'),
    ('dry_run', 'yes', 'bool'),
    ('norm.epsilon', 'small', 'float'),
    ('norm.epsilon', '(1, 2)', 'float'),
    ('norm.epsilon', 'None', 'float'),
    ('model.features', '(1,', 'tuple'),
    ('model.features', '{[]: 1}', 'tuple'),
  ],
)
def test_a_value_of_another_type_is_refused_and_named(key, value, kind):
  config, wrong = overridden({key: value})
  example = knobs.leaves(default.get_config())[key]
  assert wrong == [f'{key} = {value!r}: needs {kind}, like {example!r}.']
  assert config == default.get_config()


@pytest.mark.parametrize(
  ('key', 'near'),
  [
    ('optim.learning_rat', 'optim.learning_rate'),
    ('train.step', 'train.steps'),
    ('norm.momentun', 'norm.momentum'),
    ('learning_rate', 'optim.learning_rate'),  # the group forgotten
    ('norm.learning_rate', 'optim.learning_rate'),  # another group's
    ('sede', 'seed'),
  ],
)
def test_a_wrong_key_names_the_nearest_one(key, near):
  _, wrong = overridden({key: '1'})
  assert len(wrong) == 1
  assert wrong[0].startswith(f'{key}: no such key. ')
  assert near in wrong[0]


def test_a_group_is_no_key_and_its_keys_are_named():
  _, wrong = overridden({'checkpoint': '1'})
  assert wrong == [
    'checkpoint: no such key. It is a group; set one of checkpoint.every, '
    'checkpoint.keep.'
  ]


def test_right_values_are_set_beside_wrong_ones():
  config, wrong = overridden({'seed': 'x', 'train.steps': '200'})
  assert len(wrong) == 1
  assert config.train.steps == 200


def test_an_overridden_config_is_still_locked():
  config, _ = overridden({'norm.epsilon': 0.1})
  with pytest.raises(AttributeError, match='locked'):
    config.norm.epsilno = 0.1


# Validation.


def test_no_leaf_is_none_or_a_list():
  for key, value in knobs.leaves(default.get_config()).items():
    assert type(value) in (bool, int, float, str, tuple), key


@pytest.mark.parametrize(
  ('key', 'value'),
  [
    ('seed', -1),
    ('seed', 2**32),
    ('data.binarize_threshold', 1.0),
    ('data.name', 'mnits'),
    ('model.features', ()),
    ('model.features', (100, 0)),
    ('model.features', (100.5,)),
    ('model.activation', 'sigmoidd'),
    ('slurm.minutes', 0),
    ('slurm.options', ('--qos=low',)),
    ('slurm.options', ('=low',)),
    ('model.init_std', 0.0),
    ('norm.momentum', 1.0),
    ('norm.momentum', -0.1),
    ('norm.epsilon', math.nan),
    ('norm.epsilon', math.inf),
    ('train.steps', 0),
    ('optim.name', 'sdg'),
    ('optim.decay_rate', 1.5),
    ('probes.names', ('saturatoin',)),
    ('probes.percentiles', (15.0, 101.0)),
    ('probes.percentiles', ()),
  ],
)
def test_a_value_out_of_its_range_is_a_problem(key, value):
  config, wrong = overridden({key: value})
  problems = wrong or knobs.problems(config)
  assert len(problems) == 1
  assert problems[0].startswith(f'{key} = {value!r}: needs ')


@pytest.mark.parametrize(
  ('key', 'value', 'hint'),
  [
    ('norm.name', 'bacth', "Did you mean 'batch'?"),
    ('data.name', 'mnits', "Did you mean 'mnist'?"),
    ('optim.name', 'sdg', "Did you mean 'sgd'?"),
    ('norm.running_variance', 'unbiassed', "Did you mean 'unbiased'?"),
  ],
)
def test_a_wrong_choice_lists_all_and_names_the_nearest(key, value, hint):
  config, _ = overridden({key: value})
  choices = ', '.join(knobs.KNOBS[key].rule.choices)
  needs = f'{key} = {value!r}: needs one of {choices}. {hint}'
  assert knobs.problems(config) == [needs]


@pytest.mark.parametrize(
  ('room', 'key'),
  [
    ('norms', 'norm.name'),
    ('models', 'model.name'),
    ('data', 'data.name'),
    ('probes', 'probes.names'),
  ],
)
def test_the_files_of_a_room_are_the_allowed_values(room, key):
  rule = knobs.KNOBS[key].rule
  for name in lookup.names(room):
    assert rule.holds((name,) if room == 'probes' else name)
  assert f'one of {", ".join(lookup.names(room))}' in rule.needs


@pytest.mark.parametrize(
  ('key', 'value', 'divisor'),
  [
    ('train.steps', 150, 'train.log_every'),
    ('eval.every', 250, 'train.log_every'),
    ('probes.every', 150, 'train.log_every'),
    ('checkpoint.every', 700, 'eval.every'),
  ],
)
def test_a_period_that_does_not_divide_is_a_problem(key, value, divisor):
  config, _ = overridden({key: value, 'probes.names': ('saturation',)})
  step = knobs.leaves(config)[divisor]
  assert knobs.problems(config) == [
    f'{key} = {value}: must be a multiple of {divisor} = {step}.'
  ]


def test_a_missing_key_is_a_problem():
  config = default.get_config()
  with config.unlocked():
    del config.norm.epsilon
  assert knobs.problems(config) == [
    'norm.epsilon: missing. Begin with bnr.default_config().'
  ]


def test_all_problems_are_listed_at_once():
  problems = refusal(
    {
      'optim.lr': '0.1',
      'seed': '1.5',
      'norm.name': 'bacth',
      'optim.learning_rate': '-1',
      'train.steps': '0',
    }
  )
  starts = ('optim.lr', 'seed', 'norm.name', 'train.steps', 'optim.learning')
  assert len(problems) == len(starts)
  for start in starts:
    assert any(p.startswith(start) for p in problems), start


def test_groups_that_do_not_fill_the_batch_are_refused_with_all_else():
  problems = refusal(
    {
      'norm.momentum': '-0.1',
      'norm.group_size': '7',
      'train.batch_size': '60',
      'norm.name': 'bacth',
    }
  )
  assert sorted(problems) == [
    'norm.momentum = -0.1: needs a float of at least 0 and below 1.',
    f"norm.name = 'bacth': needs {knobs.KNOBS['norm.name'].rule.needs}. "
    "Did you mean 'batch'?",
    'train.batch_size = 60: must be a multiple of norm.group_size = 7. Groups '
    'may be of 1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30, 60, or 0 for the whole '
    'batch.',
  ]


@pytest.mark.parametrize(
  ('values', 'message'),
  [
    (
      {'norm.name': 'batch_renorm', 'norm.frozen_statistics': True},
      "norm.frozen_statistics = True: norm.name = 'batch_renorm' has no such "
      'option. Leave it at False, or choose another norm.name: batch.',
    ),
    (
      {'norm.name': 'lp', 'norm.group_variance': 'pooled'},
      "norm.group_variance = 'pooled': norm.name = 'lp' has no such option. "
      "Leave it at 'within', or choose another norm.name: batch, batch_renorm, "
      'evonorm_b0, iterative_whitening, noisy_batch, switchable.',
    ),
    (
      {'norm.initial_scale': 0.5, 'norm.use_scale': False},
      'norm.initial_scale = 0.5: without effect, as norm.use_scale is False. '
      'Leave it at 1.0, or set norm.use_scale = True.',
    ),
    (
      {'norm.initial_scale': 0.0, 'norm.frozen_affine': True},
      'norm.initial_scale = 0.0: with norm.frozen_affine nothing ever passes.',
    ),
    (
      {'slurm.minutes': 2},
      'slurm.signal_delay = 120: needs to be below the 120 seconds of '
      'slurm.minutes, or a job would stop as soon as it starts.',
    ),
  ],
)
def test_what_would_be_without_effect_is_refused(values, message):
  assert refusal(values) == (message,)


def test_a_knob_of_a_sweep_needs_an_effect_at_one_point_only():
  """No normalizer is the baseline of groups of any size."""
  config = default.get_config()
  config.train.batch_size = 64
  norms = ('batch', 'group', 'none')
  config.sweep = tuple(
    {'norm.name': name, 'norm.group_size': size}
    for name in norms
    for size in (4, 8)
  )
  assert len(points(config, {})) == 6
  config.sweep = tuple({'norm.name': name} for name in norms)
  config.norm.order = 'l2'
  (problem,) = refusal({}, config)
  assert problem == (
    "norm.order = 'l2': norm.name = 'none' has no such option. Leave it at "
    "'l1', or choose another norm.name: lp."
  )


def test_a_label_is_of_a_point_of_a_sweep():
  assert refusal({'label': 'mine'}) == (
    "label = 'mine': without effect, as it is what a point of a sweep is "
    "called. Leave it at '', or set it in the sweep.",
  )


def test_the_message_counts_the_problems_and_lists_each_once():
  error = configs.ConfigError(['a: wrong.', 'b: wrong.', 'a: wrong.'])
  assert str(error) == '2 problems:\n  a: wrong.\n  b: wrong.'
  assert str(configs.ConfigError(['a'])) == 'A problem:\n  a'
  assert str(configs.ConfigError('a: no.')) == 'A problem:\n  a: no.'


# Sweeps.


def test_a_config_without_sweep_is_one_point():
  (point,) = points(default.get_config(), {'seed': '3'})
  assert point.name == '.'
  assert point.config.seed == 3
  assert point.directory(pathlib.Path('runs')) == pathlib.Path('runs')


def test_the_points_of_a_sweep_are_complete_and_named_by_what_differs():
  result = points(figure1.get_config('seeds=2'), {'train.batch_size': '30'})
  assert [p.name for p in result] == [
    f'init_std=0.01,norm={norm},seed={seed}'
    for seed in (0, 1)
    for norm in ('none', 'batch')
  ]
  for point in result:
    assert point.config.sweep == ()
    assert point.config.train.batch_size == 30
    assert f'seed={point.config.seed}' in point.name
    assert f'norm={point.config.norm.name},' in point.name


def test_names_fall_back_to_whole_keys_where_leaves_are_the_same():
  values = {'sweep': "({'norm.momentum': 0.9, 'optim.momentum': 0.5},)"}
  (point,) = points(default.get_config(), values)
  assert point.name == 'norm.momentum=0.9,optim.momentum=0.5'


def test_a_point_with_a_label_is_named_by_it_and_its_seed():
  config = default.get_config()
  config.sweep = tuple(
    {'label': label, 'optim.learning_rate': rate, 'seed': 3}
    for label, rate in (('slow', 0.1), ('x5', 0.5), ('', 1.0))
  )
  assert [point.name for point in points(config, {})] == [
    'slow,seed=3',
    'x5,seed=3',
    'label=,learning_rate=1.0,seed=3',
  ]
  with pytest.raises(configs.ConfigError, match="label = 'a/b': needs letters"):
    points(config, {'sweep': "({'label': 'a/b'},)"})


def test_an_override_of_a_swept_key_is_refused():
  (problem,) = refusal({'norm.name': 'none'}, figure1.get_config())
  assert problem.startswith('norm.name: this config sweeps it')
  assert '--point' in problem


def test_dropping_the_sweep_frees_its_keys():
  values = {'sweep': '()', 'norm.name': 'none'}
  (point,) = points(figure1.get_config(), values)
  assert point.config.norm.name == 'none'


def test_points_leave_the_config_as_it_is():
  config = figure1.get_config()
  points(config, {'seed': '3'} | {'sweep': '()'})
  assert config == figure1.get_config()


@pytest.mark.parametrize(
  ('sweep', 'problem'),
  [
    ("({'seed': 1}, {'seed': 1})", "sweep: 'seed=1' stands in it twice."),
    ("({'sede': 1},)", 'sede: no such key.'),
    ("({'seed': 1.5},)", 'seed = 1.5: needs int'),
    ("({'train.steps': 150},)", 'train.steps = 150: must be a multiple'),
    ('(1, 2)', 'sweep: needs a tuple of {"dotted.key": value}'),
  ],
)
def test_a_wrong_sweep_is_refused(sweep, problem):
  (found,) = refusal({'sweep': sweep})
  assert found.startswith(problem)


# The config on disk.


@pytest.mark.parametrize('path', CONFIG_FILES)
def test_json_and_back_is_the_same_config(path):
  for point in points(configs.load(path), {}):
    text = config_file.to_json(point.config)
    restored = config_file.from_json(text)
    assert restored == point.config
    assert restored.is_locked
    assert config_file.differences(restored, point.config) == []
    assert config_file.digest(restored) == config_file.digest(point.config)


def test_a_sweep_survives_json():
  config = figure1.get_config('seeds=2')
  restored = config_file.from_json(config_file.to_json(config))
  assert restored.sweep == config.sweep
  assert type(restored.sweep) is tuple


def test_differences_name_each_leaf_with_both_values():
  old = default.get_config()
  new, _ = overridden({'norm.name': 'none', 'seed': 1})
  with new.unlocked():
    del new.train.scan
  assert config_file.differences(old, new) == [
    "norm.name: 'batch' -> 'none'",
    'seed: 0 -> 1',
    "train.scan: 'auto' -> 'absent'",
  ]
  assert config_file.digest(old) != config_file.digest(new)


# Every file in configs/.


@pytest.mark.parametrize('path', CONFIG_FILES)
def test_every_point_of_every_config_file_is_valid_as_is_and_tiny(path):
  result = points(configs.load(path), {})
  assert len(result) > 0
  for point in result:
    assert knobs.wrong(point.config) == []
    tiny = configs.tiny(point.config)
    assert knobs.wrong(tiny) == []
    assert tiny.dry_run
    assert tiny.train.steps == 2
    assert not point.config.dry_run


@pytest.mark.parametrize('path', CONFIG_FILES)
def test_every_config_file_says_command_expectation_and_time(path):
  text = pathlib.Path(path).read_text()
  command = f'Command:  python -m bnresearch.main --config={path}'
  assert command in text
  assert 'Expected:' in text
  assert 'Time:' in text


def test_a_missing_config_file_is_answered_by_the_nearest():
  message = r"configs/figure2\.py: no such file\. .*'configs/figure1\.py'\?"
  with pytest.raises(configs.ConfigError, match=message):
    configs.load('configs/figure2.py')


def test_the_defaults_are_a_config_without_a_file(monkeypatch, tmp_path):
  monkeypatch.chdir(tmp_path)
  assert configs.load('default') == default.get_config()
  message = "--config=default:a=1: 'a=1' after the colon: .* takes nothing"
  with pytest.raises(configs.ConfigError, match=message):
    configs.load('default:a=1')


def test_a_file_that_is_no_config_is_refused():
  path = 'configs/__init__.py'
  with pytest.raises(configs.ConfigError, match='no function get_config'):
    configs.load(path)


@pytest.mark.parametrize('path', CONFIG_FILES)
def test_a_wrong_argument_is_refused_with_what_the_config_takes(path):
  message = rf"{path}:sedes=3: 'sedes=3' after the colon: this config takes "
  with pytest.raises(configs.ConfigError, match=message):
    configs.load(f'{path}:sedes=3')


def test_figure1_takes_data_init_seeds_and_steps():
  arg = 'data=mnist,init=both,seeds=3,steps=1500'
  result = points(configs.load(f'configs/figure1.py:{arg}'), {})
  assert len(result) == 2 * 2 * 3
  assert {p.config.data.name for p in result} == {'mnist'}
  assert {p.config.train.steps for p in result} == {1500}
  assert {p.config.seed for p in result} == {0, 1, 2}
  assert {p.config.model.init_std for p in result} == {0.01, 0.1}
  assert {p.config.norm.name for p in result} == {'none', 'batch'}


def test_figure1_is_the_network_of_the_paper():
  for point in points(configs.load('configs/figure1.py'), {}):
    config = point.config
    assert config.model.name == 'mlp'
    assert config.model.features == (100, 100, 100)
    assert config.model.activation == 'own'  # the sigmoid
    assert config.data.binarize
    assert config.train.batch_size == 60
    assert config.train.steps == 50_000
    assert config.probes.percentiles == (15, 50, 85)


@pytest.mark.parametrize(
  ('arg', 'message'),
  [
    ('init=hard', 'init=hard after the colon: needs one of tight, easy, both'),
    ('seeds=many', "'seeds=many' after the colon: needs int"),
    ('seeds', "'seeds' after the colon: this config takes data=digits"),
    ('seed=3', "'seed=3' after the colon: this config takes .*seeds=1"),
    ('seeds=0', 'seeds=0'),  # no seed at all would leave no sweep
    ('steps=0', 'steps=0 after the colon: needs 1 or more'),
    ('steps=150', 'train.steps = 150: must be a multiple of train.log_every'),
    ('data=mnits', "data.name = 'mnits': .*Did you mean 'mnist'"),
  ],
)
def test_a_wrong_argument_of_figure1_is_refused(arg, message):
  with pytest.raises(configs.ConfigError, match=message):
    points(configs.load(f'configs/figure1.py:{arg}'), {})
