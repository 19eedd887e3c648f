"""Proves that the number of devices and the back-end change no result.

For every option of batch normalization, each back-end makes a training step on
all devices, and jit makes one on a single device: loss, gradients, statistics
and updated parameters must be the same, up to the order of additions. The
collectives are those of the compiled program. The exit status is 1 if anything
differs, or if batch normalization communicates more than once per layer and
direction.
"""

import argparse
import collections
import functools
import re
import sys
import types
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from rich import box
from rich.table import Table

from bnresearch import command, lookup
from bnresearch.machine import process
from bnresearch.models import Layers, lenet, mlp
from bnresearch.terminal import Console
from bnresearch.training import objective, parallel

SHARE = 8  # examples per device
# Of groups: where only two examples count, some unit has hardly any variance.
# With epsilon = 1e-5, rounding errors would then grow up to 300 times, and as
# much again in the gradient, on one device as on many.
EPSILON = 0.01
TOLERANCE = 2e-5  # of the largest value in a tree
_COLLECTIVE = re.compile(
  r' (all-reduce|all-gather|reduce-scatter|collective-permute|all-to-all)'
  r'(?:-start)?\('
)


class Case(NamedTuple):
  """An option of batch normalization.

  Attributes:
    name: of the row.
    norm: a file of bnresearch/norms.
    options: of the normalizer.
    masked: whether some examples do not count.
    model: the network.
  """

  name: str
  norm: str = 'batch'
  options: Mapping[str, Any] = types.MappingProxyType({})
  masked: bool = False
  model: Any = mlp


class Result(NamedTuple):
  """What a step gave: arrays, and {collective: count}."""

  arrays: dict[str, Any]
  collectives: dict[str, int]


def cases(devices: int) -> list[Case]:
  """Returns all cases, with groups smaller and larger than a device's share."""
  sizes = {'half a share': SHARE // 2, 'a share': SHARE}
  sizes |= {'two shares': 2 * SHARE} if devices % 2 == 0 else {}
  whole = {
    'whole batch': {},
    'debiased': {'debias': True},
    'biased': {'running_variance': 'biased'},
    'one-pass variance': {'variance': 'one_pass'},
    'by autodiff': {'backward': 'autodiff'},
    'statistics as constants': {'stop_gradient': True},
    'per activation': {'per_activation': True},
    'frozen statistics': {'frozen_statistics': True},
    'frozen affine': {'frozen_affine': True},
  }
  groups = {
    f'groups of {k}': {'group_size': v, 'epsilon': EPSILON}
    for k, v in sizes.items()
  }
  pooled = {
    f'{k}, pooled': v | {'group_variance': 'pooled'} for k, v in groups.items()
  }
  largest = {'group_size': max(sizes.values())}
  norms = 'batch_renorm', 'noisy_batch', 'lp', 'switchable', 'evonorm_b0'
  return [
    *(Case(k, options=v) for k, v in (whole | groups | pooled).items()),
    *(
      Case(f'{k}, masked', options=v, masked=True)
      for k, v in ({'whole batch': {}} | groups).items()
    ),
    *(Case(norm, norm) for norm in (*norms, 'iterative_whitening')),
    *(Case(f'{norm}, largest groups', norm, largest) for norm in norms),
    *(Case(norm, norm) for norm in ('group', 'layer', 'none')),
    Case('convolutions', model=lenet),
    Case('convolutions, largest groups', options=largest, model=lenet),
  ]


def step(
  case: Case, backend: str, devices: Sequence[jax.Device], N: int
) -> Result:
  """Makes one step of `case` on N examples, split over the devices."""
  make_step, *arguments = program(case, backend, N)
  *network, batch, key = arguments
  with jax.set_mesh(parallel.mesh_of(devices)):
    placed = *parallel.shared(network), parallel.split(batch), key
    compiled = make_step.lower(*placed).compile()
    arrays = jax.tree.map(np.asarray, compiled(*placed))
  found = collections.Counter(_COLLECTIVE.findall(compiled.as_text()))
  return Result(arrays, dict(found))


def program(case: Case, backend: str, N: int) -> tuple[Any, ...]:
  """Returns a step of `case`, compiled when it is called, and its arguments.

  The arguments are parameters, collections, N examples and a key.
  """
  cls = lookup.find('norms', case.norm).Norm
  norm = functools.partial(cls, **case.options)
  layers = Layers(norm=lambda site: norm)
  options = {'features': (24, 16)} if case.model is mlp else {}
  model = case.model.Model(10, layers, **options)
  optimizer = optax.sgd(0.1, momentum=0.9)
  batch = _batch(case, N)

  def gradient(params, collections, batch, key):
    x_NHWC, labels_N, mask_N = batch

    def loss_fn(params):
      (logits_NK, _), new = model.apply(
        {'params': params, **collections},
        x_NHWC,
        train=True,
        mask=mask_N if case.masked else None,
        mutable=list(collections),
        rngs={'dropout': key},
      )
      loss_N = objective.cross_entropy(logits_NK, labels_N)
      return jnp.where(mask_N, loss_N, 0).mean(), (loss_N, new)

    grads, (loss_N, new) = jax.grad(loss_fn, has_aux=True)(params)
    return grads, new, loss_N

  @jax.jit
  def make_step(params, collections, batch, key):
    grads, new, loss_N = parallel.distributed(gradient, backend)(
      params, collections, batch, key
    )
    updates, _ = optimizer.update(grads, optimizer.init(params), params)
    return {
      'loss': loss_N,
      'gradients': grads,
      'statistics': new,
      'parameters': optax.apply_updates(params, updates),
    }

  # Not compiled as a whole, so that the cases share what they have in common.
  variables = model.init(jax.random.key(0), batch[0][:1], train=False)
  return make_step, variables.pop('params'), variables, batch, jax.random.key(1)


def _batch(case, N):
  """Returns Gaussian images whose mean is their class's, labels and a mask."""
  random = np.random.RandomState(0)
  side = 28 if case.model is lenet else 6
  labels_N = random.randint(0, 10, N).astype(np.int32)
  mean_N = 1 + labels_N[:, None, None, None] / 5
  x_NHWC = random.normal(mean_N, 1, (N, side, side, 1)).astype(np.float32)
  mask_N = np.arange(N) % 3 > 0 if case.masked else np.ones(N, bool)
  return x_NHWC, labels_N, mask_N


def difference(actual: Any, expected: Any) -> float:
  """Returns the largest difference, over the largest value of the tree."""
  pairs = [*zip(jax.tree.leaves(actual), jax.tree.leaves(expected))]
  most = max((np.abs(e).max(initial=0) for _, e in pairs), default=0)
  apart = [np.abs(a - e.astype(np.float64)).max(initial=0) for a, e in pairs]
  return max(apart, default=0) / most if most else max(apart, default=0)


def differences(result: Result, expected: Result) -> dict[str, float]:
  """Returns how far each kind of array is from what is expected."""
  return {
    name: difference(result.arrays[name], expected.arrays[name])
    for name in expected.arrays
  }


def wrong(case: Case, result: Result, expected: Result) -> list[str]:
  """Returns what differs between two steps, or is communicated too often."""
  found = [
    f'{name} differ by {value:.1e}'
    for name, value in differences(result, expected).items()
    if not value <= TOLERANCE
  ]
  norms = len(expected.arrays['statistics'].get('batch_stats', {}))
  # One per layer and direction, and two for all gradients: XLA may split them.
  most = 2 * norms + 2
  count = sum(result.collectives.values())
  if case.norm == 'batch' and not case.masked and count > most:
    found.append(f'{count} collectives, more than {most}')
  return found


@command.line()
def main(argv: Sequence[str] | None = None) -> int:
  """Runs all cases; returns 1 if a device count changes a result."""
  parser = argparse.ArgumentParser(
    prog='python -m bnresearch.selftest',
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  parser.add_argument(
    '--cpu_devices',
    type=int,
    metavar='N',
    help='on a CPU, as how many devices it shall pass (default: its cores, 2 '
    'at least)',
  )
  args = parser.parse_args(argv)
  if args.cpu_devices is not None:
    if args.cpu_devices < 1:
      parser.error(f'--cpu_devices={args.cpu_devices}: needs 1 or more.')
    jax.config.update('jax_num_cpu_devices', args.cpu_devices)
  process.prepare(max(2, process.cores()))
  # By default, GPUs multiply with fewer digits, which would be no fault.
  with jax.default_matmul_precision('highest'):
    return _run(Console())


def _run(console):
  devices = jax.devices()
  table = Table(
    *('option', 'back-end', 'largest difference', 'collectives'),
    title=f'{len(devices)} x {devices[0].device_kind}, jax {jax.__version__}',
    title_justify='left',
    box=box.SIMPLE_HEAD,
  )
  problems, N = [], SHARE * len(devices)
  todo = cases(len(devices))
  for number, case in enumerate(todo, start=1):
    with console.status(f'{number} of {len(todo)}: {case.name}'):
      expected = step(case, 'jit', devices[:1], N)
      for backend in parallel.BACKENDS:
        result = step(case, backend, devices, N)
        found = wrong(case, result, expected)
        problems += [f'{case.name}, {backend}: {text}.' for text in found]
        most = max(differences(result, expected).values())
        kinds = sorted(result.collectives.items())
        table.add_row(
          case.name if backend == 'jit' else '',
          backend,
          f'{most:.1e}{" WRONG" if found else ""}',
          ', '.join(f'{n} {kind}' for kind, n in kinds) or 'none',
        )
  console.print(table)
  for problem in problems:
    console.print(problem)
  console.print(
    f'{len(problems)} problems: results depend on the devices.'
    if problems
    else f'{len(todo)} options agree on 1 and {len(devices)} devices.'
  )
  return 1 if problems else 0


if __name__ == '__main__':
  sys.exit(main())
