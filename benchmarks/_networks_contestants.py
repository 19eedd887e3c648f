"""Contestants of `benchmarks.networks`, each in a process of its own.

Each makes the same step: images on the device, float32 parameters, layers in
`args.dtype`, cross-entropy, SGD with momentum. `_networks_torch.py` has
PyTorch's networks.
"""

import argparse
import dataclasses
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from benchmarks import _networks_torch, _peak
from bnresearch import lookup, zoo
from bnresearch.machine import memory, process
from bnresearch.models import measure
from bnresearch.terminal import is_of_memory
from bnresearch.training import state, step
from bnresearch.training.stream import Examples

WARM_UP = 3  # steps after the first
RATE, MOMENTUM = 1e-3, 0.9
ALIGNED = 8  # the largest batch is a multiple of it
LEFT_FREE, CLOSE = 0.05, 0.9  # of the memory; of what may be used
TRIES = 4  # batches that are compiled to find the largest
SMALLER = 0.9  # of a batch that has not fitted

Numbers = dict[str, float | str]


def play_bnresearch(args: argparse.Namespace, name: str) -> Numbers:
  """Times this code's step, and compiles it apart from its first call."""
  process.prepare()
  began = time.perf_counter()
  program, inputs = _lowered(args, name, args.batch)
  lowered = time.perf_counter()
  program = program.compile()
  compiled = time.perf_counter()
  states, batch, key = [inputs[0]], *inputs[1:]

  def play():
    states[0], metrics = program(states[0], batch, key)
    return metrics

  return {
    'trace_s': lowered - began,
    'compile_s': compiled - lowered,
    **_timed(play, jax.block_until_ready, args),
    'memory_gb': _bytes(program) / 1e9,
    **_where(),
  }


def play_largest(args: argparse.Namespace, name: str) -> Numbers:
  """Finds the largest batch whose step fits into memory, and makes it."""
  process.prepare()
  limit = args.memory_gb * 1e9 or memory.of_machine(jax.devices()[:1])
  if not limit:
    return {'skipped': 'this device does not tell how much memory it has'}
  bytes_of = lambda N: _bytes(_lowered(args, name, N)[0].compile())
  N = largest(bytes_of, args.batch, limit)
  while N:
    try:
      program, inputs = _lowered(args, name, N)
      program = program.compile()
      began = time.perf_counter()
      jax.block_until_ready(program(*inputs))
    except Exception as error:
      if not is_of_memory(error):
        raise
      program = inputs = None  # frees it before the next one is made
      N = int(SMALLER * N) // ALIGNED * ALIGNED
    else:
      return {
        'largest_batch': N,
        'memory_gb': _bytes(program) / 1e9,
        'limit_gb': limit / 1e9,
        'first_step_s': time.perf_counter() - began,
        **_where(),
      }
  return {'skipped': f'no {ALIGNED} images have fitted: {limit / 1e9:.2f} GB'}


def largest(bytes_of: Callable[[int], int], N: int, limit: float) -> int:
  """Returns the largest batch that fits by what a compiled step needs.

  The need grows in proportion to the batch, beside what state and gradients
  take. So the line through two batches tells the next one to try.

  Args:
    bytes_of: of a step of so many images; compiles it.
    N: to begin with.
    limit: bytes; a twentieth is left free.

  Returns:
    A multiple of `ALIGNED`, mostly within 10% of the best; 0 if none fits.
  """
  most = (1 - LEFT_FREE) * limit
  tried = {0: 0, N: bytes_of(N)}
  for _ in range(TRIES):
    (low, needs_low), (high, needs_high) = sorted(tried.items())[-2:]
    an_image = (needs_high - needs_low) / (high - low)
    N = int(low + (most - needs_low) / an_image) // ALIGNED * ALIGNED
    if N < ALIGNED or N in tried:
      break
    tried[N] = bytes_of(N)
    if CLOSE * most <= tried[N] <= most:
      break
  fit = (n for n, needed in tried.items() if needed <= most)
  return max(fit) // ALIGNED * ALIGNED


def play_torch(args: argparse.Namespace, name: str) -> Numbers:
  """Times PyTorch's eager step: channels last, autocast to `args.dtype`."""
  return _torch(args, name, lambda torch, network: network)


def play_torch_compiled(args: argparse.Namespace, name: str) -> Numbers:
  """Times the same with `torch.compile`, whose first call compiles."""
  return _torch(args, name, lambda torch, network: torch.compile(network))


def play_peak(args: argparse.Namespace, name: str) -> Numbers:
  """Measures the matrix product, and counts the networks' operations.

  A step has those of three forward passes, two for a multiply-add.
  """
  process.prepare()
  found = {'gflops': _peak.gflops(args.dtype)}
  for model in args.models:
    channels = zoo.published(model).channels
    macs = measure(zoo.network(model), args.size, channels).macs
    found[f'gflop_{model}'] = 3 * 2 * macs * args.batch / 1e9
  return found


def _where():
  return {
    'platform': jax.default_backend(),
    'kind': jax.devices()[0].device_kind,
  }


PLAYERS = {
  'bnresearch': play_bnresearch,
  'torch': play_torch,
  'torch_compiled': play_torch_compiled,
  'largest': play_largest,
  'peak': play_peak,
}


def _lowered(args, name, N):
  """Returns a training step, lowered, and its inputs: state, batch and key."""
  model = zoo.network(name)
  if args.dtype != 'float32':
    layers = dataclasses.replace(model.layers, dtype=args.dtype)
    model = model.clone(layers=layers)
  shape = args.size, args.size, zoo.published(name).channels
  optimizer = optax.sgd(RATE, momentum=MOMENTUM)
  images = jax.jit(
    lambda key: jax.random.uniform(key, (N, *shape)),
  )(jax.random.key(1))
  batch = Examples(images, jnp.arange(N) % model.num_classes)
  inputs = state.create(model, optimizer, shape, 0), batch, jax.random.key(0)
  train_step = step.make_train_step(model, optimizer, lambda key, x, y: (x, y))
  return jax.jit(train_step, donate_argnums=0).lower(*inputs), inputs


def _bytes(program):
  """Returns what a compiled step needs: inputs, results and temporaries."""
  used = program.memory_analysis()
  return (
    used.argument_size_in_bytes
    + used.output_size_in_bytes
    + used.temp_size_in_bytes
    - used.alias_size_in_bytes
  )


def _timed(
  play: Callable[[], Any], wait: Callable[[Any], Any], args: argparse.Namespace
) -> Numbers:
  """Returns the first step's seconds, and a step's in the fastest round.

  The steps of a round are in flight together, as in training.
  """
  began = time.perf_counter()
  wait(play())
  first = time.perf_counter() - began
  for _ in range(WARM_UP):
    wait(play())
  seconds = []
  for _ in range(args.rounds):
    began = time.perf_counter()
    for _ in range(args.steps):
      last = play()
    wait(last)
    seconds.append((time.perf_counter() - began) / args.steps)
  return {'first_step_s': first, 'seconds': min(seconds)}


def _torch(args, name, made):
  """Times a step of PyTorch's network, as `made(torch, network)`."""
  try:
    import torch
  except ImportError:
    return {'skipped': 'PyTorch is not installed'}
  cuda = torch.cuda.is_available()
  device, last = 'cuda' if cuda else 'cpu', torch.channels_last
  torch.backends.cudnn.benchmark = True
  try:
    network = _networks_torch.network(name)
  except lookup.Unknown as error:
    return {'skipped': str(error)}
  network = network.to(device=device, memory_format=last).train()
  optimizer = torch.optim.SGD(network.parameters(), RATE, momentum=MOMENTUM)
  compiled = made(torch, network)
  shape = args.batch, zoo.published(name).channels, args.size, args.size
  x_NCHW = torch.rand(shape, device=device).contiguous(memory_format=last)
  labels_N = torch.arange(args.batch, device=device)
  labels_N = labels_N % zoo.published(name).num_classes
  half = args.dtype == 'bfloat16'

  def play():
    optimizer.zero_grad(set_to_none=True)
    with torch.autocast(device, torch.bfloat16, enabled=half):
      logits_NK = compiled(x_NCHW)
      loss = torch.nn.functional.cross_entropy(logits_NK, labels_N)
    loss.backward()
    optimizer.step()
    return loss

  def wait(loss):
    loss.item()
    if cuda:
      torch.cuda.synchronize()

  found = _timed(play, wait, args)
  if cuda:
    found['memory_gb'] = torch.cuda.max_memory_allocated() / 1e9
  kind = torch.cuda.get_device_name() if cuda else 'cpu'
  return {**found, 'platform': device, 'kind': kind, 'torch': torch.__version__}
