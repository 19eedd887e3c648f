"""Training networks: the largest batch, PyTorch's networks, the verdict."""

import pytest

from benchmarks import _networks_contestants as contestants
from benchmarks import _networks_torch, networks


@pytest.mark.parametrize(
  ('limit', 'expected'), [(1000, 88), (10_000, 936), (160, 8), (60, 0)]
)
def test_the_largest_batch_is_found_in_few_compilations(limit, expected):
  """The need is 50 and 10 an image, but for a small batch a little more."""
  tried = []

  def bytes_of(N):
    tried.append(N)
    return 50 + 10 * N + (5 if N < 16 else 0)

  found = contestants.largest(bytes_of, 32, limit)
  assert found == pytest.approx(expected, rel=0.1)
  assert found % contestants.ALIGNED == 0
  assert not found or bytes_of(found) <= (1 - contestants.LEFT_FREE) * limit
  assert len(tried) <= 6


@pytest.mark.parametrize('name', networks.NETWORKS.split(','))
def test_pytorchs_networks_have_the_published_parameters(name):
  torch = pytest.importorskip('torch', reason='PyTorch is not installed')
  network = _networks_torch.network(name)  # compares them
  logits = network.eval()(torch.zeros(1, 3, 64, 64))
  assert logits.shape == (1, 1000)


def test_a_network_that_is_not_in_pytorch_is_skipped():
  pytest.importorskip('torch', reason='PyTorch is not installed')
  args = networks._parse(['--dry_run'])
  found = contestants.play_torch(args, 'lenet_5')
  assert found == {'skipped': 'lenet_5 is not written in PyTorch here'}


def row(who, ms, platform='gpu'):
  return {
    'network': 'resnet_50',
    'contestant': who,
    'ms': ms,
    'platform': platform,
  }


def test_the_verdict_is_beside_compiled_pytorch_on_an_accelerator():
  theirs = row('torch_compiled', 20.0, 'cuda')
  (claim,) = networks._judge([row('bnresearch', 25.0), theirs])
  assert (claim.measured, claim.holds) == ('1.25', (False,))
  assert networks._judge([row('bnresearch', 25.0, 'cpu'), theirs]) == []
  assert networks._judge([row('bnresearch', 25.0)]) == []


@pytest.mark.parametrize(
  ('flag', 'message'),
  [
    ('--models=resnet_5', "No published network 'resnet_5'"),
    ('--contestants=tensorflow', "No contestant 'tensorflow'"),
  ],
)
def test_wrong_names_are_refused(flag, message, capsys):
  assert networks.main([flag]) == 2
  assert message in capsys.readouterr().err
