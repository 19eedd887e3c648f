"""Training some of the parameters only: `optim.trained`."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from bnresearch import config as configs
from bnresearch.assembly import assemble
from bnresearch.config import ConfigError
from bnresearch.preflight import Machine
from bnresearch.preflight.network import check_network
from bnresearch.training import optimizer
from configs import default

MACHINE = Machine(1, 'cpu', 0)
PARAMS = {
  'conv': {'kernel': jnp.ones((2, 3)), 'norm': {'scale': jnp.ones(3)}},
  'logits': {'kernel': jnp.ones((3, 2)), 'bias': jnp.zeros(2)},
}


def made(**options):
  config = default.get_config()
  values = {f'optim.{key}': value for key, value in options.items()}
  assert not configs.override(config, values)
  return optimizer.make(10, **config.optim)


def moved(updates, params=PARAMS, steps=3):
  """Returns by how much three steps with gradients of 1 move each parameter."""
  state, now = updates.init(params), params
  for _ in range(steps):
    found, state = updates.update(jax.tree.map(jnp.ones_like, now), state, now)
    now = optax.apply_updates(now, found)
  return jax.tree.map(lambda a, b: np.abs(a - b).max(), now, params), state


@pytest.mark.parametrize('name', ['sgd', 'adamw', 'lamb'])
def test_only_the_parameters_that_a_pattern_fits_move(name):
  found, _ = moved(made(name=name, trained=('*/scale', 'logits/*')))
  assert found['conv']['kernel'] == 0
  assert min(jax.tree.leaves((found['conv']['norm'], found['logits']))) > 0


def test_the_others_have_no_state_and_no_decay():
  some = made(momentum=0.9, l2=0.5, trained=('*scale',))
  found, state = moved(some)
  assert found['conv']['kernel'] == found['logits']['kernel'] == 0
  sizes = [leaf.size for leaf in jax.tree.leaves(state) if leaf.ndim]
  assert sizes == [3]


def test_what_is_trained_moves_as_if_it_were_alone():
  """Also where a norm of all gradients is clipped."""
  options = {'momentum': 0.9, 'clip_norm': 0.5, 'l2': 0.1}
  found, _ = moved(made(**options, trained=('logits/*',)))
  alone, _ = moved(made(**options), {'logits': PARAMS['logits']})
  jax.tree.map(np.testing.assert_array_equal, found['logits'], alone['logits'])


def test_a_pattern_that_fits_no_parameter_is_refused():
  config = default.get_config()
  assert not configs.override(config, {'optim.trained': ('*scale', 'stem*')})
  with pytest.raises(
    ConfigError,
    match=r"optim.trained: 'stem\*' fits no parameter. There are "
    r'hidden_1/kernel, hidden_1/norm/bias, ',
  ):
    check_network(assemble(config), MACHINE)
