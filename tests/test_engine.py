"""The engine against independent implementations of the same training."""

import pathlib

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from bnresearch import config as configs
from bnresearch import knobs, lookup, models
from bnresearch.assembly import assemble
from bnresearch.evaluation import evaluate
from bnresearch.runs import logbook, run_directory, session
from bnresearch.sweeps.points import points
from bnresearch.sweeps.vectorized import traced
from bnresearch.training import feed, optimizer, parallel, state, step, stream
from bnresearch.training.order import Order
from configs import default

STEPS = 20
ROOT = pathlib.Path(__file__).parent.parent
CONFIGS = sorted((ROOT / 'configs').glob('[!_]*.py'))


def config_of(norm='batch', **values):
  config = default.get_config()
  dotted = {key.replace('__', '.'): value for key, value in values.items()}
  assert not configs.override(
    config,
    {'data.name': 'synthetic', 'norm.name': norm, 'train.batch_size': 12}
    | dotted,
  )
  return config


def trained(config, steps=STEPS, scan='always'):
  """Returns the first state, the last, and the metrics of each step."""
  config.train.scan, config.train.steps = scan, steps
  parts = assemble(config)
  first = parts.training.fresh_state()
  copy = jax.tree.map(jnp.copy, first)
  chosen = parts.training.feed(first)
  last, metrics = chosen.advance(copy, range(steps), jax.random.key(0))
  return first, last, metrics


@pytest.fixture(scope='module')
def with_bn():
  return trained(config_of('batch'))


@pytest.mark.parametrize('norm', ['none', 'batch'])
def test_twenty_steps_equal_pytorch(norm, with_bn):
  torch = pytest.importorskip('torch', reason='PyTorch is not installed')
  config = config_of(norm)
  first, last, metrics = with_bn if norm == 'batch' else trained(config)

  layers, width = [], 64
  for _ in range(3):
    layers.append(torch.nn.Linear(width, 100, bias=norm == 'none'))
    if norm == 'batch':
      layers.append(torch.nn.BatchNorm1d(100, momentum=1 - 0.99))
    layers.append(torch.nn.Sigmoid())
    width = 100
  net = torch.nn.Sequential(*layers, torch.nn.Linear(100, 10))
  dense = [m for m in net if isinstance(m, torch.nn.Linear)]
  norms = [m for m in net if isinstance(m, torch.nn.BatchNorm1d)]
  names = ['hidden_1', 'hidden_2', 'hidden_3', 'logits']
  with torch.no_grad():
    for name, module in zip(names, dense):
      kernel = np.array(first.params[name]['kernel'])
      module.weight.copy_(torch.from_numpy(kernel.T))
      if module.bias is not None:
        module.bias.zero_()

  source = assemble(config).data.source('train')
  sgd = torch.optim.SGD(net.parameters(), 0.1)
  losses = []
  for indices_N in Order(len(source), 12, 0).indices(range(STEPS)):
    x = torch.from_numpy(source.images_NHWC[indices_N].reshape(12, -1) / 255)
    y = torch.from_numpy(source.labels_N[indices_N]).long()
    loss = torch.nn.functional.cross_entropy(net(x.float()), y)
    sgd.zero_grad()
    loss.backward()
    sgd.step()
    losses.append(loss.item())

  np.testing.assert_allclose(metrics['loss'], losses, rtol=1e-5)
  for name, module in zip(names, dense):
    np.testing.assert_allclose(
      last.params[name]['kernel'].T, module.weight.detach(), atol=2e-6
    )
  for k, module in enumerate(norms, start=1):
    running = last.collections['batch_stats'][f'hidden_{k}']['norm']
    np.testing.assert_allclose(
      running['mean'], module.running_mean, atol=1e-6, rtol=1e-4
    )
    np.testing.assert_allclose(running['var'], module.running_var, rtol=1e-5)


def test_scanned_steps_equal_called_ones(with_bn):
  _, scanned, metrics = with_bn
  _, called, each = trained(config_of('batch'), scan='never')
  assert int(called.step) == STEPS
  np.testing.assert_allclose(metrics['loss'], each['loss'], rtol=1e-5)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), scanned, called
  )


def test_the_loss_falls_on_learnable_data(with_bn):
  loss_T = with_bn[2]['loss']
  assert loss_T[-3:].mean() < 0.7 * loss_T[:3].mean()


class Convolution(nn.Module):
  """The smallest network that convolves."""

  @nn.compact
  def __call__(self, x, *, train):
    return nn.Conv(10, (8, 8), padding='VALID')(x).reshape(-1, 10), {}


def test_auto_scans_unless_a_cpu_would_convolve_in_a_loop():
  def scans(model):
    updates = optax.sgd(0.1)
    first = state.create(model, updates, (8, 8, 1), 0)
    split = stream.Examples(
      jnp.zeros((5, 8, 8, 1), jnp.uint8), jnp.zeros(5, jnp.int32)
    )
    train_step = step.make_train_step(
      model, updates, lambda key, x, y: (x / 255, y)
    )
    example = first, split, np.zeros(12, np.int32)
    advance = feed.make_advance(train_step, 'auto', example)
    return hasattr(advance, 'lower')  # a compiled whole, not a Python loop

  assert scans(assemble(config_of()).network.model)
  assert not scans(Convolution())


def test_a_step_that_is_not_scanned_is_traced_once():
  config, model = config_of(), Convolution()
  updates = optimizer.make(4, **config.optim)
  parts, traces = assemble(config), []

  def inputs(*batch):
    traces.append(batch)
    return parts.images.inputs(*batch)

  with jax.set_mesh(parallel.mesh_of(jax.devices()[:1])):
    now = parallel.shared(state.create(model, updates, (8, 8, 1), 0))
    train_step = step.make_train_step(model, updates, inputs)
    source = parts.data.source('train')
    made = feed.Resident(train_step, source, parts.training.order, now)
    for steps in range(2), range(2, 4):
      now, _ = made.advance(now, steps, jax.random.key(0))
  assert len(traces) == 1


# The knobs that an optimizer has, and optax itself with the same ones.
KNOBS = {'learning_rate': 0.1, 'momentum': 0.9, 'nesterov': True}
KNOBS |= {'weight_decay': 0.01}
DIRECT = {
  'sgd': lambda: optax.sgd(0.1, 0.9, nesterov=True),
  'adam': lambda: optax.adam(0.1),
  'adamw': lambda: optax.adamw(0.1, weight_decay=0.01),
  'adagrad': lambda: optax.adagrad(0.1),
  'lamb': lambda: optax.lamb(0.1, weight_decay=0.01),
  'lion': lambda: optax.lion(0.1, weight_decay=0.01),
  'nadam': lambda: optax.nadam(0.1),
  'rmsprop': lambda: optax.rmsprop(0.1, momentum=0.9, nesterov=True),
}


def descended(updates, steps=50):
  """Returns kernels on their way down a narrow valley, (steps, 3)."""
  curvature, centre = jnp.asarray([1.0, 4.0, 0.2]), jnp.asarray([0.5, -1, 2])

  def descend(carry, _):
    params, opt_state = carry
    away = params['kernel'] - centre
    change, opt_state = updates.update(
      {'kernel': curvature * away}, opt_state, params
    )
    params = optax.apply_updates(params, change)
    return (params, opt_state), params['kernel']

  params = {'kernel': jnp.asarray([1.0, -2.0, 0.5])}
  run = jax.jit(
    lambda: jax.lax.scan(descend, (params, updates.init(params)), None, steps)
  )
  return run()[1]


@pytest.mark.parametrize(
  'name', knobs.KNOBS['optim.name'].rule.choices, ids=str
)
def test_every_optimizer_is_optaxs_own_with_the_knobs_it_has(name):
  knobs = ('learning_rate', *optimizer.OPTIONS[name])
  optim = config_of(
    optim__name=name, **{f'optim__{k}': KNOBS[k] for k in knobs}
  )
  found = descended(optimizer.make(50, **optim.optim))
  np.testing.assert_allclose(found, descended(DIRECT[name]()), rtol=1e-5)


@pytest.mark.parametrize('name', ['adam', 'nadam'])
def test_the_defaults_of_other_optimizers_change_none(name):
  """`nesterov=False` made Adam of NAdam, as True makes NAdam of Adam."""
  optim = config_of(optim__name=name, optim__learning_rate=0.1).optim
  for nesterov in (False, True):
    with optim.unlocked():
      optim.nesterov = nesterov
    found = descended(optimizer.make(20, **optim), 20)
    np.testing.assert_array_equal(found, descended(DIRECT[name](), 20))


def test_schedules_have_their_closed_forms():
  def at(points, **options):
    values = {f'optim__{key}': value for key, value in options.items()}
    optim = config_of(optim__learning_rate=1.0, **values).optim
    own = lookup.keywords(optimizer.rate_of, optim)
    rate = optimizer.rate_of(100, **own)
    return [float(rate(point)) for point in points]

  assert at([0, 99], schedule='constant') == [1, 1]
  np.testing.assert_allclose(
    at([0, 50, 100], schedule='cosine'), [1, 0.5, 0], atol=1e-7
  )
  decay = {'decay_rate': 0.5, 'decay_steps': 10}
  np.testing.assert_allclose(
    at([0, 5, 20], schedule='exponential', **decay), [1, 0.5**0.5, 0.25]
  )
  np.testing.assert_allclose(
    at([0, 9, 10, 25], schedule='step', **decay), [1, 1, 0.5, 0.25]
  )
  np.testing.assert_allclose(
    at([0, 5, 10, 50], schedule='constant', warmup_steps=10), [0, 0.5, 1, 1]
  )


@pytest.mark.parametrize(
  'pull',
  [{'l2': 0.5}]
  + [{'weight_decay': 0.5, 'name': name} for name in ('adamw', 'lamb', 'lion')],
  ids=str,
)
def test_what_pulls_weights_to_zero_pulls_kernels_only(pull):
  dotted = {f'optim__{key}': value for key, value in pull.items()}
  optim = config_of(optim__learning_rate=1.0, **dotted).optim
  updates = optimizer.make(1, **optim)
  params = {'a': {'kernel': jnp.ones(2), 'bias': jnp.ones(2)}}
  zero = jax.tree.map(jnp.zeros_like, params)
  change, _ = updates.update(zero, updates.init(params), params)
  # lamb makes the step as long as the kernel.
  expected = -1.0 if pull.get('name') == 'lamb' else -0.5
  np.testing.assert_allclose(change['a']['kernel'], expected, rtol=1e-6)
  np.testing.assert_allclose(change['a']['bias'], 0)


def evaluator_of(config, statistics, batch_size=0):
  """Returns the test split, and what evaluates on it."""
  parts = assemble(config)
  source = parts.data.source('test')
  add_batch = jax.jit(parts.evaluation.add_batch(statistics))
  return source, parts.evaluation.evaluator(source, add_batch, batch_size)


@pytest.mark.parametrize('batch_size', [7, 50, 1000])
def test_evaluation_counts_every_example_once(with_bn, batch_size):
  config = config_of('batch', data__examples=50)
  _, last, _ = with_bn
  model, pixels = assemble(config).network.model, assemble(config).images.pixels
  source, evaluator = evaluator_of(config, 'ema', batch_size)
  means = evaluator.means(evaluator.sums(last.params, last.collections))

  logits, _ = evaluate.make_forward(model, 'ema')(
    last.params, last.collections, pixels(source.images_NHWC)
  )
  logits = np.asarray(logits, np.float64)
  log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
  assert means['examples'] == 50
  assert means['accuracy'] == (logits.argmax(-1) == source.labels_N).mean()
  np.testing.assert_allclose(
    means['loss'], -log_p[range(50), source.labels_N].mean(), rtol=1e-5
  )


def test_evaluation_refuses_a_wrong_count(with_bn):
  config = config_of('batch', data__examples=50)
  _, evaluator = evaluator_of(config, 'ema', 20)
  sums = evaluator.sums(with_bn[1].params, with_bn[1].collections)
  sums['examples'] = sums['examples'] - 1
  with pytest.raises(AssertionError, match='49 of 50'):
    evaluator.means(sums)


@pytest.mark.parametrize('statistics', ['ema', 'batch'])
def test_what_is_evaluated_is_spread_over_devices_and_parts(
  statistics, with_bn, monkeypatch, assert_close
):
  config = config_of('batch', data__examples=53, eval__batch_size=20)
  network = with_bn[1].params, with_bn[1].collections
  placed, found = [], []
  split = parallel.split
  monkeypatch.setattr(
    parallel, 'split', lambda batch: placed.append(split(batch)) or placed[-1]
  )
  for devices, parts in ((1, 1), (8, 1), (2, 2)):
    config.train.microbatches = parts
    with jax.set_mesh(parallel.mesh_of(jax.devices()[:devices])):
      _, evaluator = evaluator_of(config, statistics)
      sums = evaluator.sums(*parallel.shared(network))
    found.append(evaluator.means(sums))
    rows = 24 if devices == 8 else 20
    for x in jax.tree.leaves(placed):
      assert len(x) == rows
      assert x.sharding.shard_shape(x.shape)[0] == rows // devices
    assert len(placed) == 3
    placed.clear()
  for other in found[1:]:
    assert_close(other, found[0], rtol=1e-6)


def test_batch_statistics_see_no_padding(with_bn):
  """The last of two batches is smaller; its statistics are its own."""
  config = config_of('batch', data__examples=50)
  _, last, _ = with_bn
  model, pixels = assemble(config).network.model, assemble(config).images.pixels
  source, evaluator = evaluator_of(config, 'batch', 30)
  means = evaluator.means(evaluator.sums(last.params, last.collections))
  forward = evaluate.make_forward(model, 'batch')
  correct = 0
  for part in (slice(0, 30), slice(30, 50)):
    logits, _ = forward(
      last.params, last.collections, pixels(source.images_NHWC[part])
    )
    correct += int((logits.argmax(-1) == source.labels_N[part]).sum())
  assert means['accuracy'] == correct / 50


def test_unknown_statistics_are_refused():
  with pytest.raises(ValueError, match='needs one of ema, population, pooled'):
    evaluate.make_forward(assemble(config_of()).network.model, 'median')


def test_a_batch_of_one_is_refused_for_unbiased_statistics():
  with pytest.raises(ValueError, match=r'1 value per channel: .* at least 2'):
    trained(config_of('batch', train__batch_size=1), steps=1)


def test_training_leaves_a_complete_run_directory(tmp_path):
  config = configs.tiny(config_of(probes__names="('saturation',)"))
  assert session.train(assemble(config), tmp_path / 'run') == 'done'
  names = {file.name for file in (tmp_path / 'run').iterdir()}
  assert names >= {
    'config.json',
    'metrics.jsonl',
    'status.json',
    'provenance.json',
    'checkpoints',
  }


def test_a_last_update_that_leaves_the_finite_numbers_is_divergence(tmp_path):
  """No loss of training tells of it: that is of before the update."""
  one = ('train__steps', 'train__log_every', 'eval__every', 'checkpoint__every')
  config = config_of('none', **dict.fromkeys(one, 1), probes__names='()')
  config.optim.learning_rate = 1e38
  assert session.train(assemble(config), tmp_path / 'run') == 'diverged'
  status = run_directory.read_status(tmp_path / 'run')
  assert 'After step 1 these are not finite: ' in status['message']
  assert 'A smaller optim.learning_rate' in status['message']
  metrics = logbook.read(tmp_path / 'run' / 'metrics.jsonl')
  assert np.isfinite(metrics['train/loss'].values).all()
  assert not np.isfinite(metrics['test/loss'].values[-1])


@pytest.mark.parametrize('file', CONFIGS, ids=lambda file: file.stem)
def test_every_point_of_every_config_is_built(file):
  """The shapes: dry runs of experiments train them, if only two steps."""
  tried = set()
  for point in points(configs.load(str(file)), {}):
    config = configs.tiny(point.config)
    if traced.kind(config) not in tried:
      tried.add(traced.kind(config))
      network = assemble(config).network.model
      size = 8 if config.model.stem == 'small' else 32
      assert models.shapes(network, size, channels=1)
