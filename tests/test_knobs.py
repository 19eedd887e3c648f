"""No knob is silently ignored: set alone, it changes something or is refused.

Every knob is changed alone, from several configs. The tests then look at the
parts of the run, without training: the traced step, loop, batches, evaluation,
probes, job. If none of them has changed, the knob must be refused by its name.
"""

import functools
import pathlib
import re
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bnresearch import config as configs
from bnresearch import knobs
from bnresearch.assembly import assemble
from bnresearch.data import DamagedData, MissingData
from bnresearch.evaluation.measure import network_of
from bnresearch.preflight import Machine
from bnresearch.preflight.images import check_images
from bnresearch.preflight.network import check_network
from bnresearch.runs import start
from bnresearch.runs.checkpoint import RestoreError
from bnresearch.statistics.population import of_one_batch
from bnresearch.sweeps import slurm
from bnresearch.sweeps.points import points
from bnresearch.training import feed, state, stream
from bnresearch.training.loop import make_steps
from configs import default
from tests import folders
from tests.knob_bases import BASES, OTHERS

DEFAULTS = knobs.leaves(default.get_config())
MACHINE = Machine(8, 'cpu', 0)

# What these change takes a run to see, and a test of its own sees it.
SEEN_ELSEWHERE = {
  'label': 'test_config.py',  # of a point of a sweep, not of a run alone
  'data.workers': 'test_stream.py',  # who makes batches, which are the same
  'start.checkpoint': 'test_start.py',  # which of a run's weights are taken
  'start.exclude': 'test_start.py',  # and which of these are not
  'slurm.requeues': 'test_slurm.py',  # how often a job comes again
  'log.mirrors': 'test_mirrors.py',  # who else shows the rows
  'checkpoint.keep': 'test_checkpoint.py',  # which checkpoints are deleted
}

# They allow what the other folders here do not have.
ALLOWING = 'data.skip_bad', 'data.follow_links'


@pytest.fixture(scope='module', autouse=True)
def files(tmp_path_factory):
  """Makes the files that the configs above name, and goes there."""
  root = tmp_path_factory.mktemp('knobs')
  for name in ('photographs', 'elsewhere'):
    folders.in_order(root / name)
  folders.save(root / 'elsewhere/train/cat/9.jpg', folders.photo(99))
  folders.fill(root / 'unfolded', {'cat': 12, 'dog': 12})
  folders.fill(root / 'damaged', {'cat': 12, 'dog': 12})
  folders.save(root / 'damaged/cat/99.jpg', b'no image')
  folders.fill(root / 'linked', {'cat': 12, 'dog': 12})
  (root / 'linked/dog/99.jpg').symlink_to(root / 'photographs/val/dog/0.jpg')
  folders.save(root / 'empty/config.json', b'{}')
  with pytest.MonkeyPatch.context() as patch:
    patch.chdir(root)
    yield


def config_of(values):
  config = default.get_config()
  assert configs.override(config, values) == []
  return config.lock()


# What a run is made of.


class Looked:
  """The parts of a run of one config, and what is traced of them."""

  def __init__(self, config):
    self.parts, self.config = assemble(config), config
    self.shape = self.parts.data.spec.image_shape
    self.input_shape = self.parts.network.input_shape

  @functools.cached_property
  def source(self):
    return self.parts.data.source('train')

  @functools.cached_property
  def beginning(self):
    """How the first state is made, traced; and its shapes."""
    parts, averaged = self.parts, self.config.train.average > 0

    def create(key):
      x_NHWC = parts.training.initial_batch()
      return state.traceable(
        parts.network.model,
        parts.training.optimizer,
        key,
        x_NHWC,
        averaged=averaged,
      )

    return jax.make_jaxpr(create, return_shape=True)(jax.random.key(0))

  @property
  def fresh(self):
    return self.beginning[1]

  @functools.cached_property
  def mesh(self):
    return self.parts.training.mesh()

  @functools.cached_property
  def train_step(self):
    return self.parts.training.train_step

  def batch(self, N):
    return stream.Examples(
      jax.ShapeDtypeStruct((N, *self.shape), jnp.uint8),
      jax.ShapeDtypeStruct((N,), jnp.int32),
    )


def traced(function, *arguments):
  """Returns what a function does, as `text_of` says it."""
  return text_of(jax.make_jaxpr(function)(*arguments))


def text_of(closed):
  """Returns a program's text and constants, without its unused parts."""
  jaxpr = closed.jaxpr
  needed, kept = {*filter(_is_variable, jaxpr.outvars)}, []
  for equation in reversed(jaxpr.eqns):
    if needed & {*equation.outvars} or equation.effects:
      kept.append(equation)
      needed |= {*filter(_is_variable, equation.invars)}
  text = str(jaxpr.replace(eqns=kept[::-1]))
  constants = [np.asarray(x).tobytes() for x in closed.consts]
  return re.sub('0x[0-9a-f]+', '', text), constants


def _is_variable(x):
  return not isinstance(x, jax.extend.core.Literal)


def of_mesh(looked):
  return looked.mesh.size


def of_inputs(looked):
  inputs = looked.parts.images.inputs
  batch = looked.batch(looked.config.train.batch_size)
  return traced(inputs, jax.random.key(0), *batch)


def of_updates(looked):
  params, opt_state = looked.fresh.params, looked.fresh.opt_state
  return traced(
    looked.parts.training.optimizer.update, params, opt_state, params
  )


def of_network(looked):
  """The network applied to a batch in training."""
  return applied(looked, looked.parts.network.model)


def of_estimate(looked):
  """The same where statistics are estimated, by Algorithm 2."""
  fresh, N = looked.fresh, looked.config.train.batch_size
  own = of_one_batch(
    functools.partial(looked.parts.network.model.apply, train=True),
    [*fresh.collections],
    'population',
    set(),
  )
  x_NHWC = jax.ShapeDtypeStruct((N, *looked.input_shape), jnp.float32)
  return traced(own, {'params': fresh.params, **fresh.collections}, x_NHWC)


def applied(looked, model):
  fresh, N = looked.fresh, looked.config.train.batch_size

  def forward(params, collections, x_NHWC, key):
    return model.apply(
      {'params': params, **collections},
      x_NHWC,
      train=True,
      mutable=list(collections),
      rngs={'dropout': key},
    )

  x_NHWC = jax.ShapeDtypeStruct((N, *looked.input_shape), jnp.float32)
  key = jax.random.key(0)
  return traced(forward, fresh.params, fresh.collections, x_NHWC, key)


def of_step(looked):
  N, key = looked.config.train.batch_size, jax.random.key(0)
  with jax.set_mesh(looked.mesh):
    return traced(looked.train_step, looked.fresh, looked.batch(N), key)


def of_start(looked):
  """The initial weights, or where pretrained ones come from."""
  if not looked.config.start.path:
    return text_of(looked.beginning[0])
  try:
    loaded = start.into(looked.fresh, looked.parts)
  except (FileNotFoundError, RestoreError, ValueError) as error:
    return type(error), str(error)
  return loaded


def of_data(looked):
  size = len(looked.source)
  some = [looked.source[k] for k in (0, 1, size - 1)]
  data = looked.parts.data
  return data.spec, size, str(some), str(data.source('test')[0])


def of_batches(looked):
  """The first two batches, and how each is cropped for evaluation."""
  steps = range(looked.config.train.steps)[:2]
  config = looked.config.copy_and_resolve_references()
  config.data.workers = 0
  batches = assemble(config, looked.parts).training.batches(steps)
  image = np.random.RandomState(0).randint(
    256, size=(30, 40, 3), dtype=np.uint8
  )
  crop = looked.parts.images.crop()(image)
  return [(x.tobytes(), y.tobytes()) for x, y in batches], crop.tobytes()


def of_loop(looked):
  """What is done when, by the loop itself."""
  done = []

  class Session:
    def __getattr__(self, name):
      def called(argument):
        done.append((name, argument))
        return (lambda: None) if name != 'agreed' else False

      return called

  make_steps(looked.parts.training.plan, Session(), 0, lambda: False)
  return done


def of_feed(looked):
  """Whether images live on the device, and how a call's steps are made."""
  if not looked.parts.training.is_resident():
    return 'streamed'
  source, N = looked.source, looked.config.train.batch_size
  split = stream.Examples(source.images_NHWC, source.labels_N)
  advance = feed.make_advance(
    looked.train_step,
    looked.config.train.scan,
    (looked.fresh, split, np.zeros(N, np.int32)),
  )
  indices_TN = np.zeros((2, N), np.int32)
  return traced(advance, looked.fresh, split, indices_TN, jax.random.key(0))


def of_evaluation(looked):
  config = looked.config
  N = config.eval.batch_size
  add = looked.parts.evaluation.add_batch()
  sums = {'loss': 0.0, 'correct': 0, 'examples': 0}
  fresh, mask_N = looked.fresh, jax.ShapeDtypeStruct((N,), bool)
  return traced(
    add, sums, fresh.params, fresh.collections, *looked.batch(N), mask_N
  )


def of_population(looked):
  """How many batches Algorithm 2 takes, if it has anything to estimate."""
  if not looked.fresh.collections:
    return 0

  class Asked(Exception):
    pass

  def ask(batches):
    raise Asked(len(batches))

  at_first = types.SimpleNamespace(step=0, params={}, collections={})
  with pytest.raises(Asked) as asked:
    looked.parts.evaluation.estimate(at_first, progress=ask)
  return asked.value.args


def of_probes(looked):
  if not looked.config.probes.names:
    return ''
  evaluation, network = looked.parts.evaluation, network_of(looked.fresh)
  batches = evaluation.probed_shapes()
  before = evaluation.measure.unknown(network, batches)
  return traced(evaluation.measure, network, batches, before)


def of_job(looked):
  resources = looked.config.slurm
  return slurm._parameters(resources, 'name'), slurm._of_a_job(resources)


def of_names(looked):
  return [point.name for point in points(looked.config, {})]


# Of the group of a knob, where it is looked for first; then in all.
VIEWS = {
  'data': (of_data, of_batches, of_inputs, of_feed),
  'augment': (of_inputs, of_batches),
  'model': (of_start, of_network),
  'norm': (of_network, of_start, of_step),
  'objective': (of_inputs, of_step),
  'train': (of_loop, of_start, of_network, of_step),
  'optim': (of_updates,),
  'start': (of_start,),
  'slurm': (of_job,),
  'parallel': (of_mesh, of_step),
  'eval': (of_loop, of_evaluation, of_batches, of_population),
  'probes': (of_probes, of_loop),
}
ALL = (
  of_names,
  of_job,
  of_loop,
  of_data,
  of_batches,
  of_inputs,
  of_mesh,
  of_population,
  of_updates,
  of_start,
  of_network,
  of_estimate,
  of_probes,
  of_evaluation,
  of_step,
  of_feed,
)


class Seen:
  """What was seen of a base config."""

  def __init__(self, values):
    self.config, self._views = config_of(values), {}

  @functools.cached_property
  def parts(self):
    return parts_of(self.config)

  def view(self, function):
    if function not in self._views:
      self._views[function] = seen(function, self.parts)
    return self._views[function]


def parts_of(config):
  """Returns the parts, or why there are none, which counts as seen too."""
  try:
    return Looked(config)
  except (MissingData, DamagedData) as error:
    return str(error)


def seen(function, parts):
  if isinstance(parts, str):
    return parts
  try:
    return function(parts)
  except (MissingData, DamagedData) as error:
    return str(error)


# The proof.


def others(key, value):
  """Returns other values of a knob than `value` and its default."""
  if key in OTHERS:
    found = OTHERS[key]
    several = isinstance(found, tuple) and not isinstance(DEFAULTS[key], tuple)
    several |= isinstance(found, tuple) and isinstance(found[0], tuple)
    found = found if several else (found,)
  elif isinstance(value, bool):
    found = (not value,)
  else:
    found = knobs.KNOBS[key].rule.choices
    assert found, f'{key}: a new knob needs another value here.'
  return [other for other in found if other != value] or [DEFAULTS[key]]


def verdict(base, key, value):
  """Returns 'effect', 'vain', 'refused' or 'ignored', and what was said."""
  config = base.config.copy_and_resolve_references()
  assert configs.override(config, {key: value}) == []
  config = config.lock()
  said = refusal(config)
  # What can be told from the network, or the data, only.
  if not said and knobs.KNOBS[key].shown_by:
    said = refusal_beforehand(config)
  if not said and (view := changed(base, config, key.partition('.')[0])):
    return 'effect', view
  said = said or refusal_beforehand(config)
  own = [s for s in said if re.match(rf'{re.escape(key)}(:| = )', s)]
  if any('Leave it at' in s or 'is without effect' in s for s in own):
    return 'vain', said
  return ('refused' if said else 'ignored'), said


def changed(base, config, group):
  """Returns the name of a view in which a config differs from its base."""
  try:
    parts = parts_of(config)
    for view in dict.fromkeys((*VIEWS.get(group, ()), *ALL)):
      if seen(view, parts) != base.view(view):
        return view.__name__
  except ValueError:
    pass  # it is refused, or else nothing has changed
  return ''


def refusal(config):
  """Returns why the values of a config are refused, or nothing."""
  try:
    points(config, {})
  except configs.ConfigError as error:
    return list(error.problems)
  return []


def refusal_beforehand(config):
  """Returns why a run is refused once its network is traced, or nothing."""
  try:
    parts = assemble(config)
    check_images(parts)
    check_network(parts, MACHINE)
  except configs.ConfigError as error:
    return list(error.problems)
  except (MissingData, DamagedData, FileNotFoundError):
    pass  # which is seen
  return []


@functools.cache
def verdicts(name):
  """Returns {key: {value: verdict}} of all knobs that are changed in a base."""
  values, beginnings = BASES[name]
  base, result = Seen(values), {}
  assert refusal(base.config) + refusal_beforehand(base.config) == []
  for key, value in knobs.leaves(base.config).items():
    if not key.startswith(beginnings) or key in SEEN_ELSEWHERE:
      continue
    result[key] = {}
    for other in others(key, value):
      result[key][str(other)] = found = verdict(base, key, other)
      if found[0] == 'effect':
        break
  return result


def ignored(name):
  """Yields the knobs of a base that neither have an effect nor are refused."""
  for key, found in verdicts(name).items():
    kinds = {kind for kind, _ in found.values()}
    # A word may say what holds anyway, if another one does not.
    if DEFAULTS[key] in ('own', 'auto') and len(kinds) > 1:
      kinds.discard('ignored')
    if key in ALLOWING and name not in ('damaged', 'linked'):
      kinds.discard('ignored')
    leaf = key.rpartition('.')[2]
    named = all(
      any(leaf in line for line in said)
      for kind, said in found.values()
      if kind == 'refused'
    )
    if 'ignored' in kinds or not named:
      yield name, key, found


# One test: its parts share what they find, and workers do not.
def test_a_knob_that_is_set_alone_has_an_effect_or_is_refused():
  assert [line for name in BASES for line in ignored(name)] == []
  has = {
    key
    for name in BASES
    for key, found in verdicts(name).items()
    if any(kind == 'effect' for kind, _ in found.values())
  }
  assert {*DEFAULTS} - has == {*SEEN_ELSEWHERE}
  here = pathlib.Path(__file__).parent
  for key, file in SEEN_ELSEWHERE.items():
    words = key, key.replace('.', '__')
    assert any(word in (here / file).read_text() for word in words), key
