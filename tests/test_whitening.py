"""Whitened inputs: the map against NumPy in float64, and in runs."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bnresearch as bnr
from bnresearch.assembly import assemble
from bnresearch.data import _whitening
from bnresearch.data.synthetic import like
from bnresearch.runs import run_directory
from configs import default

D, EPSILON = 6, 0.1


def correlated(N=50):
  """Returns data whose directions have variances that differ, not centred."""
  random = np.random.RandomState(0)
  mix = random.normal(size=(D, D)) * np.geomspace(0.1, 3, D)
  return random.normal(size=(N, D)) @ mix + random.normal(3, 1, D)


@pytest.mark.parametrize('kind', ['pca', 'zca'])
def test_the_covariance_of_what_is_whitened_is_nearly_the_identity(kind):
  x_ND = correlated()
  mean_D, matrix_DD = _whitening.fit([x_ND], kind, EPSILON)
  y_ND = (x_ND - mean_D) @ matrix_DD
  np.testing.assert_allclose(y_ND.mean(0), 0, atol=1e-6)
  variance_D, U_DD = np.linalg.eigh(np.cov(x_ND.T, bias=True))
  shrunk_D = variance_D / (variance_D + EPSILON)
  expected = {
    'pca': np.diag(shrunk_D[::-1]),
    'zca': U_DD * shrunk_D @ U_DD.T,
  }[kind]
  covariance = np.cov(y_ND.T, bias=True)
  np.testing.assert_allclose(covariance, expected, atol=1e-6)
  assert shrunk_D.min() < 0.5 < 0.99 < shrunk_D.max()


def test_zca_is_symmetric_and_pca_the_same_up_to_a_rotation():
  x_ND = correlated()
  zca, pca = (
    _whitening.fit([x_ND], kind, EPSILON).matrix_DD for kind in ('zca', 'pca')
  )
  np.testing.assert_allclose(zca, zca.T, atol=1e-6)
  rotation = np.linalg.solve(pca, zca)
  np.testing.assert_allclose(rotation @ rotation.T, np.eye(D), atol=1e-5)
  largest_D = np.abs(pca).argmax(0)
  assert (pca[largest_D, np.arange(D)] > 0).all()


def test_parts_of_any_size_give_the_same_map():
  x_ND = correlated()
  whole = _whitening.fit([x_ND], 'zca', EPSILON)
  parts = _whitening.fit([x_ND[:7], x_ND[7:8], x_ND[8:]], 'zca', EPSILON)
  for one, other in zip(whole, parts):
    np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_a_value_that_never_varies_stays_finite():
  x_ND = correlated()
  x_ND[:, 2] = 0.5
  whitening = _whitening.fit([x_ND], 'pca', EPSILON)
  assert np.isfinite(whitening.matrix_DD).all()


# In runs.


def config_of(**values):
  config = default.get_config()
  config.data.whitening = 'zca'
  config.update_from_flattened_dict(
    {key.replace('__', '.'): value for key, value in values.items()}
  )
  return config


def covariance_of(images, pixels):
  x_ND = np.asarray(pixels(images), np.float64).reshape(len(images), -1)
  return x_ND.mean(0), np.cov(x_ND.T, bias=True)


def test_test_images_are_whitened_as_training_images_are():
  parts = assemble(config_of(data__whitening_epsilon=1e-6))
  train, test = (parts.data.source(s).images_NHWC for s in ('train', 'test'))
  mean_D, covariance = covariance_of(train, parts.images.pixels)
  np.testing.assert_allclose(mean_D, 0, atol=1e-4)
  raw_ND = np.asarray(train, np.float64).reshape(len(train), -1) / 255
  variance_D, U_DD = np.linalg.eigh(np.cov(raw_ND.T, bias=True))
  expected = U_DD * (variance_D / (variance_D + 1e-6)) @ U_DD.T
  np.testing.assert_allclose(covariance, expected, atol=1e-3)
  _, of_test = covariance_of(test, parts.images.pixels)
  assert np.abs(of_test - expected).max() > 0.1


def test_what_whitens_is_fitted_once_also_where_a_step_is_traced(monkeypatch):
  fitted, fit = [], _whitening.fit
  monkeypatch.setattr(_whitening, 'fit', lambda *a: fitted.append(1) or fit(*a))
  config = config_of()
  parts = assemble(config)
  images = jnp.asarray(parts.data.source('train').images_NHWC[:3])

  @jax.jit
  def traced(images):
    config.data.mean = (0.0,)
    return assemble(config, parts).images.pixels(images)

  np.testing.assert_allclose(
    traced(images), parts.images.pixels(images), rtol=1e-5, atol=1e-6
  )
  assert fitted == [1]


def test_images_in_nchw_are_whitened_before_they_are_turned():
  x_NHWC, x_NCHW = (
    assemble(config_of(model__input_format=form)).images.pixels(
      jnp.arange(128, dtype=jnp.uint8).reshape(2, 8, 8, 1)
    )
    for form in ('NHWC', 'NCHW')
  )
  np.testing.assert_array_equal(x_NHWC.transpose(0, 3, 1, 2), x_NCHW)


def test_images_that_are_too_large_or_not_in_memory_are_refused():
  spec = types.SimpleNamespace(
    image_shape=(65, 64, 1), class_names=('a', 'b'), examples={}
  )
  large = like(spec, 'train', 4)
  parts = assemble(config_of(), sources={'train': large})
  with pytest.raises(ValueError, match=r"'zca': .* most 4,096 .*have 4,160"):
    _ = parts.images.pixels

  class Elsewhere:
    def __len__(self):
      return 4

  parts = assemble(config_of(), sources={'train': Elsewhere()})
  with pytest.raises(ValueError, match="'digits' are not in memory, of one"):
    _ = parts.images.pixels


def test_a_run_that_is_opened_again_whitens_as_it_was_trained(tmp_path):
  config = config_of(data__name='synthetic', data__examples=40)
  config.model.features = (8,)
  config.train.steps = config.train.log_every = config.eval.every = 4
  config.train.batch_size, config.checkpoint.every = 10, 4
  run = bnr.train(config, tmp_path, quiet=True)
  accuracy = run.metrics['test/accuracy'].values[-1]
  again = bnr.open_run(tmp_path)
  assert again.evaluate(again.restore())['accuracy'] == pytest.approx(accuracy)
  message = 'began with 40 examples in the split train; now it has 30'
  with pytest.raises(run_directory.Refused, match=message):
    _ = bnr.open_run(tmp_path, examples=30).parts.images.pixels
