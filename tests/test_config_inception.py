"""The study of section 4.2: its points are the paper's, at both scales."""

import jax
import pytest

from bnresearch import config as configs
from bnresearch import knobs, models
from bnresearch.assembly import assemble
from bnresearch.runs import run_directory
from bnresearch.sweeps import statuses
from bnresearch.sweeps.points import points
from configs import inception

MODIFIED = {
  'learning_rate': {'optim.learning_rate'},
  'dropout': {'model.dropout_rate'},
  'l2': {'optim.l2'},
  'decay': {'optim.decay_steps', 'train.steps'},
  'lrn': {'model.lrn'},
  'shuffle': {'data.shuffle'},
  'photometric': {'augment.photometric'},
}


def of(arg):
  """Returns {label: values} of one seed."""
  found = points(configs.load(f'configs/inception.py:{arg}'), {})
  return {point.config.label: knobs.leaves(point.config) for point in found}


def changed(one, other):
  return {key for key in one if one[key] != other[key]} - {'label'}


@pytest.mark.parametrize('scale', ['small', 'paper'])
def test_the_curves_of_figure_2_differ_as_the_paper_says(scale):
  curves = of(f'scale={scale}')
  plain = curves['inception']
  every = set().union(*MODIFIED.values())
  sigmoid = {'model.activation'}
  assert {label: changed(plain, curve) for label, curve in curves.items()} == {
    'inception': set(),
    'bn_baseline': {'norm.name'},
    'bn_x5': {'norm.name', *every},
    'bn_x30': {'norm.name', *every},
    'bn_x5_sigmoid': {'norm.name', *every, *sigmoid},
    'inception_x5': {'optim.learning_rate'},
    'inception_sigmoid': sigmoid,
  }
  rates = {
    label: curve['optim.learning_rate'] for label, curve in curves.items()
  }
  for label, times in (('bn_x5', 5), ('inception_x5', 5), ('bn_x30', 30)):
    assert rates[label] == pytest.approx(times * rates['inception'])


def test_the_scale_of_the_paper_has_its_numbers():
  curves = of('scale=paper')
  plain, fast = curves['inception'], curves['bn_x5']
  assert plain['optim.learning_rate'] == 0.0015
  assert fast['optim.learning_rate'] == 0.0075
  assert curves['bn_x30']['optim.learning_rate'] == 0.045
  assert (plain['model.dropout_rate'], fast['model.dropout_rate']) == (0.4, 0)
  assert (plain['model.lrn'], fast['model.lrn']) == ('yes', 'no')
  assert (plain['data.shuffle'], fast['data.shuffle']) == (
    'none',
    'within_shard',
  )
  assert plain['optim.l2'] / fast['optim.l2'] == pytest.approx(5)
  assert plain['optim.decay_steps'] // fast['optim.decay_steps'] == 6
  assert plain['train.batch_size'] == 32
  assert plain['train.steps'] > 31e6


@pytest.mark.parametrize('study', ['figure2', 'ensemble'])
def test_every_network_of_the_papers_scale_takes_its_images(study):
  chosen = configs.load(f'configs/inception.py:scale=paper,study={study}')
  for point in points(chosen, {}):
    network = assemble(point.config).network.model
    params = models.shapes(network, 224)['params']
    count = sum(leaf.size for leaf in jax.tree.leaves(params))
    expected = 11_278_528
    if point.config.norm.name == 'none':
      expected -= 9_992  # channels, each with a bias instead of gamma and beta
    if point.config.norm.per_activation:  # at 7x7 in the 3,232 of 5a and 5b
      expected += 2 * (7 * 7 - 1) * 3_232
    assert count == expected, point.name


def test_each_modification_is_added_and_left_out_alone():
  found = of('study=modifications')
  for name, keys in MODIFIED.items():
    added, without = f'bn_baseline_with_{name}', f'bn_x5_without_{name}'
    assert changed(found['bn_baseline'], found[added]) == keys
    assert changed(found['bn_x5'], found[without]) == keys
  assert len(found) == 2 + 2 * len(MODIFIED)


def test_the_ensemble_is_of_six_networks_like_bn_x30_with_the_variations():
  alone = of('')['bn_x30']
  found = of('study=ensemble')
  assert found.pop('bn_x30') == alone  # its run is that of Figure 2
  allowed = {'model.init_gain', 'model.dropout_rate', 'norm.per_activation'}
  differences = [changed(alone, values) - {'seed'} for values in found.values()]
  assert len(found) == 6
  assert all(len(keys) > 0 and keys <= allowed for keys in differences)
  assert set().union(*differences) == allowed
  rates = {values['model.dropout_rate'] for values in found.values()}
  assert rates == {0, 0.05, 0.1}
  sweep = configs.load('configs/inception.py:study=ensemble,seeds=3').sweep
  assert len({overrides['seed'] for overrides in sweep}) == 3 * 7


@pytest.mark.parametrize(
  'studies', [('figure2', 'ensemble', 'figure2'), ('auxiliary', 'photometric')]
)
def test_studies_share_a_directory(studies, tmp_path):
  for study in studies:
    chosen = points(configs.load(f'configs/inception.py:study={study}'), {})
    statuses.of_points(chosen, tmp_path)
    for point in chosen:
      with run_directory.claim(point.directory(tmp_path), point.config):
        pass


def test_a_network_of_another_seed_and_config_is_refused(tmp_path):
  study = 'configs/inception.py:study=figure2,seeds=2'
  chosen = points(configs.load(study), {})
  with run_directory.claim(chosen[0].directory(tmp_path), chosen[0].config):
    pass
  others = points(configs.load(study), {'optim.momentum': '0.8'})
  with pytest.raises(run_directory.Refused, match=r'0\.9 -> 0\.8'):
    statuses.of_points(others[len(others) // 2 :], tmp_path)


def test_tuning_varies_the_learning_rate_of_inception_and_nothing_else():
  found = of('study=tuning')
  plain = of('')['inception']
  for values in found.values():
    assert changed(plain, values) <= {'optim.learning_rate'}
  assert plain['optim.learning_rate'] in {
    values['optim.learning_rate'] for values in found.values()
  }


def test_larger_batches_see_as_many_images_in_groups_of_32():
  small, large = of('scale=paper'), of('scale=paper,batch=256')
  for label, curve in small.items():
    other = large[label]
    for key in ('train.steps', 'optim.decay_steps'):
      assert other[key] * 8 == pytest.approx(curve[key], rel=1e-4)
    rate = other['optim.learning_rate']
    assert rate == pytest.approx(8 * curve['optim.learning_rate'])
    assert other['norm.group_size'] == 32


@pytest.mark.parametrize(
  ('arg', 'message'),
  [
    ('study=figure9', 'needs one of figure2, modifications, ensemble, '),
    ('scale=large', 'needs one of small, paper'),
    ('steps=100', 'needs a multiple of 300'),
    ('scale=paper,batch=96', 'needs 32, 64, 128 or 256'),
  ],
)
def test_a_wrong_argument_is_refused(arg, message):
  with pytest.raises(ValueError, match=message):
    inception.get_config(arg)
