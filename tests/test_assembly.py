"""From a config to its parts: each once; knobs that are left out; sites."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bnresearch import config as configs
from bnresearch import data, knobs, lookup, models
from bnresearch.assembly import assemble
from bnresearch.assembly.network import Network
from bnresearch.data import synthetic
from bnresearch.models import _activations, _initializers
from bnresearch.models._layer_options import OWN
from bnresearch.preflight import sites
from bnresearch.sweeps import local
from bnresearch.sweeps.points import points
from bnresearch.terminal import Console
from configs import default


def config_of(**values):
  config = default.get_config()
  dotted = {key.replace('__', '.'): value for key, value in values.items()}
  assert configs.override(config, dotted) == []
  return config


def built(**values):
  config = config_of(**values)
  assert knobs.problems(config) == []
  return assemble(config).network.model


@pytest.mark.parametrize('name', lookup.names('models'))
def test_the_defaults_are_every_architectures_own(name):
  """What a config does not say is as it was published."""
  network = built(model__name=name)
  own = lookup.find('models', name).Model(10, network.layers)
  fields = set(own.__dataclass_fields__) - {'parent', 'name'}
  for field in fields - {'features', 'units'}:
    assert getattr(network, field) == getattr(own, field), field


def test_yes_and_no_become_true_and_false():
  assert built(model__name='alexnet').lrn is None
  assert built(model__name='alexnet', model__lrn='yes').lrn is True
  assert built(model__name='alexnet', model__lrn='no').lrn is False


def test_minus_one_is_a_number_but_for_dropout():
  assert built(model__name='lstm', model__forget_bias=-1.0).forget_bias == -1


def test_a_dropout_rate_of_zero_is_no_default():
  assert built(model__name='vgg').dropout_rate == 0.5
  assert built(model__name='vgg', model__dropout_rate=0.0).dropout_rate == 0


@pytest.mark.parametrize(
  ('values', 'message'),
  [
    (
      {'model__stem': 'small'},
      "model.stem = 'small': model.name = 'mlp' has no such option. Leave it "
      "at 'paper', or choose another model.name: alexnet, ",
    ),
    (
      {'model__name': 'lenet', 'model__auxiliary_heads': True},
      "model.auxiliary_heads = True: model.name = 'lenet' has no such option. "
      'Leave it at False, or choose another model.name: googlenet, ',
    ),
    (
      {'model__name': 'resnet', 'model__variant': '51'},
      "model.variant = '51': of model.name = 'resnet', needs one of 18, 34, ",
    ),
    (
      {'objective__auxiliary': 'alternating'},
      'without effect, as model.auxiliary_heads is False. Leave it at '
      "'weighted', or set model.auxiliary_heads = True.",
    ),
    (
      {'model__name': 'resnet', 'model__zero_init': True, 'norm__name': 'none'},
      "norm.name = 'none' has no scale. Leave it at False, or choose",
    ),
    (
      {
        'model__name': 'resnet',
        'model__zero_init': True,
        'model__version': 'v2',
      },
      "no norm ends a branch of model.version = 'v2'",
    ),
    ({'model__units': 3}, "model.units = 3: model.name = 'mlp' has no such"),
    ({'model__dropout_rate': 1.0}, 'at least 0 and below 1, or -1'),
    ({'norm__sites': ('stem',)}, "needs a tuple of 'PATTERN=NORM'"),
    ({'norm__sites': ('stem=bacth',)}, "needs a tuple of 'PATTERN=NORM'"),
  ],
)
def test_what_an_architecture_does_not_have_is_refused(values, message):
  problems = knobs.problems(config_of(**values))
  assert len(problems) == 1
  assert message in problems[0]


@pytest.mark.parametrize('name', lookup.names('models'))
def test_words_that_configs_allow_are_those_of_the_architectures(name):
  for knob, words in getattr(
    lookup.find('models', name), 'CHOICES', {}
  ).items():
    rule = knobs.KNOBS[f'model.{knob}'].rule
    assert all(rule.holds(word) for word in words), knob
    assert set(rule.choices) <= {OWN, *words}


def test_names_that_configs_allow_are_those_that_there_are():
  activations = knobs.KNOBS['model.activation'].rule.choices
  assert set(activations) == {OWN, *_activations.NAMES}
  initializers = knobs.KNOBS['model.initializer'].rule.choices
  assert set(initializers) == {OWN, *_initializers.NAMES}


SMALL = {
  'model__name': 'resnet',
  'model__variant': '18',
  'model__stem': 'small',
}


def test_a_site_may_have_another_norm():
  sites = ('stage_*=group', 'stage_1*=none', 'stem=layer')
  network = built(**SMALL, norm__sites=sites)
  make = network.layers.norm
  for site, norm in (
    ('stem', 'layer'),
    ('stage_1_block_1/conv_1', 'none'),  # the last pattern that fits
    ('stage_2_block_1/conv_1', 'group'),
    ('elsewhere', 'batch'),
  ):
    assert make(site).func is lookup.find('norms', norm).Norm
  variables = models.shapes(network, 32)
  assert 'batch_stats' not in variables
  stages = variables['params']
  assert 'bias' in stages['stage_1_block_1']['conv_1']  # nothing cancels it
  assert 'bias' in stages['stage_2_block_1']['conv_1']


def test_sites_keep_the_options_of_the_config():
  network = built(**SMALL, norm__sites=('stem=group',), norm__channel_groups=2)
  assert network.layers.norm('stem').keywords['channel_groups'] == 2


def test_a_pattern_that_fits_no_layer_is_refused_with_those_that_there_are():
  config = config_of(**SMALL, norm__sites=('stem=none', 'stme*=none'))
  with pytest.raises(
    ValueError, match=r"'stme\*' fits no layer with a norm\. There are .*stem"
  ):
    sites.check(assemble(config))


def test_statistics_of_each_position_are_for_the_layers_that_are_named():
  paths = ('stage_4*', 'stem')
  network = built(**SMALL, norm__per_activation=paths)
  variables = models.shapes(network, 32)
  stats = variables['batch_stats']
  assert stats['stem']['norm']['mean'].shape == (32, 32, 64)
  assert stats['stage_1_block_1']['conv_1']['norm']['mean'].shape == (64,)
  last = stats['stage_4_block_2']['conv_1']['norm']
  assert last['mean'].shape == (4, 4, 512)
  config = config_of(**SMALL, norm__per_activation=(*paths, 'stage_9*'))
  images, labels = np.zeros((1, 32, 32, 1), np.uint8), np.zeros(1, np.int32)
  source = data.Arrays(images, labels, ('a', 'b'))
  with pytest.raises(
    ValueError, match=r"norm\.per_activation: 'stage_9\*' fit"
  ):
    sites.check(assemble(config, sources={'train': source}))


def test_evaluation_keeps_the_sites():
  config = config_of(**SMALL, norm__sites=('stem=group',))
  network = assemble(config).network.evaluated
  group = lookup.find('norms', 'group').Norm
  assert network.layers.norm('stem').func is group


def test_a_gain_is_of_the_initial_kernels_of_convolutions():
  def first(gain):
    network = built(model__name='lenet', model__init_gain=gain)
    images = jnp.ones((2, 28, 28, 1))
    return network.init(jax.random.key(0), images, train=False)['params']

  own, larger = first(1.0), first(2.5)
  for name, layer in own.items():
    times = 2.5 if layer['kernel'].ndim == 4 else 1
    np.testing.assert_allclose(
      larger[name]['kernel'], times * layer['kernel'], rtol=1e-6
    )


def test_a_run_loads_each_split_and_makes_each_network_once(
  tmp_path, monkeypatch
):
  loaded, made = [], []
  load, with_norms = synthetic.load, Network.with_norms

  @functools.wraps(load)
  def noted_load(split, **options):
    loaded.append(split)
    return load(split, **options)

  def noted_network(network, **changed):
    made.append('evaluated' if changed else 'trained')
    return with_norms(network, **changed)

  monkeypatch.setattr(synthetic, 'load', noted_load)
  monkeypatch.setattr(Network, 'with_norms', noted_network)
  config = config_of(
    data__name='synthetic',
    train__steps=2,
    train__log_every=2,
    eval__every=2,
    checkpoint__every=2,
    probes__every=2,
    probes__names=('saturation',),
  )
  todo = points(config, {})
  result = local.run(todo, tmp_path / 'run', 1, Console(quiet=True))
  assert [*result.values()] == ['done']
  assert sorted(loaded) == ['test', 'train']
  assert sorted(made) == ['evaluated', 'trained']


def test_parts_of_configs_with_the_same_data_share_it():
  first = assemble(config_of(data__name='synthetic'))
  alike = assemble(config_of(data__name='synthetic', seed=1), first)
  assert alike.data is first.data
  other = config_of(data__name='synthetic', data__examples=30)
  assert len(assemble(other, first).data.source('train')) == 30
