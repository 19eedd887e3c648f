"""Devices and back-ends change no result: the self-test, and what it sees."""

import subprocess
import sys

import jax
import numpy as np
import pytest

from bnresearch import selftest
from bnresearch.machine import process
from bnresearch.training import parallel
from tests.daily import some

FEW = (
  'whole batch',
  'groups of half a share, masked',
  'groups of two shares, pooled',
)
SOME = (
  *FEW,
  'groups of two shares, masked',
  'one-pass variance',
  'batch_renorm, largest groups',
  'noisy_batch',
  'lp, largest groups',
  'iterative_whitening',
  'convolutions, largest groups',
)
BY_DEVICES = {1: FEW[:1], 2: FEW, 4: SOME, 8: FEW}


@pytest.mark.parametrize(
  ('devices', 'name'),
  some(
    [(d, name) for d, names in BY_DEVICES.items() for name in names],
    *((1, FEW[0]), (8, FEW[0])),
    *((4, name) for name in (*FEW, 'convolutions, largest groups')),
  ),
)
def test_all_back_ends_agree_with_one_device(devices, name):
  case = {c.name: c for c in selftest.cases(devices)}[name]
  chosen, N = jax.devices()[:devices], selftest.SHARE * devices
  expected = selftest.step(case, 'jit', chosen[:1], N)
  assert expected.collectives == {}
  for backend in parallel.BACKENDS:
    result = selftest.step(case, backend, chosen, N)
    assert selftest.wrong(case, result, expected) == [], backend


def test_it_sees_statistics_that_are_each_devices_own():
  """As by a normalizer that knows of no devices: groups of a device's share."""
  cases = {c.name: c for c in selftest.cases(4)}
  chosen, N = jax.devices()[:4], selftest.SHARE * 4
  expected = selftest.step(cases['whole batch'], 'jit', chosen[:1], N)
  result = selftest.step(cases['groups of a share'], 'shard_map', chosen, N)
  found = selftest.wrong(cases['whole batch'], result, expected)
  assert [text.split()[0] for text in found] == [
    'gradients',
    'loss',
    'parameters',
    'statistics',
  ]


def test_it_sees_a_layer_that_communicates_twice():
  case = selftest.cases(4)[0]
  chosen, N = jax.devices()[:4], selftest.SHARE * 4
  result = selftest.step(case, 'jit', chosen, N)
  twice = {'all-gather': 2 * result.collectives['all-gather']}
  found = selftest.wrong(case, result._replace(collectives=twice), result)
  assert found == ['8 collectives, more than 6']


def test_the_gradients_of_the_devices_are_averaged_and_not_added():
  """The trap of check_vma: they would be as many times too large."""
  case = selftest.Case('none', 'none')
  one, eight = (
    selftest.step(case, 'shard_map', jax.devices()[:d], 64) for d in (1, 8)
  )
  kernel = lambda r: r.arrays['gradients']['hidden_1']['kernel']
  np.testing.assert_allclose(kernel(eight), kernel(one), rtol=1e-4, atol=1e-7)


def test_it_says_what_it_has_found(capsys, monkeypatch):
  only, make_step, made = selftest.cases(8)[:1], selftest.step, {}

  def once(case, backend, devices, N):
    key = backend, len(devices)
    made[key] = made.get(key) or make_step(case, backend, devices, N)
    return made[key]

  monkeypatch.setattr(selftest, 'cases', lambda devices: only)
  monkeypatch.setattr(selftest, 'step', once)
  assert selftest.main([]) == 0
  printed = capsys.readouterr().out
  assert '1 options agree on 1 and 8 devices.' in printed
  for backend in parallel.BACKENDS:
    assert f' {backend} ' in printed
  monkeypatch.setattr(selftest, 'TOLERANCE', -1.0)
  assert selftest.main([]) == 1
  printed = capsys.readouterr().out
  assert 'whole batch, pmap: loss differ by ' in printed
  assert 'results depend on the devices.' in printed


def test_on_a_cpu_its_cores_are_devices_and_one_is_never_alone():
  """As a user starts it, without the cases, which take minutes."""
  program = (
    'import sys; from bnresearch import selftest;'
    'selftest.cases = lambda devices: []; sys.exit(selftest.main(sys.argv[1:]))'
  )
  for flags, devices in (((), max(2, process.cores())), (('3',), 3)):
    flags = [f'--cpu_devices={number}' for number in flags]
    done = subprocess.run(
      [sys.executable, '-c', program, *flags],
      capture_output=True,
      text=True,
      check=True,
    )
    assert f'0 options agree on 1 and {devices} devices.' in done.stdout
