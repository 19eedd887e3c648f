"""What would stop a run is found before anything is written."""

import io

import jax
import numpy as np
import pytest
from rich.console import Console

from bnresearch import config as configs
from bnresearch.assembly import assemble
from bnresearch.data import synthetic
from bnresearch.machine import process
from bnresearch.preflight import Machine, memory, this_machine
from bnresearch.preflight.images import check_images
from bnresearch.preflight.network import check_network
from bnresearch.runs import session
from bnresearch.sweeps import checks, local, notes, slurm
from bnresearch.sweeps.points import points
from bnresearch.sweeps.vectorized import launcher as vectorized
from bnresearch.training.state import State
from configs import default
from tests import folders

CONSOLE = Console(quiet=True)
LAUNCHERS = {
  'local': lambda chosen, workdir: local.run(chosen, workdir, 1, CONSOLE),
  # It spreads points over devices, not batches.
  'vectorized': lambda chosen, workdir: vectorized.run(
    chosen, workdir, CONSOLE
  ),
  'slurm': lambda chosen, workdir: slurm.run(chosen, workdir, CONSOLE),
}
LENET = {'model.name': 'lenet', 'model.stem': 'small'}


def config_of(values, sweep=()):
  config = default.get_config()
  # One device: what is not refused shall not hang where threads are few.
  small = {'data.name': 'synthetic', 'model.features': (20,)}
  small |= {'parallel.devices': 1}
  if 'model.name' in values:
    del small['model.features']
  assert configs.override(config, small | values) == []
  with config.unlocked():
    config.sweep = sweep
  return config


def refusal(values, launch, workdir, sweep=()):
  """Returns the message of a refusal that has left no trace."""
  with pytest.raises(configs.ConfigError) as raised:
    launch(points(config_of(values, sweep), {}), workdir)
  assert not workdir.exists()
  return str(raised.value)


WRONG = [
  ({'train.batch_size': 1}, 'an unbiased variance needs at least 2'),
  ({'norm.group_size': 1}, 'an unbiased variance needs at least 2'),
  ({'train.batch_size': 601}, 'is more than the 600 training examples of data'),
  ({'norm.sites': ('stem=none',)}, "'stem' fits no layer with a norm"),
  ({'norm.name': 'filter_response'}, 'leaves the sign only'),
  (LENET | {'model.stem': 'medium'}, "stem = 'medium': this network has none"),
  (
    {'norm.sites': ('hidden_1=batch',)},
    "norm.sites: 'hidden_1=batch' is without effect",
  ),
  ({'norm.sites': ('*=layer',)}, "norm.name = 'batch': is without effect, as"),
  (
    {'norm.per_activation': ('hidden*',)},
    "norm.per_activation: 'hidden*' is without effect",
  ),
  (
    LENET | {'model.count_padding': True},
    'model.count_padding = True: is without effect in this network. Leave it '
    'at False.',
  ),
  (
    {'data.on_device': 'never', 'train.scan': 'always'},
    "train.scan = 'always': without effect, as the training images do not live",
  ),
  (
    {'augment.photometric': 1.0, 'augment.hue': 0.1},
    "augment.hue = 0.1: the images of data.name = 'synthetic' are grey",
  ),
]


@pytest.mark.parametrize(('values', 'message'), WRONG)
def test_a_run_that_would_fail_is_refused_before_it_has_a_directory(
  values, message, tmp_path
):
  assert message in refusal(values, LAUNCHERS['local'], tmp_path / 'runs')


@pytest.mark.parametrize('name', LAUNCHERS)
def test_every_launcher_looks_at_every_point(name, tmp_path, monkeypatch):
  monkeypatch.setattr(slurm, '_check', lambda chosen: None)  # is there sbatch?
  sweep = tuple({'norm.group_size': size} for size in (4, 1, 2))
  said = refusal({}, LAUNCHERS[name], tmp_path / 'runs', sweep)
  assert said.startswith('A problem:\n  group_size=1: A group of the shape')


def test_devices_are_those_of_the_machine_or_of_a_job(tmp_path, monkeypatch):
  monkeypatch.setattr(process, 'cores', lambda: 2)
  workdir, wanted = tmp_path / 'runs', {'parallel.devices': 60}
  assert refusal(wanted, LAUNCHERS['local'], workdir).endswith(
    'parallel.devices = 60: this machine has 2 cores, which are 16 devices at '
    'most. Take fewer, or 0 for as many as fit.'
  )
  monkeypatch.setattr(slurm, '_check', lambda chosen: None)
  wanted |= {'slurm.cpus': 30}
  assert refusal(wanted, LAUNCHERS['slurm'], workdir).endswith(
    'parallel.devices = 60: there are 30 here.'
  )
  with pytest.raises(configs.ConfigError, match='1000: must divide '):
    points(config_of({'parallel.devices': 1000}), {})


def test_the_architectures_own_may_be_named():
  values = {'model.activation': 'sigmoid', 'norm.name': 'none'}
  here = this_machine()
  check_network(assemble(config_of(values)), here)


def test_one_device_has_no_back_end():
  config = config_of({'parallel.backend': 'pmap', 'parallel.devices': 0})
  alone = Machine(1, 'cpu', 0)
  with pytest.raises(configs.ConfigError, match=r"'pmap': .* one device only"):
    check_network(assemble(config), alone)


def test_a_split_of_its_own_leaves_none_to_be_chosen(tmp_path):
  values = {'data.name': 'image_folder', 'data.validation': 0.4}
  values |= {'train.batch_size': 4, 'data.split_seed': 1}
  unfolded = folders.fill(tmp_path / 'unfolded', {'cat': 8, 'dog': 8})
  config = config_of(values | {'data.folder': str(unfolded)})
  assert check_images(assemble(config)) == 0  # none lives on the device
  folded = folders.in_order(tmp_path / 'folded')
  config = config_of(values | {'data.folder': str(folded)})
  with pytest.raises(configs.ConfigError) as raised:
    check_images(assemble(config))
  assert [p.partition(':')[0] for p in raised.value.problems] == [
    'data.validation = 0.4',
    'data.split_seed = 1',
  ]


# Of a sweep.


def test_a_point_may_have_in_vain_what_its_neighbours_have_to_an_effect():
  """It is said: momentum without a normalizer, a bias that nothing cancels."""
  values = {'model.keep_bias': True, 'norm.momentum': 0.9}
  sweep = tuple({'norm.name': name} for name in ('batch', 'none'))
  chosen = points(config_of(values, sweep), {})
  console = Console(file=io.StringIO())
  notes.tell(checks.check_points(chosen), console)
  shown = console.file.getvalue()
  assert 'norm.momentum = 0.9: without effect at 1 of 2 points.' in shown
  alone = {'norm.name': 'none'} | values
  with pytest.raises(configs.ConfigError) as raised:
    points(config_of(alone), {})
  (problem,) = raised.value.problems
  assert problem.startswith(
    "norm.momentum = 0.9: norm.name = 'none' has no such option. Leave it at "
    '0.99, or choose another norm.name: batch, '
  )
  (point,) = points(config_of(alone | {'norm.momentum': 0.99}), {})
  with pytest.raises(
    configs.ConfigError, match=r'^A problem:\n  model\.keep_bi'
  ):
    checks.check_points([point])


# Memory.


def test_what_surely_does_not_fit_is_refused_with_what_takes_it():
  config = config_of({'train.batch_size': 600})
  small = Machine(1, 'cpu', 2**20)
  with pytest.raises(
    configs.ConfigError,
    match=r'^A problem:\n  train\.batch_size = 600: a step needs at least .* '
    r'GiB of memory, and there are 0\.000977 GiB\. .*train\.remat',
  ):
    check_network(assemble(config), small, resident=2**20)
  check_network(assemble(config), small._replace(memory=2**23), 2**20)


def test_parts_and_what_is_made_again_take_less_memory():
  def needed(remat='none'):
    taps = [jax.ShapeDtypeStruct((100, 100), np.float32)] * 3
    said = memory.problem(
      60,
      1,
      remat,
      devices=1,
      available=0,
      state=State(np.int32(0), {}, {}, ()),
      resident=0,
      taps=taps,
    )
    return float(said.partition('at least ')[2].partition(' ')[0])

  whole = needed()
  np.testing.assert_allclose(needed(remat='blocks'), whole / 3, rtol=0.01)


def test_a_run_that_lacks_memory_says_so(tmp_path, monkeypatch):
  def load(split, **options):
    raise MemoryError('Unable to allocate 9.31 TiB for an array')

  monkeypatch.setattr(synthetic, 'load', load)
  with pytest.raises(MemoryError):
    session.train(assemble(config_of({})), tmp_path / 'run')
  status = (tmp_path / 'run/status.json').read_text()
  assert 'Out of memory (Unable to allocate 9.31 TiB' in status
