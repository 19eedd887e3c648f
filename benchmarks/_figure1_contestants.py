"""Contestants of `benchmarks.figure1`, each run in its own process.

The Flax-style and PyTorch loops are what users of these libraries would write;
they are here as references, not as this project's way to train.
"""

import argparse
import pathlib
import sys
import tempfile
import time

import flax.linen as nn
import jax
import numpy as np
import optax
from flax.training.train_state import TrainState

from benchmarks import _peak
from bnresearch.assembly import assemble
from bnresearch.machine import process
from bnresearch.sweeps import local
from bnresearch.sweeps.points import points
from bnresearch.terminal import Console
from configs import figure1

NORMS = ('none', 'batch')


def _points(args):
  """Returns both networks, without probes and saves, which others lack."""
  arg = f'data={args.data},init=easy,steps={args.steps}'
  only_training = {'probes.names': '()', 'checkpoint.every': str(args.steps)}
  return points(figure1.get_config(arg), only_training)


def play_bnresearch(args: argparse.Namespace) -> dict[str, float]:
  """Trains both networks as a user would: on a CPU, side by side."""
  began, at_a_time = time.monotonic(), process.runs_at_a_time()
  with tempfile.TemporaryDirectory() as folder:
    status = local.run(
      _points(args), pathlib.Path(folder), at_a_time, Console(file=sys.stderr)
    )
  assert set(status.values()) == {'done'}, status
  return {'train_s': time.monotonic() - began}


class FlaxMLP(nn.Module):
  """The network of Figure 1, as a user of Flax would write it."""

  norm: str

  @nn.compact
  def __call__(self, x, train):
    """Returns the logits."""
    for _ in range(3):
      x = nn.Dense(100, kernel_init=nn.initializers.normal(0.1))(x)
      if self.norm == 'batch':
        x = nn.BatchNorm(use_running_average=not train)(x)
      x = nn.sigmoid(x)
    return nn.Dense(10, kernel_init=nn.initializers.normal(0.1))(x)


class FlaxState(TrainState):
  """Flax's train state with running statistics."""

  batch_stats: dict


def play_flax(args: argparse.Namespace) -> dict[str, float]:
  """Trains one network after the other, with one jitted call per step."""

  @jax.jit
  def train_step(state, x, y):
    def loss_fn(params):
      logits, new = state.apply_fn(
        {'params': params, 'batch_stats': state.batch_stats},
        x,
        train=True,
        mutable=['batch_stats'],
      )
      loss = optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()
      return loss, (new, (logits.argmax(-1) == y).mean())

    grad_fn = jax.value_and_grad(loss_fn, has_aux=True)
    (loss, (new, accuracy)), grads = grad_fn(state.params)
    state = state.apply_gradients(
      grads=grads, batch_stats=new.get('batch_stats', {})
    )
    return state, loss, accuracy

  @jax.jit
  def eval_step(state, x, y):
    logits = state.apply_fn(
      {'params': state.params, 'batch_stats': state.batch_stats},
      x,
      train=False,
    )
    return (logits.argmax(-1) == y).sum()

  train, test, batches = _host_data(args)
  seconds = 0.0
  for norm in NORMS:
    model = FlaxMLP(norm)
    variables = model.init(jax.random.key(0), train[0][:1], train=False)
    state = FlaxState.create(
      apply_fn=model.apply,
      params=variables['params'],
      tx=optax.sgd(0.1),
      batch_stats=variables.get('batch_stats', {}),
    )
    began, losses = time.monotonic(), []
    for step, indices in enumerate(batches, start=1):
      state, loss, _ = train_step(state, train[0][indices], train[1][indices])
      losses.append(loss)
      if step % 500 == 0:
        jax.device_get(losses)
        losses = []
        sum(int(eval_step(state, *part)) for part in test)
    jax.block_until_ready(state)
    seconds += time.monotonic() - began
  return {'train_s': seconds}


def play_torch(args: argparse.Namespace) -> dict[str, float]:
  """Trains one network after the other in eager PyTorch."""
  try:
    import torch
  except ImportError:
    return {'skipped': 'PyTorch is not installed'}
  train, test, batches = _host_data(args)
  device = 'cuda' if torch.cuda.is_available() else 'cpu'
  there = lambda array: torch.from_numpy(array).to(device)
  train = there(train[0]), there(train[1]).long()
  test = [(there(x), there(y)) for x, y in test]
  seconds = 0.0
  for norm in NORMS:
    modules, width = [], train[0].shape[1]
    for _ in range(3):
      modules.append(torch.nn.Linear(width, 100))
      modules += [torch.nn.BatchNorm1d(100)] if norm == 'batch' else []
      modules.append(torch.nn.Sigmoid())
      width = 100
    net = torch.nn.Sequential(*modules, torch.nn.Linear(100, 10)).to(device)
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    criterion = torch.nn.CrossEntropyLoss()
    began = time.monotonic()
    for step, indices in enumerate(batches, start=1):
      chosen = there(indices)
      optimizer.zero_grad()
      loss = criterion(net(train[0][chosen]), train[1][chosen])
      loss.backward()
      optimizer.step()
      if step % 500 == 0:
        loss.item()
        net.eval()
        with torch.no_grad():
          sum(int((net(x).argmax(1) == y).sum()) for x, y in test)
        net.train()
    seconds += time.monotonic() - began
  return {'train_s': seconds}


PLAYERS = {
  'bnresearch': play_bnresearch,
  'flax-style loop': play_flax,
  'PyTorch eager': play_torch,
  'peak': lambda args: {'gflops': _peak.gflops()},
}


def _host_data(args):
  """Returns binarized float arrays in host memory, and each step's indices."""
  parts = assemble(_points(args)[0].config)
  train, test = map(parts.data.source, ('train', 'test'))

  def arrays(source):
    images = (source.images_NHWC > 127.5).astype(np.float32)
    return images.reshape(len(source), -1), source.labels_N

  x, y = arrays(test)
  pieces = [(x[i : i + 1000], y[i : i + 1000]) for i in range(0, len(x), 1000)]
  return arrays(train), pieces, parts.training.order.indices(range(args.steps))
