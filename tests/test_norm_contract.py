"""The contract that users check on norms of their own: `norm_contract`."""

import itertools
import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from bnresearch import lookup, norm_contract
from bnresearch.norm_contract import promises
from bnresearch.norm_contract.promises import PROMISES
from bnresearch.norm_contract.subject import Subject
from bnresearch.norms._running import Running
from tests.daily import some

CALLS = itertools.count()

# What a norm does wrong, the promise that it breaks, and what is said of it.
FAULTS = {
  'dtype': ('shape and dtype', r'^bfloat16 \(16, 6\) becomes float32'),
  'half': ('variables are float32', r'^one is bfloat16\.$'),
  'cache': ('variables are float32', r'^there is cache\.$'),
  'gradients': ('gradients are finite', r'^one is zero everywhere, for'),
  'epsilon': ('all is finite', r'^not finite, for zeros of \(16, 6\)\.$'),
  'calls': ('jit changes nothing', r'^a value differs by '),
  'mask': ('what is masked', r'^where the masked ones become 100, a value'),
  'all masked': ('a batch that is all masked', r'^they have changed\.$'),
  'updates': ('evaluation leaves', r'^a value differs by '),
  'neighbours': ('in evaluation', r'^an example among others: a value'),
  'stays': ('training changes', r'^one stays\.$'),
  'says': ('cancels_bias', r'^it says True, and the output changes by'),
}


class Faulty(nn.Module):
  """Divides by the root mean square of a batch; `fault` says what is wrong."""

  fault: str = ''

  @property
  def cancels_bias(self):
    return self.fault == 'says'

  @nn.compact
  def __call__(
    self, x: jax.Array, *, train: bool, mask: jax.Array | None = None
  ) -> jax.Array:
    fault, axes = self.fault, tuple(range(x.ndim - 1))
    running = Running(self, {'square': jnp.ones(x.shape[-1])})
    kind = jnp.bfloat16 if fault == 'half' else jnp.float32
    scale = self.param('scale', nn.initializers.ones, x.shape[-1:], kind)
    if fault == 'cache':
      self.variable('cache', 'seen', jnp.zeros, ())
    z, counts = x.astype(jnp.float32), jnp.ones(x.shape, bool)
    if mask is not None and fault != 'mask':
      counts &= mask.reshape(-1, *(1,) * (x.ndim - 1))
      z = jnp.where(counts, z, 0)
    here = jnp.square(z).mean(axes, where=counts)
    here = jnp.where(counts.any(), here, 1)
    by_batch = train or fault == 'neighbours'
    chosen = here if by_batch else running['square']
    if (train or fault == 'updates') and running.follows and fault != 'stays':
      where = fault == 'all masked' or counts.any()
      running.update({'square': here}, 0.9, where)
    epsilon = 0 if fault == 'epsilon' else 1e-5
    factor_C = scale / jnp.sqrt(chosen + epsilon)
    y = z * jnp.broadcast_to(factor_C, z.shape)
    if fault == 'gradients':
      y = z + jax.lax.stop_gradient(y - z)
    if fault == 'calls':
      y *= 1 + 0.01 * next(CALLS)
    return y if fault == 'dtype' else y.astype(x.dtype)


class ByPosition(Faulty):
  """Takes `train` without its name."""

  @nn.compact
  def __call__(self, x, train, mask=None):
    return x


@pytest.mark.parametrize(('fault', 'of'), FAULTS.items(), ids=[*FAULTS])
def test_a_broken_promise_is_seen_and_said(fault, of):
  start, said = of
  (holds,) = [PROMISES[text] for text in PROMISES if text.startswith(start)]
  found = holds(Subject(Faulty(fault)))
  assert re.search(said, found), found


def test_train_by_position_is_seen():
  holds = PROMISES['train must be said, by name']
  assert holds(Subject(ByPosition())) == (
    'it can be called with (True,) for train.'
  )


def test_a_result_that_depends_on_the_devices_is_seen(monkeypatch):
  place = promises.over_devices

  def otherwise(devices, variables, x, mask):
    return place(devices, variables, x * (1 + 0.1 * len(devices)), mask)

  holds = PROMISES['all devices give the same as one']
  sound = Subject(Faulty())
  assert holds(sound) == ''
  monkeypatch.setattr(promises, 'over_devices', otherwise)
  assert holds(sound).startswith('on 8, a value differs by ')


def test_a_sound_norm_keeps_all_promises():
  found = norm_contract.check(Faulty)
  assert [*found] == [*PROMISES]
  assert {promise: wrong for promise, wrong in found.items() if wrong} == {}


@pytest.mark.parametrize('name', some(lookup.names('norms'), 'none'))
def test_every_norm_of_the_room_keeps_all_promises(name):
  found = norm_contract.check(lookup.find('norms', name).Norm)
  assert {promise: wrong for promise, wrong in found.items() if wrong} == {}


def test_the_table_has_every_promise_and_what_is_wrong():
  class Raises(nn.Module):
    def __call__(self, x, *, train, mask=None):
      raise ValueError('no such thing\nas this')

  table = norm_contract.table(Raises)
  marks, texts, wrong = (list(column.cells) for column in table.columns)
  assert texts == [*PROMISES]
  assert marks[0] == '[red]broken'
  assert wrong[0] == 'ValueError: no such thing'
