"""Many runs as one program: those that differ in numbers only.

`jax.vmap` makes the step of one run a step of R runs: the values in which they
differ are traced, the rest is compiled once. The members lie on all devices,
which need not communicate. Each run has the directory and the records of a run
that was trained alone, and its numbers up to the order of additions.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bnresearch.assembly import Parts
from bnresearch.evaluation import evaluate
from bnresearch.evaluation.measure import network_of
from bnresearch.knobs import Config
from bnresearch.statistics import shards
from bnresearch.sweeps.vectorized import traced
from bnresearch.training import feed, state
from bnresearch.training.state import State
from bnresearch.training.stream import Examples

_AXIS = shards.RUNS
_COMPILED_QUICKLY = {'xla_backend_optimization_level': 0}
_GATHERED_BYTES = 2**26  # of images that are gathered at a time, about


class Member(NamedTuple):
  """One run: its values of `traced.KEYS`, and its state; or R runs, stacked."""

  values: dict[str, jax.Array]
  state: State


class Program:
  """The compiled functions of runs of one kind.

  Attributes:
    runs: most that are trained at a time.
    count: R, the members: `runs`, rounded up to a multiple of the devices.
    evaluators: of the splits that are not trained on.
  """

  def __init__(self, parts: Parts, runs: int, devices: Sequence[jax.Device]):
    """Compiles nothing yet.

    Args:
      parts: of any of the runs.
      runs: see above.
      devices: that share the members.
    """
    self._parts, self.runs = parts, runs
    self.count = -(-runs // len(devices)) * len(devices)
    self._mesh = jax.make_mesh(
      (len(devices),),
      (_AXIS,),
      axis_types=(jax.sharding.AxisType.Auto,),
      devices=devices,
    )
    train_set = parts.data.source('train')
    self._initial_batch = parts.training.initial_batch()
    self._split = self._put(
      Examples(train_set.images_NHWC, train_set.labels_N), jax.P()
    )
    self._fresh = self._compiled(self._fresh_one, 0, state.COMPILED)
    self._advance = feed.make_advance(
      self._train_step,
      parts.config.train.scan,
      self._example(),
      len(self._gathered_together(range(parts.training.plan.call))[0]),
      self._compiled_advance,
    )
    self.evaluators = parts.evaluation.evaluators(
      self._compiled(self._add_batch, 3), members=(self.count,)
    )
    if parts.training.plan.probes:
      batches = parts.evaluation.probe_batches()
      self._probed = self._put(batches, jax.P())
      self._measured = self._compiled(self._measure, 1)

  def fresh(self, configs: Sequence[Config]) -> Member:
    """Returns all members before their first update.

    Args:
      configs: R or fewer; the last one is repeated to fill up the members.
    """
    values = self._put(traced.values_of(self.filled(configs)), jax.P(_AXIS))
    return Member(values, self._fresh(values))

  def filled(self, items: Sequence) -> list:
    """Returns R items, the last one repeated as often as need be."""
    return [*items, *[items[-1]] * (self.count - len(items))]

  def restored(
    self, configs: Sequence[Config], states: Sequence[State]
  ) -> Member:
    """Returns members that go on from the states of runs, on the host."""
    stacked = jax.tree.map(lambda *x: np.stack(x), *self.filled(states))
    values = traced.values_of(self.filled(configs))
    return self._put(Member(values, stacked), jax.P(_AXIS))

  def advance(
    self, members: Member, configs: Sequence[Config], steps: range
  ) -> tuple[Member, dict[str, jax.Array]]:
    """Makes T steps of all; returns the new members, and metrics (T, R).

    `members` is donated: use the returned ones.
    """
    rows = []
    for part in self._gathered_together(steps):
      indices_TRN = self._indices(self.filled(configs), part)
      members, metrics = self._advance(
        members, self._split, indices_TRN, jax.random.key(0)
      )
      rows.append(metrics)
    return members, jax.tree.map(lambda *m: jnp.concatenate(m), *rows)

  def sums(self, members: Member) -> dict[str, dict[str, jax.Array]]:
    """Returns what evaluation adds up over each split, all (R,)."""
    network = members.values, members.state.params, members.state.collections
    return {s: e.sums(*network) for s, e in self.evaluators.items()}

  def measure(
    self, members: Member, previous: dict[str, jax.Array]
  ) -> dict[str, jax.Array]:
    """Returns what the probes measure, each (R, ...); `previous` likewise."""
    return self._measured(members, previous, self._probed)

  def unknown(self) -> dict[str, np.ndarray]:
    """Returns one member's record before the first one, see `Measure`."""
    network = network_of(jax.eval_shape(self._one_member).state)
    return self._parts.evaluation.measure.unknown(network, self._probed)

  def together(self, records: Sequence[dict]) -> dict[str, jax.Array]:
    """Returns the records of R or fewer members as one, each array (R, ...)."""
    stacked = jax.tree.map(lambda *x: np.stack(x), *self.filled(records))
    return self._put(stacked, jax.P(_AXIS))

  def bytes_of_one(self) -> int:
    """Returns the most bytes that one member's step or evaluation takes."""
    config, one = self._parts.config, jax.eval_shape(self._one_member)

    def batch(N):
      image = self._split.images.shape[1:]
      return Examples(
        jax.ShapeDtypeStruct((N, *image), np.uint8),
        jax.ShapeDtypeStruct((N,), np.int32),
      )

    def evaluate_one(member, batch):
      params, collections = member.state.params, member.state.collections
      mask_N = jnp.ones(len(batch.labels), bool)
      sums = evaluate.no_sums(len(self._parts.data.spec.class_names))
      return self._add_batch(
        sums, member.values, params, collections, *batch, mask_N
      )

    N, key = config.train.batch_size, jax.random.key(0)
    steps = jax.jit(self._train_step), one, batch(N), key
    evaluation = jax.jit(evaluate_one), one, batch(config.eval.batch_size)
    taken = []
    for function, *arguments in (steps, evaluation):
      compiled = function.lower(*arguments).compile(_COMPILED_QUICKLY)
      memory = compiled.memory_analysis()
      taken.append(
        memory.argument_size_in_bytes
        + memory.output_size_in_bytes
        + memory.temp_size_in_bytes
      )
    return max(taken)

  # Of one member; what they differ in is traced.

  def _fresh_one(self, values):
    parts, key = traced.at(self._parts, values), jax.random.key(values['seed'])
    return state.traceable(
      parts.network.model, parts.training.optimizer, key, self._initial_batch
    )

  def _one_member(self):
    values = {
      key: x[0] for key, x in traced.values_of([self._parts.config]).items()
    }
    return Member(values, self._fresh_one(values))

  def _train_step(self, member, batch, key):
    train_step = traced.at(self._parts, member.values).training.train_step
    key = jax.random.key(member.values['seed'])
    new, metrics = train_step(member.state, batch, key)
    return member._replace(state=new), metrics

  def _add_batch(self, sums, values, params, collections, *batch):
    add = traced.at(self._parts, values).evaluation.add_batch()
    return add(sums, params, collections, *batch)

  def _measure(self, member, previous, batches):
    measure = traced.at(self._parts, member.values).evaluation.measure
    return measure(network_of(member.state), batches, previous)

  # Of all members.

  def _example(self):
    """Returns members, the split and the indices of a step, for the shapes."""
    values = traced.values_of(self.filled([self._parts.config]))
    members = Member(values, jax.eval_shape(self._fresh, values))
    N = self._parts.training.order.batch_size
    return members, self._split, np.zeros((self.count, N), np.int32)

  def _compiled(self, function, shared, options=None):
    """Compiles a function for all members; they share the last arguments."""

    def of_all(*arguments):
      own = len(arguments) - shared
      axes = (*[0] * own, *[None] * shared)
      specs = tuple(jax.P(_AXIS) if a == 0 else jax.P() for a in axes)
      return self._mapped(jax.vmap(function, axes), specs, jax.P(_AXIS))(
        *arguments
      )

    return jax.jit(of_all, compiler_options=options)

  def _compiled_advance(self, function, axis):
    along = jax.P(None, _AXIS) if axis else jax.P(_AXIS)
    mapped = self._mapped(
      jax.vmap(function, (0, None, axis, None), (0, axis)),
      (jax.P(_AXIS), jax.P(), along, jax.P()),
      (jax.P(_AXIS), along),
    )
    return jax.jit(mapped, donate_argnums=0)

  def _mapped(self, function, in_specs, out_specs):
    return jax.shard_map(
      function,
      mesh=self._mesh,
      in_specs=in_specs,
      out_specs=out_specs,
      check_vma=False,  # nothing is shared between members
    )

  def _put(self, tree, spec):
    return jax.device_put(tree, jax.NamedSharding(self._mesh, spec))

  def _indices(self, configs, steps):
    """Returns which examples each member's batches have, (T, R, N)."""
    order = self._parts.training.order
    seeds = [config.seed for config in configs]
    of_seed = {s: order._replace(seed=s).indices(steps) for s in set(seeds)}
    return np.stack([of_seed[seed] for seed in seeds], axis=1)

  def _gathered_together(self, steps):
    """Cuts a call into equal parts; a part's images are gathered at once."""
    T, image_bytes = len(steps), math.prod(self._split.images.shape[1:])
    most = _GATHERED_BYTES // (
      self.count * self._parts.training.order.batch_size * image_bytes
    )
    length = max(d for d in range(1, T + 1) if T % d == 0 and d <= max(1, most))
    return [steps[k : k + length] for k in range(0, T, length)]
