"""`bnresearch.conventions`: its facts against the frameworks themselves."""

import dataclasses
import functools
import inspect
import itertools
import json
import math
import os
import pathlib
import subprocess
import sys
import types

import flax.linen as nn
import jax
import numpy as np
import pytest
from flax import nnx

from bnresearch import conventions
from bnresearch.assembly import assemble
from bnresearch.conventions import (
  Values,
  __main__,
  convert,
  dropout,
  forgotten,
)
from bnresearch.conventions.frameworks import FRAMEWORKS, find
from bnresearch.norms import batch
from bnresearch.runs import session
from configs import default

ROOT = pathlib.Path(__file__).parent.parent
N, C = 6, 3  # few examples, so that m/(m-1) = 1.2 cannot hide
EVERY_PAIR = list(itertools.product(FRAMEWORKS.values(), repeat=2))


def batches(steps):
  """Returns batches of channels with means and deviations of their own."""
  x_TNC = np.random.default_rng(0).normal(size=(steps, N, C))
  return (x_TNC * [0.5, 1, 4] + [-2, 0, 30]).astype(np.float32)


def of_a_linen_module(norm, x_TNC, **call):
  variables = norm.init(jax.random.key(0), x_TNC[0], **call)
  for x_NC in x_TNC:
    _, new = norm.apply(variables, x_NC, **call, mutable=['batch_stats'])
    variables = {**variables, **new}
  return variables['batch_stats']['mean'], variables['batch_stats']['var']


def of_bnresearch(x_TNC, **options):
  return of_a_linen_module(batch.Norm(**options), x_TNC, train=True)


def of_flax(x_TNC, **options):
  norm = nn.BatchNorm(use_running_average=False, **options)
  return of_a_linen_module(norm, x_TNC)


def of_nnx(x_TNC, **options):
  norm = nnx.BatchNorm(C, rngs=nnx.Rngs(0), **options)
  for x_NC in x_TNC:
    norm(x_NC)
  return norm.mean[...], norm.var[...]


def of_pytorch(x_TNC, **options):
  torch = pytest.importorskip('torch', reason='PyTorch is not installed')
  norm = torch.nn.BatchNorm1d(C, **options)
  for x_NC in x_TNC:
    norm(torch.from_numpy(x_NC))
  return norm.running_mean.numpy(), norm.running_var.numpy()


def of_keras(x_TNC, **options):
  keras = pytest.importorskip('keras', reason='Keras is not installed')
  norm = keras.layers.BatchNormalization(**options)
  for x_NC in x_TNC:
    norm(x_NC, training=True)
  return np.asarray(norm.moving_mean), np.asarray(norm.moving_variance)


def of_haiku(x_TNC, **options):
  hk = pytest.importorskip('haiku', reason='dm-haiku is not installed')
  norm = hk.transform_with_state(
    lambda x_NC: hk.BatchNorm(False, False, **options)(x_NC, is_training=True)
  )
  _, state = norm.init(None, x_TNC[0])
  for x_NC in x_TNC:
    _, state = norm.apply({}, state, None, x_NC)
  averages = (f'batch_norm/~/{name}_ema' for name in ('mean', 'var'))
  return tuple(np.asarray(state[name]['average'])[0] for name in averages)


def of_equinox(x_TNC, **options):
  """Returns what inference normalizes by: the state holds only parts of it."""
  eqx = pytest.importorskip('equinox', reason='Equinox is not installed')
  norm, state = eqx.nn.make_with_state(eqx.nn.BatchNorm)(
    C, 'batch', mode='batch', eps=0.0, **options
  )
  axes = {'axis_name': 'batch', 'in_axes': (0, None), 'out_axes': (0, None)}
  for x_NC in x_TNC:
    _, state = jax.vmap(norm, **axes)(x_NC, state)
  norm = eqx.nn.inference_mode(norm)
  at = np.stack([np.zeros(C), np.full(C, 100)]).astype(np.float32)
  y_NC = np.asarray(jax.vmap(norm, **axes)(at, state)[0], np.float64)
  std_C = 100 / (y_NC[1] - y_NC[0])
  return -y_NC[0] * std_C, std_C**2


def recorded(x_TNC, by_default, at_03, **options):
  """Returns what a layer that is not run here gave after `batches(5)`."""
  assert len(x_TNC) == 5
  assert options in ({}, {'decay': 0.3})
  return tuple(np.asarray(at_03 if options else by_default))


# tf_slim 1.1.0 on TensorFlow 2.21.0, NC and NHWC alike.
of_slim = functools.partial(
  recorded,
  by_default=(
    [-0.010151361115276814, 0.00017290592950303108, 0.1569616049528122],
    [0.9968305826187134, 0.9989157915115356, 1.0425058603286743],
  ),
  at_03=(
    [-2.070566415786743, 0.03850395977497101, 32.437801361083984],
    [0.3532026708126068, 1.108554482460022, 15.837787628173828],
  ),
)
# Chainer 7.8.1 with NumPy 1.23.5.
of_chainer = functools.partial(
  recorded,
  by_default=(
    [-0.8332324028015137, 0.017129354178905487, 12.954668998718262],
    [0.7403351664543152, 0.9301268458366394, 4.751175880432129],
  ),
  at_03=(
    [-2.070566415786743, 0.03850395977497101, 32.437801361083984],
    [0.3532026708126068, 1.108554482460022, 15.837786674499512],
  ),
)


def signature(**defaults):
  """Returns one with these defaults, as `inspect` gives it."""
  kind = inspect.Parameter.KEYWORD_ONLY
  return inspect.Signature(
    [inspect.Parameter(k, kind, default=v) for k, v in defaults.items()]
  )


def defaults_of_pytorch():
  torch = pytest.importorskip('torch', reason='PyTorch is not installed')
  return [
    inspect.signature(layer)
    for layer in (
      torch.nn.BatchNorm1d,
      torch.nn.BatchNorm2d,
      torch.nn.BatchNorm3d,
    )
  ]


def defaults_of_keras():
  keras = pytest.importorskip('keras', reason='Keras is not installed')
  return [inspect.signature(keras.layers.BatchNormalization)]


def defaults_of_haiku():
  hk = pytest.importorskip('haiku', reason='dm-haiku is not installed')
  return [inspect.signature(hk.BatchNorm)]


def defaults_of_equinox():
  eqx = pytest.importorskip('equinox', reason='Equinox is not installed')
  return [inspect.signature(eqx.nn.BatchNorm)]


RUNNING = {
  'bnresearch': of_bnresearch,
  'flax': of_flax,
  'nnx': of_nnx,
  'pytorch': of_pytorch,
  'keras': of_keras,
  'slim': of_slim,
  'haiku': of_haiku,
  'equinox': of_equinox,
  'chainer': of_chainer,
}
SIGNATURES = {
  'bnresearch': lambda: [inspect.signature(batch.Norm)],
  'flax': lambda: [inspect.signature(nn.BatchNorm)],
  'nnx': lambda: [inspect.signature(nnx.BatchNorm.__init__)],
  'pytorch': defaults_of_pytorch,
  'keras': defaults_of_keras,
  'slim': lambda: [signature(decay=0.999, epsilon=0.001)],
  'haiku': defaults_of_haiku,
  'equinox': defaults_of_equinox,
  'chainer': lambda: [signature(decay=0.9, eps=2e-5)],
}


def expected_running(framework, x_TNC, momentum):
  """Returns what the row says, by float64: running mean and variance."""
  old = momentum if framework.weighs == 'old' else 1 - momentum
  mean_C, var_C = np.zeros(C), np.ones(C)
  ddof = int(framework.running_variance == 'unbiased')
  for x_NC in x_TNC.astype(np.float64):
    mean_C = old * mean_C + (1 - old) * x_NC.mean(0)
    var_C = old * var_C + (1 - old) * x_NC.var(0, ddof=ddof)
  left = old ** len(x_TNC)
  if framework.debias == 'no':
    return mean_C, var_C
  if framework.debias == 'yes':
    var_C = var_C - left
  return mean_C / (1 - left), var_C / (1 - left)


def norm_group(**changed):
  with default.get_config().unlocked() as config:
    config.norm.update(changed)
  return config.norm


BATCH = {field.name for field in dataclasses.fields(batch.Norm)}


def test_every_row_is_compared_with_the_layer_itself():
  assert set(FRAMEWORKS) == set(RUNNING) == set(SIGNATURES)


@pytest.mark.parametrize('name', RUNNING)
def test_the_defaults_are_those_of_the_layer(name):
  framework = FRAMEWORKS[name]
  for signature in SIGNATURES[name]():
    parameters = signature.parameters
    default = parameters[framework.parameter].default
    none = default is inspect.Parameter.empty
    assert (None if none else default) == framework.default
    epsilon = parameters[framework.epsilon_parameter].default
    assert epsilon == framework.epsilon


@pytest.mark.parametrize('name', RUNNING)
def test_the_running_statistics_are_averaged_as_the_row_says(
  name, assert_close
):
  framework, x_TNC = FRAMEWORKS[name], batches(5)
  if framework.default is not None:
    by_default = expected_running(framework, x_TNC, framework.default)
    assert_close(RUNNING[name](x_TNC), by_default, rtol=1e-5)
  options = {framework.parameter: 0.3}
  expected = expected_running(framework, x_TNC, 0.3)
  assert_close(RUNNING[name](x_TNC, **options), expected, rtol=1e-5)


def test_bnresearchs_knobs_follow_every_other_convention(assert_close):
  x_TNC = batches(5)
  for name, framework in FRAMEWORKS.items():
    momentum = framework.default or 0.9
    settings = Values(momentum, framework.epsilon)
    found = of_bnresearch(
      x_TNC,
      momentum=convert(settings, framework, FRAMEWORKS['flax']).momentum,
      running_variance=framework.running_variance,
      debias=framework.debias != 'no',
    )
    # We have no variance that is debiased by half.
    if framework.debias == 'mean':
      framework = framework._replace(debias='yes')
    expected = expected_running(framework, x_TNC, momentum)
    # A debiased average of few updates is divided by a small difference.
    assert_close(found, expected, rtol=1e-4 if name == 'equinox' else 1e-5)


def test_equinoxs_variance_keeps_more_than_its_initial_weight():
  """Batches of variance 9, momentum 0.9, 7 updates; both layers' own values."""
  x_NC = np.stack([np.full(C, -3), np.full(C, 3)]).astype(np.float32)
  _, var_C = of_equinox([x_NC] * 7, momentum=0.9)
  np.testing.assert_allclose(var_C, 9.9168, rtol=1e-5)
  _, expected_C = of_flax([x_NC] * 7, momentum=0.9)
  equinox, flax = FRAMEWORKS['equinox'], FRAMEWORKS['flax']
  new = convert(Values(0.9, 1e-5, var_C), equinox, flax, steps=7)
  np.testing.assert_allclose(new.var, expected_C, rtol=1e-5)  # 5.1736


@pytest.mark.parametrize('target', ['flax', 'keras', 'bnresearch'])
def test_pytorchs_running_statistics_become_those_of(target, assert_close):
  x_TNC = batches(10)
  mean_C, var_C = of_pytorch(x_TNC, momentum=0.1)
  there = FRAMEWORKS[target]
  new = convert(
    Values(0.1, 1e-5, var_C, mean_C), FRAMEWORKS['pytorch'], there, N, steps=10
  )
  expected = RUNNING[target](x_TNC, momentum=new.momentum)
  assert_close((new.mean, new.var), expected, rtol=1e-5)
  if target != 'bnresearch':
    # Without `steps` the initial variance is taken for a batch's.
    forgetful = convert(
      Values(0.1, 1e-5, var_C), FRAMEWORKS['pytorch'], there, N
    )
    with pytest.raises(AssertionError):
      assert_close(forgetful.var, expected[1], rtol=1e-3)


@pytest.mark.parametrize('steps', [None, 1, 10])
def test_every_conversion_is_what_the_target_would_have(steps, assert_close):
  x_TNC = batches(steps or 400)
  momentum = {'old': 0.9, 'new': 0.1}
  for source, target in EVERY_PAIR:
    there = momentum[target.weighs]
    mean_C, var_C = expected_running(source, x_TNC, momentum[source.weighs])
    old = Values(momentum[source.weighs], source.epsilon, var_C, mean_C)
    new = convert(old, source, target, N, steps)
    assert new.momentum == pytest.approx(there, rel=1e-12)
    assert new.epsilon == old.epsilon
    expected = expected_running(target, x_TNC, there)
    assert_close((new.mean, new.var), expected, rtol=1e-12)
    assert_close(convert(new, target, source, N, steps), old, rtol=1e-12)


def test_what_needs_no_conversion_stays_to_the_last_bit():
  var_C = np.linspace(1, 30, 100)
  for framework in FRAMEWORKS.values():
    new = convert(Values(0.7, 1e-3, var_C), framework, framework, steps=3)
    np.testing.assert_array_equal(new.var, var_C)


@pytest.mark.parametrize(
  ('values', 'options', 'message'),
  [
    (
      Values(0.0, 1e-5),
      {},
      r'^momentum = 0.0: torch.* needs a number above 0 and at most 1, the '
      r'weight of the new value\.$',
    ),
    (Values(1.1, 1e-5), {}, r'^momentum = 1.1: .* above 0 and at most 1'),
    (Values(math.nan, 1e-5), {}, r'^momentum = nan: '),
    (Values(0.1, -1e-5), {}, r'^epsilon = -1e-05: .* at least 0\.$'),
    (Values(0.1, math.inf), {}, r'^epsilon = inf: needs to be finite'),
    (
      Values(0.1, 1e-5, 1.0),
      {},
      r'^count is missing: the running variance of torch.* is unbiased, that '
      r'of flax.linen.BatchNorm biased\. Give .*N \* H \* W',
    ),
    (Values(0.1, 1e-5, 1.0), {'count': 1}, r'^count = 1: .* at least 2 values'),
    (Values(0.1, 1e-5, -1.0), {'count': 9}, r'^var = -1.0: .* at least 0\.$'),
    (Values(0.1, 1e-5, math.nan), {'count': 9}, r'^var = nan: '),
    (
      Values(0.1, 1e-5, np.array([1, 0.5])),
      {'count': 9, 'steps': 2},
      r'^var = \[1\. +0\.5\]: needs to be finite and at least 0\.81, what is '
      r'left of the initial 1\.$',
    ),
    (Values(0.1, 1e-5), {'steps': 0}, r'^steps = 0: needs at least 1'),
  ],
)
def test_values_out_of_range_are_refused(values, options, message):
  with pytest.raises(ValueError, match=message):
    convert(values, FRAMEWORKS['pytorch'], FRAMEWORKS['flax'], **options)


def test_a_weight_of_the_old_value_may_be_0_but_not_1():
  flax, pytorch = FRAMEWORKS['flax'], FRAMEWORKS['pytorch']
  assert convert(Values(0.0, 1e-5), flax, pytorch).momentum == 1
  message = r'^momentum = 1.0: flax.* of at least 0 and below 1, the weight '
  with pytest.raises(ValueError, match=message):
    convert(Values(1.0, 1e-5), flax, pytorch)


def test_a_wrong_name_is_answered_by_the_nearest_framework():
  message = r"^No framework 'pytroch'\. Did you mean 'pytorch'\? Known: bnres"
  with pytest.raises(LookupError, match=message):
    find('pytroch')


@pytest.mark.parametrize(
  ('decay', 'updates'),
  [(0.9, 44), (0.99, 458), (0.997, 1533), (0.999, 4603), (0.9997, 15_348)],
)
def test_99_percent_are_forgotten_after(decay, updates):
  assert round(forgotten(decay)) == updates
  assert decay ** forgotten(decay, 0.5) == pytest.approx(0.5)
  assert forgotten(0.0) == 0


def test_describe_says_in_a_line_what_a_run_means():
  assert conventions.describe(norm_group(), BATCH) == (
    "batch: momentum 0.99 weighs the old statistics (PyTorch's 0.01), 99% "
    'forgotten after 458 updates; epsilon 1e-05 inside the root; running '
    'variance unbiased, m/(m-1), as in pytorch, slim, chainer; not debiased'
  )
  other = norm_group(
    momentum=0.9997,
    epsilon=0.001,
    running_variance='biased',
    debias=True,
    frozen_statistics=True,
  )
  assert conventions.describe(other, BATCH) == (
    "batch: momentum 0.9997 weighs the old statistics (PyTorch's 0.0003), 99% "
    'forgotten after 15,348 updates; epsilon 0.001 inside the root; running '
    'variance biased, as in flax, nnx, keras, haiku, equinox; debiased, as in '
    'haiku; frozen: training neither uses nor follows its batches'
  )


def test_describe_says_only_what_the_norm_has():
  norm = norm_group(name='layer')
  described = conventions.describe(norm, {'epsilon', 'use_scale'})
  assert described == 'layer: no running statistics; epsilon 1e-05'
  few = types.SimpleNamespace(name='new', momentum=0.0, epsilon=1e-3)
  assert conventions.describe(few, {'momentum', 'epsilon'}) == (
    "new: momentum 0 weighs the old statistics (PyTorch's 1), 99% forgotten "
    'after 0 updates; epsilon 0.001 inside the root'
  )


def test_a_run_too_short_for_its_momentum_is_warned_of():
  assert conventions.warnings(norm_group(), 459, BATCH) == []
  (warning,) = conventions.warnings(norm_group(), 300, BATCH)
  assert warning == (
    'norm.momentum = 0.99 over 300 updates: the initial mean 0 and variance 1 '
    'keep 4.9% of the weight in the running statistics, more than 1%. Use '
    'train.steps of 459 or more, norm.momentum of 0.9847 or less, '
    'norm.debias=True, or population statistics (--mode=eval).'
  )
  # Its advice is followed, and helps.
  better = norm_group(momentum=0.9847)
  assert conventions.warnings(better, 300, BATCH) == []
  (other,) = conventions.warnings(norm_group(), 300, BATCH - {'debias'})
  assert 'debias' not in other


def test_no_warning_where_there_is_nothing_to_forget():
  for changed in ({'debias': True}, {'frozen_statistics': True}):
    assert conventions.warnings(norm_group(**changed), 1, BATCH) == []
  assert conventions.warnings(norm_group(name='none'), 1, set()) == []


def test_the_session_and_its_notes_record_the_conventions(tmp_path):
  with default.get_config().unlocked() as config:
    config.train.steps = config.train.log_every = config.eval.every = 2
    config.model.features = (4,)
  config.lock()
  assert session.train(assemble(config), tmp_path / 'run') == 'done'
  sessions = json.loads((tmp_path / 'run' / 'provenance.json').read_text())
  options = assemble(config).network.norm_options
  header = conventions.header(config.norm, 2, options)
  assert [s['conventions'] for s in sessions] == [header]
  assert header[0] == conventions.describe(config.norm, BATCH)
  assert header[1].startswith('Warning: norm.momentum = 0.99 over 2 updates')


def run(module, *arguments):
  return subprocess.run(
    [sys.executable, '-m', module, *arguments],
    cwd=ROOT,
    env=os.environ,
    capture_output=True,
    text=True,
  )


def test_a_sweep_prints_each_header_once_and_a_dry_run_no_warning(tmp_path):
  config = tmp_path / 'both.py'
  config.write_text(
    'from configs import default\n'
    'def get_config(arg):\n'
    '  c = default.get_config()\n'
    '  c.model.features = (4,)\n'
    "  c.sweep = tuple({'norm.name': n, 'seed': s}\n"
    "                  for n in ('batch', 'none') for s in (0, 1))\n"
    '  return c\n'
  )
  arguments = (
    f'--config={config}',
    '--config.train.steps=4',
    '--config.train.log_every=4',
    f'--workdir={tmp_path}/runs',
    '--processes=1',
  )
  first = run('bnresearch.main', *arguments)
  assert first.returncode == 0, first.stderr
  lines = first.stdout.splitlines()
  expected = [
    conventions.describe(norm_group(), BATCH),
    *('Warning: ' + w for w in conventions.warnings(norm_group(), 4, BATCH)),
    'none: no running statistics',
  ]
  assert lines[:3] == expected
  for line in expected:
    assert lines.count(line) == 1
  again = run('bnresearch.main', *arguments)
  assert 'momentum' not in again.stdout  # nothing was trained
  dry = run('bnresearch.main', f'--config={config}', '--config.dry_run=True')
  assert dry.stdout.splitlines()[:2] == [expected[0], expected[2]]
  assert 'Warning' not in dry.stdout


def test_the_command_prints_the_table_and_every_remark():
  printed = run('bnresearch.conventions')
  assert printed.returncode == 0, printed.stderr
  assert '…' not in printed.stdout  # nothing is cut off at 80 columns
  lines = printed.stdout.splitlines()
  words = ' '.join(printed.stdout.split())
  for name, framework in FRAMEWORKS.items():
    row = next(line.split() for line in lines if line.strip().startswith(name))
    none = framework.default is None
    assert row == [
      name,
      framework.parameter,
      'none' if none else f'{framework.default:g}',
      framework.weighs,
      f'{framework.epsilon:g}',
      framework.running_variance,
      framework.debias,
    ]
    assert f'{name}: {framework.layer}. {framework.remark}' in words


def test_the_command_converts(capsys):
  arguments = ['--from=pytorch', '--to=flax', '--momentum=0.1', '--var=1.0']
  assert __main__.main([*arguments, '--epsilon=1e-5', '--count=60']) == 0
  assert capsys.readouterr().out.splitlines() == [
    'pytorch: momentum=0.1, eps=1e-05, running variance=1 (momentum weighs '
    'the new value, running variance unbiased, not debiased)',
    'flax: momentum=0.9, epsilon=1e-05, running variance=0.983333333333 '
    '(momentum weighs the old value, running variance biased, not debiased)',
    'knobs of bnresearch that do as pytorch: --config.norm.momentum=0.9 '
    '--config.norm.epsilon=1e-05 --config.norm.running_variance=unbiased '
    '--config.norm.debias=False',
    'half-life 6.6 updates; 99% forgotten after 44',
  ]
  # Its defaults are the source's; an initial 1 that is left needs no factor.
  assert __main__.main(['--from=slim', '--to=pytorch']) == 0
  assert 'pytorch: momentum=0.001, eps=0.001 (' in capsys.readouterr().out
  assert __main__.main([*arguments, '--count=60', '--steps=1']) == 0
  assert 'variance=0.998333333333 ' in capsys.readouterr().out


def test_bnresearch_as_target_takes_over_the_others_conventions(capsys):
  arguments = ['--from=haiku', '--to=bnresearch', '--momentum=0.9']
  assert __main__.main([*arguments, '--var=2', '--mean=3', '--steps=4']) == 0
  printed = capsys.readouterr().out
  assert 'bnresearch: momentum=0.9, epsilon=1e-05, running mean=3, ' in printed
  assert printed.count('running variance=2 ') == 2
  assert 'norm.running_variance=biased' in printed
  assert '--config.norm.debias=True\n' in printed
  arguments = ['--from=equinox', '--to=bnresearch', '--momentum=0.9']
  assert __main__.main([*arguments, '--var=9.9168', '--steps=7']) == 0
  printed = capsys.readouterr().out
  assert "--config.norm.debias=True, but for equinox's initial var" in printed
  assert 'running variance=9.000000' in printed


@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    (['--momentum=0.1'], '--from is missing: a conversion needs --from=NAME'),
    (['--from=flax'], '--to is missing: a conversion needs --from=NAME'),
    (['--from=flax', '--to=karas'], "Did you mean 'keras'?"),
    (['--from=haiku', '--to=flax'], '--momentum is missing: hk.BatchNorm has'),
    (['--from=pytorch', '--to=flax', '--var=1'], 'count is missing: the'),
    (['--from=flax', '--to=keras', '--momentum=1'], 'momentum = 1.0: flax.'),
  ],
)
def test_the_command_says_what_is_wrong(capsys, arguments, message):
  assert __main__.main(arguments) == 2
  out, errors = capsys.readouterr()
  assert not out
  assert message in errors


# Dropout.


def test_what_dropout_zeroes_is_what_it_does_not_keep(capsys):
  for keep_prob, rate in ((0.8, 0.2), (0.999, 0.001), (0.3, 0.7), (1.0, 0.0)):
    assert dropout.rate_of(keep_prob) == rate
    assert dropout.keep_prob_of(rate) == keep_prob
  assert __main__.main(['--keep-prob=0.8']) == 0
  assert capsys.readouterr().out.splitlines() == [
    'TF-Slim, TensorFlow 1: keep_prob=0.8',
    'PyTorch: p=0.2; Keras, flax: rate=0.2',
    'knob of bnresearch: --config.model.dropout_rate=0.2',
  ]
  assert __main__.main(['--dropout-rate=0.4']) == 0
  assert 'keep_prob=0.6' in capsys.readouterr().out


@pytest.mark.parametrize(
  ('argument', 'message'),
  [
    ('--keep-prob=0', 'keep_prob = 0.0: needs a number above 0 and at most 1'),
    ('--keep-prob=1.5', 'keep_prob = 1.5: needs a number above 0'),
    ('--dropout-rate=1', 'rate = 1.0: needs a number of at least 0 and below'),
    ('--dropout-rate=-0.1', 'rate = -0.1: needs a number of at least 0'),
  ],
)
def test_dropout_beyond_all_and_nothing_is_refused(argument, message, capsys):
  assert __main__.main([argument]) == 2
  assert message in capsys.readouterr().err
  assert __main__.main([argument, '--momentum=0.9']) == 2
  assert '--keep-prob and --dropout-rate each stand alone' in (
    capsys.readouterr().err
  )
