"""The whole augmentation of a batch; and cutout, mixup and label smoothing."""

import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bnresearch import augment
from bnresearch.augment import colour, mixing
from configs import default

OFF = default.get_config().augment.to_dict()
SWITCHES = {
  'padded': {'crop': 'padded', 'padding': 2},
  'resized': {'crop': 'resized'},
  'affine': {'shift': 0.1, 'rotate': 20.0, 'scale': 0.1},
  'flip': {'flip': True},
  'fast': {'photometric': 1.0, 'photometric_mode': 'fast'},
  'cutout': {'cutout': 3},
  'mixup': {'mixup': 0.4},
}
SWITCHES['bytes'] = {'crop': 'padded', 'padding': 2, 'flip': True, 'cutout': 3}
SWITCHES['each image'] = {
  name: value
  for switch in ('resized', 'affine', 'flip', 'fast', 'cutout')
  for name, value in SWITCHES[switch].items()
}
SWITCHES['mixed'] = {**SWITCHES['bytes'], **SWITCHES['mixup']}
EACH = pytest.mark.parametrize('name', SWITCHES)
N = 16


@functools.cache
def batch(channels=3):
  """Returns images without zeros, and targets that say which is which."""
  random = np.random.RandomState(0)
  images = random.randint(1, 256, (N, 8, 10, channels)).astype(np.uint8)
  return jnp.asarray(images), jnp.eye(N)


def augmented(key, images, targets, **options):
  return augment.training(key, images, targets, **{**OFF, **options})


@functools.cache
def compiled(name):
  return jax.jit(functools.partial(augmented, **SWITCHES[name]))


@functools.cache
def made(name, seed=0, channels=3):
  """Returns the augmented batch as NumPy's arrays."""
  arrays = compiled(name)(jax.random.key(seed), *batch(channels))
  return tuple(map(np.asarray, arrays))


def test_the_options_are_those_of_config_augment():
  parameters = inspect.signature(augment.training).parameters.values()
  options = {p.name for p in parameters if p.kind is p.KEYWORD_ONLY}
  assert options == {*OFF, 'crop_done'}


def test_all_off_returns_the_very_arrays():
  images, targets = batch()
  result = augmented(jax.random.key(0), images, targets)
  assert result[0] is images
  assert result[1] is targets


@pytest.mark.parametrize(
  ('name', 'channels'), [*((name, 3) for name in SWITCHES), ('fast', 1)]
)
def test_images_stay_bytes_where_none_is_interpolated(name, channels):
  images, targets = made(name, channels=channels)
  bytes_stay = name in ('padded', 'flip', 'cutout', 'bytes')
  assert images.shape == batch(channels)[0].shape
  assert images.dtype == (np.uint8 if bytes_stay else np.float32)
  assert images.min() >= 0
  assert 100 < images.max() <= 255 + 1e-3
  assert targets.dtype == np.float32


@EACH
def test_the_same_key_makes_the_same_bytes_and_another_key_others(name):
  again = compiled(name)(jax.random.key(0), *batch())
  for first, second in zip(made(name), again):
    np.testing.assert_array_equal(first, second)
  assert (made(name, seed=1)[0] != made(name)[0]).any()


@pytest.mark.parametrize('name', ['affine', 'cutout'])
def test_without_jit_it_is_the_same(name, assert_close):
  plain = augmented(jax.random.key(0), *batch(), **SWITCHES[name])
  assert_close(plain, made(name), rtol=1e-5)


@pytest.mark.parametrize('name', [*SWITCHES][:-3])
def test_each_image_has_its_own_draws(name):
  """But mixup, whose weight is that of the batch."""
  images, targets = batch()
  same = jnp.broadcast_to(images[:1], images.shape)
  result, _ = compiled(name)(jax.random.key(0), same, targets)
  found = {np.asarray(image).tobytes() for image in result}
  assert len(found) == {'flip': 2, 'mixup': 1}.get(name, len(found))
  assert len(found) > 5 or name in ('flip', 'mixup')


def test_an_image_does_not_depend_on_its_neighbours():
  images, targets = batch()
  others = images.at[1:].set(255 - images[1:])
  result, _ = compiled('each image')(jax.random.key(0), others, targets)
  np.testing.assert_array_equal(result[0], made('each image')[0][0])
  fewer, _ = compiled('bytes')(jax.random.key(0), images[:4], targets[:4])
  np.testing.assert_array_equal(fewer, made('bytes')[0][:4])


def test_one_augmentation_leaves_the_draws_of_another():
  np.testing.assert_array_equal(made('mixed')[1], made('mixup')[1])
  holes = (made('cutout')[0] == 0).all(-1)
  assert holes.any()
  assert (made('each image')[0][holes] == 0).all()
  images, targets = batch()
  options = {**SWITCHES['fast'], 'flip': True, 'shift': 1e-6}
  options['photometric'] = 1e-6
  slightly = jax.jit(functools.partial(augmented, **options))
  flipped, _ = slightly(jax.random.key(0), images, targets)
  np.testing.assert_allclose(flipped, made('flip')[0], atol=0.01)


def test_colours_change_by_their_own_knobs(monkeypatch):
  seen = {}

  def distort(key, image, **knobs):
    seen.update(knobs)
    assert image.dtype == jnp.float32
    return image / 2

  monkeypatch.setattr(colour, 'distort', distort)
  images, targets = batch()
  knobs = {'brightness': 0.1, 'contrast': 0.2, 'saturation': 0.3, 'hue': 0.4}
  knobs.update(photometric=1.5, photometric_mode='fast')
  result, _ = augmented(jax.random.key(0), images, targets, **knobs)
  assert seen == knobs
  np.testing.assert_allclose(result, np.asarray(images) / 2, rtol=1e-6)


def test_a_crop_that_is_done_is_not_done_again():
  images, targets = batch()
  options = {**SWITCHES['resized'], 'crop_done': True}
  assert augmented(jax.random.key(0), images, targets, **options)[0] is images
  options = {**SWITCHES['padded'], 'crop_done': True}
  padded, _ = augmented(jax.random.key(0), images, targets, **options)
  np.testing.assert_array_equal(padded, made('padded')[0])


def test_colours_and_moves_come_before_cutout():
  """Its zeros stay, where brightness would change them."""
  images, targets = batch()
  options = {**SWITCHES['fast'], 'cutout': 8, 'rotate': 90.0, 'flip': True}
  together = jax.jit(functools.partial(augmented, **options))
  result, _ = together(jax.random.key(0), images, targets)
  alone, _ = augmented(jax.random.key(0), images, targets, cutout=8)
  assert (np.asarray(result)[np.asarray(alone) == 0] == 0).all()


def test_steps_of_a_scan_are_steps():
  step = lambda carry, key: (compiled('bytes')(key, *carry),) * 2
  keys = jax.random.split(jax.random.key(0), 3)
  _, scanned = jax.lax.scan(step, batch(), keys)
  carry = batch()
  for k, key in enumerate(keys):
    carry = compiled('bytes')(key, *carry)
    np.testing.assert_array_equal(scanned[0][k], carry[0])


@pytest.mark.parametrize('name', ['each image', 'mixed'])
def test_eight_devices_augment_as_one(name, assert_close):
  mesh = jax.make_mesh(
    (8,), ('data',), axis_types=(jax.sharding.AxisType.Auto,)
  )
  split = jax.NamedSharding(mesh, jax.P('data'))
  arrays = jax.device_put(batch(), split)
  result = compiled(name)(jax.random.key(0), *arrays)
  assert_close(result, made(name), rtol=1e-5)


@pytest.mark.parametrize(
  ('options', 'message'),
  [
    ({'crop': 'resize'}, "crop = 'resize': must be one of none, padded"),
    ({'crop': 'padded', 'padding': 8}, 'padding = 8: must be less than 8,'),
    ({'scale': 1.0}, 'scale = 1.0: must be less than 1'),
    ({'photometric': 1.0, 'photometric_mode': 'two'}, "'two': .* four, fast"),
    ({'cutout': 9}, 'cutout = 9: must be at most 8, the shorter side'),
  ],
)
def test_what_does_not_suit_the_images_is_refused(options, message):
  with pytest.raises(ValueError, match=message):
    augmented(jax.random.key(0), *batch(), **options)


def test_colours_of_two_channels_are_refused():
  images, targets = batch()
  with pytest.raises(ValueError, match='have 2 channels, and must have 3'):
    augmented(jax.random.key(0), images[..., :2], targets, photometric=1.0)


@pytest.mark.parametrize('side', [2, 3])
def test_cutout_has_its_centre_anywhere(side):
  image = np.full((5, 6, 2), 7, np.uint8)
  keys = jax.random.split(jax.random.key(0), 1000)
  cut = jax.vmap(functools.partial(mixing.cutout, cutout=side), (0, None))
  result = np.asarray(jax.jit(cut)(keys, image))
  assert result.dtype == np.uint8
  expected = set()
  for row, column in np.ndindex(5, 6):
    square = image.copy()
    top, left = row - side // 2, column - side // 2
    square[max(0, top) : top + side, max(0, left) : left + side] = 0
    expected.add(square.tobytes())
  counts = [[r.tobytes() for r in result].count(e) for e in expected]
  assert sum(counts) == 1000
  assert min(counts) > 10


def test_mixup_mixes_images_as_their_targets(assert_close):
  """Which are the rows of the unit matrix, so that they say what is mixed."""
  weights_NN = made('mixup')[1].astype(float)
  np.testing.assert_allclose(weights_NN.sum(0), 1, rtol=1e-6)
  np.testing.assert_allclose(weights_NN.sum(1), 1, rtol=1e-6)
  images = np.asarray(batch()[0], float)
  expected = np.tensordot(weights_NN, images, 1)
  assert_close(made('mixup')[0], expected, rtol=1e-6)
  parts = weights_NN[(weights_NN > 0) & (weights_NN < 1)]
  own = np.diag(weights_NN)[np.diag(weights_NN) < 1]
  assert len(parts) == 2 * len(own) > N
  np.testing.assert_allclose(own, own[0], rtol=1e-6)


@functools.cache
def mixed():
  """Returns the compiled mixup of two, of keys and one alpha."""
  images, targets = jnp.zeros((2, 1, 1, 1)), jnp.eye(2)
  mix = lambda key, alpha: mixing.mixup(key, images, targets, mixup=alpha)
  return jax.jit(jax.vmap(mix, (0, None)))


@pytest.mark.parametrize('alpha', [0.2, 1.0, 4.0])
def test_mixups_weight_is_from_a_beta_distribution(alpha):
  """Whose variance is 1 / (8 alpha + 4), around a half."""
  keys = jax.random.split(jax.random.key(0), 2000)
  own = np.asarray(mixed()(keys, alpha)[1])[:, 0, 0]
  weight = own[own != 1]  # nobody is mixed with itself
  assert 800 < len(weight) < 1200
  assert weight.mean() == pytest.approx(0.5, abs=0.04)
  assert weight.var() == pytest.approx(1 / (8 * alpha + 4), rel=0.15)


def test_smooth_targets_are_probabilities():
  smoothed = np.asarray(mixing.smooth(jnp.eye(5)[:3], 0.1))
  np.testing.assert_allclose(smoothed.sum(-1), 1, rtol=1e-6)
  np.testing.assert_allclose(smoothed, 0.9 * np.eye(5)[:3] + 0.02, rtol=1e-6)
