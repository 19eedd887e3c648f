"""Devices and back-ends change no result: the self-test, and what it sees."""

import functools
import subprocess
import sys

import jax
import numpy as np
import pytest

from bnresearch.machine import process
from bnresearch.selftest import __main__ as command
from bnresearch.selftest import cases, steps
from bnresearch.terminal import Console
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
  case = {c.name: c for c in cases.cases(devices)}[name]
  chosen, N = jax.devices()[:devices], cases.SHARE * devices
  expected = steps.step(case, 'jit', chosen[:1], N)
  assert expected.collectives == {}
  for backend in parallel.BACKENDS:
    result = steps.step(case, backend, chosen, N)
    assert steps.wrong(case, result, expected) == [], backend


def test_it_sees_statistics_that_are_each_devices_own():
  """As by a normalizer that knows of no devices: groups of a device's share."""
  of_4 = {c.name: c for c in cases.cases(4)}
  chosen, N = jax.devices()[:4], cases.SHARE * 4
  expected = steps.step(of_4['whole batch'], 'jit', chosen[:1], N)
  result = steps.step(of_4['groups of a share'], 'shard_map', chosen, N)
  found = steps.wrong(of_4['whole batch'], result, expected)
  assert [text.split()[0] for text in found] == [
    'gradients',
    'loss',
    'parameters',
    'statistics',
  ]


def test_it_sees_a_layer_that_communicates_twice():
  case = cases.cases(4)[0]
  chosen, N = jax.devices()[:4], cases.SHARE * 4
  result = steps.step(case, 'jit', chosen, N)
  twice = {'all-gather': 2 * result.collectives['all-gather']}
  found = steps.wrong(case, result._replace(collectives=twice), result)
  assert found == ['8 collectives, more than 6']


def test_the_gradients_of_the_devices_are_averaged_and_not_added():
  """The trap of check_vma: they would be as many times too large."""
  case = cases.Case('none', 'none')
  one, eight = (
    steps.step(case, 'shard_map', jax.devices()[:d], 64) for d in (1, 8)
  )
  kernel = lambda r: r.arrays['gradients']['hidden_1']['kernel']
  np.testing.assert_allclose(kernel(eight), kernel(one), rtol=1e-4, atol=1e-7)


def test_it_says_what_it_has_found(capsys, monkeypatch):
  make_step, made = steps.step, {}

  def once(case, backend, devices, N):
    key = backend, len(devices)
    made[key] = made.get(key) or make_step(case, backend, devices, N)
    return made[key]

  monkeypatch.setattr(steps, 'step', once)
  assert command.main(['--dry_run']) == 0
  printed = capsys.readouterr().out
  assert '1 options agree on 1 and 8 devices.' in printed
  assert 'CPU' not in printed
  for backend in parallel.BACKENDS:
    assert f' {backend} ' in printed
  monkeypatch.setattr(steps, 'TOLERANCE', -1.0)
  assert command.main(['--dry_run']) == 1
  printed = capsys.readouterr().out
  assert 'whole batch, pmap: loss differ by ' in printed
  assert 'results depend on the devices.' in printed


def test_an_accelerator_is_compared_with_the_cpu(capsys, monkeypatch):
  """Here another core stands for the CPU, and coarse inputs for a fault."""
  case, chosen = cases.cases(1)[0], jax.devices()[:1]
  compare = functools.partial(
    command._run, [case], chosen, jax.devices()[3], Console()
  )
  assert compare() == 0
  printed = capsys.readouterr().out
  assert ' 1 and the CPU ' in printed
  assert '1 options agree on 1 and 1 devices and the CPU.' in printed

  make_step, make_batch = steps.step, cases._batch

  def step(case, backend, devices, N):
    coarse = devices[0] == chosen[0]
    monkeypatch.setattr(cases, '_batch', as_tf32 if coarse else make_batch)
    return make_step(case, backend, devices, N)

  def as_tf32(case, N):
    x_NHWC, *rest = make_batch(case, N)
    return jax.lax.reduce_precision(x_NHWC, 8, 10), *rest

  monkeypatch.setattr(steps, 'step', step)
  assert compare() == 1
  printed = capsys.readouterr().out
  assert 'whole batch, 1 and the CPU: gradients differ by ' in printed
  assert 'whole batch, jit' not in printed


def test_on_a_cpu_its_cores_are_devices_and_one_is_never_alone():
  """As a user starts it, without the cases, which take minutes."""
  program = (
    'import sys; from bnresearch.selftest import __main__ as main, cases;'
    'cases.cases = lambda devices: []; sys.exit(main.main(sys.argv[1:]))'
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
