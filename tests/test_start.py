"""Fine-tuning: from a run or an imported file, heads left out, BN frozen."""

import jax
import numpy as np
import pytest

import bnresearch as bnr
from bnresearch import config as configs
from bnresearch import data, main
from bnresearch.assembly import assemble
from bnresearch.runs import session, start
from bnresearch.runs.checkpoint import RestoreError
from configs import default
from tests import test_pretrained

CLASSES = tuple('0123456789')


def config_of(**values):
  config = default.get_config()
  dotted = {key.replace('__', '.'): value for key, value in values.items()}
  assert not configs.override(
    config,
    {
      'data.name': 'synthetic',
      'model.features': (8, 8),
      'train.steps': 4,
      'train.log_every': 2,
      'eval.every': 2,
      'checkpoint.every': 2,
    }
    | dotted,
  )
  return config.lock()


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  path = tmp_path_factory.mktemp('runs') / 'first'
  assert session.train(assemble(config_of()), path) == 'done'
  return bnr.open_run(path)


def begun(config, image_shape=(8, 8, 1), classes=10):
  """Returns the fresh state, and the one that training begins with."""
  parts = parts_of(config, image_shape, CLASSES[:classes])
  return parts.training.fresh_state(), start.into(
    parts.training.fresh_state(), parts
  )


def parts_of(config, image_shape, names):
  """Returns parts for images and classes that are not those of the data set."""
  images, labels = np.zeros((1, *image_shape), np.uint8), np.zeros(1, np.int32)
  source = data.Arrays(images, labels, tuple(names))
  return assemble(config, sources={'train': source})


def same(a, b):
  return jax.tree.all(jax.tree.map(np.array_equal, a, b))


@pytest.mark.parametrize('checkpoint', ['best', 'latest', '2'])
def test_all_weights_of_a_run_are_taken(run, checkpoint):
  config = config_of(
    start__path=str(run.path), start__checkpoint=checkpoint, seed=1
  )
  fresh, now = begun(config)
  which = int(checkpoint) if checkpoint.isdecimal() else checkpoint
  saved = run.restore(which)
  assert same(now.params, saved.params)
  assert same(now.collections, saved.collections)
  assert not same(fresh.params, saved.params)
  assert int(now.step) == 0
  assert same(now.opt_state, fresh.opt_state)


def test_named_heads_stay_as_the_seed_made_them(run):
  config = config_of(
    start__path=str(run.path), start__exclude=('logits',), seed=1
  )
  fresh, now = begun(config, classes=3)
  saved = run.restore('best')
  assert same(now.params['logits'], fresh.params['logits'])
  assert now.params['logits']['kernel'].shape == (8, 3)
  assert same(now.params['hidden_1'], saved.params['hidden_1'])
  assert same(now.collections, saved.collections)


def test_another_head_that_is_not_left_out_is_named(run):
  with pytest.raises(RestoreError) as raised:
    begun(config_of(start__path=str(run.path)), classes=3)
  message = str(raised.value)
  assert 'params/logits/kernel: [8, 10] there, [8, 3] here' in message
  assert 'start.exclude' in message
  assert 'hidden' not in message


def test_a_head_for_other_classes_is_refused_though_its_shape_fits(run):
  config = config_of(start__path=str(run.path))
  parts = parts_of(config, (8, 8, 1), 'abcdefghij')
  with pytest.raises(RestoreError, match=r'tells 0, 1, .* shall tell a, b, '):
    start.into(parts.training.fresh_state(), parts)


def test_what_only_they_have_can_be_left_out(run):
  config = config_of(start__path=str(run.path), norm__name='none')
  with pytest.raises(RestoreError, match=r'1/norm/mean: \[8\] there, ab'):
    begun(config)
  config = config_of(
    start__path=str(run.path),
    start__exclude=('*/norm', 'hidden_?'),
    norm__name='none',
  )
  _, now = begun(config)
  assert same(now.params['logits'], run.restore('best').params['logits'])


def test_a_sweeps_directory_names_its_runs(run):
  with pytest.raises(FileNotFoundError, match=f'inside it: {run.path}'):
    begun(config_of(start__path=str(run.path.parent)))


def test_a_file_needs_to_be_said_whose_it_is(tmp_path):
  (tmp_path / 'weights.npz').touch()
  with pytest.raises(FileNotFoundError, match=r'this is a file.*start.source'):
    begun(config_of(start__path=str(tmp_path / 'weights.npz')))


def test_a_pattern_without_a_layer_names_the_nearest(run):
  with pytest.raises(RestoreError, match=r"'logit' .* Did you mean 'logits'"):
    begun(config_of(start__path=str(run.path), start__exclude=('logit',)))


def test_nothing_to_start_from_is_said(tmp_path):
  with pytest.raises(FileNotFoundError, match=r'start.path = .*: there is not'):
    begun(config_of(start__path=str(tmp_path / 'none')))


def test_exclude_without_a_path_is_refused(capsys):
  arguments = ['--config=configs/default.py', "--config.start.exclude=('a',)"]
  assert main.main(arguments) == 2
  assert 'start.exclude' in capsys.readouterr().err


def test_frozen_bn_keeps_statistics_and_affine_through_training(run, tmp_path):
  config = config_of(
    start__path=str(run.path),
    norm__frozen_statistics=True,
    norm__frozen_affine=True,
    seed=1,
  )
  assert session.train(assemble(config), tmp_path / 'run') == 'done'
  saved = run.restore('best')
  tuned = bnr.open_run(tmp_path / 'run').restore('latest')
  assert same(tuned.collections, saved.collections)
  for layer in ('hidden_1', 'hidden_2'):
    assert same(tuned.params[layer]['norm'], saved.params[layer]['norm'])
    kernels = [s.params[layer]['kernel'] for s in (tuned, saved)]
    assert not same(*kernels)


def test_a_run_that_continues_does_not_start_anew(run, tmp_path):
  values = {'start__path': str(run.path), 'seed': 1}
  assert (
    session.train(assemble(config_of(**values)), tmp_path / 'whole') == 'done'
  )
  whole = bnr.open_run(tmp_path / 'whole').restore()
  # Interrupted after two steps.
  path = tmp_path / 'parts'
  assert (
    session.train(assemble(config_of(**values, train__steps=2)), path) == 'done'
  )
  config = config_of(**values)
  config_file = path / 'config.json'
  config_file.write_text(
    config_file.read_text().replace('"steps": 2', '"steps": 4')
  )
  (path / 'status.json').unlink()
  assert session.train(assemble(config), path) == 'done'
  assert same(bnr.open_run(path).restore().params, whole.params)


def of_torchvision(path, **values):
  """Returns the config of a small ResNet that begins with a file there."""
  return config_of(
    model__name='resnet',
    model__variant='18',
    model__blocks=(1,),
    model__stem='small',
    start__path=str(path),
    start__source='torchvision',
    **values,
  )


def test_options_that_do_not_fit_the_file_are_refused_by_their_knobs(tmp_path):
  """Before the file is read, and so before a run directory is made."""
  path = tmp_path / 'weights.npz'
  path.touch()
  config = of_torchvision(
    path,
    model__version='v1',
    model__padding='same',
    norm__epsilon=1e-3,
    start__exclude=('logits',),
  )
  with pytest.raises(RestoreError) as refused:
    start.check(assemble(config))
  assert str(refused.value).split('\n  ') == [
    "start.source: The weights are of torchvision's resnet. With these "
    'options, this network would make other logits of them:',
    'norm.epsilon = 0.001: needs 1e-05',
    "model.version = 'v1': needs 'v1.5'",
    "model.padding = 'same': needs 'symmetric'",
  ]
  # Where norms stay as they begin, their epsilon is free.
  norms = {'start__exclude': ('*/norm',), 'norm__epsilon': 1e-3}
  start.check(assemble(of_torchvision(path, **norms)))


def test_a_file_that_does_not_fit_is_named(tmp_path):
  arrays = test_pretrained.theirs()
  del arrays['fc.bias']
  path = test_pretrained.saved(tmp_path / 'weights.npz', arrays)
  size = test_pretrained.SIZE
  with pytest.raises(RestoreError) as refused:
    begun(of_torchvision(path), (size, size, 3))
  first, *listed = str(refused.value).split('\n  ')
  assert first == f'start.path = {str(path)!r}: These variables do not fit:'
  assert listed == ['params/logits/bias: fc.bias, is missing']


@pytest.mark.parametrize('classes', [3, 10])
def test_weights_of_torchvision_serve_without_their_head(tmp_path, classes):
  arrays = test_pretrained.theirs()
  file = test_pretrained.saved(tmp_path / 'weights.safetensors', arrays)
  config = of_torchvision(file, start__exclude=('logits',))
  size = test_pretrained.SIZE
  fresh, now = begun(config, (size, size, 3), classes)
  assert same(now.params['logits'], fresh.params['logits'])
  scale = now.params['stem']['norm']['scale']
  np.testing.assert_array_equal(scale, arrays['bn1.weight'])
  mean = now.collections['batch_stats']['stem']['norm']['mean']
  np.testing.assert_array_equal(mean, arrays['bn1.running_mean'])
