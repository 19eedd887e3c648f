"""Local response normalization against NumPy and PyTorch."""

import jax.numpy as jnp
import numpy as np
import pytest

from bnresearch.models import _local_response


@pytest.mark.parametrize('C', [3, 5, 16])
def test_it_is_the_papers_formula(C, assert_close):
  x = np.random.RandomState(0).normal(3, 40, (2, 4, 3, C))
  expected = np.empty_like(x)
  for c in range(C):
    near = x[..., max(0, c - 2) : c + 3]
    sums = np.square(near).sum(-1)
    expected[..., c] = x[..., c] / (2 + 1e-4 * sums) ** 0.75
  actual = _local_response.normalize(jnp.asarray(x, jnp.float32))
  assert_close(actual, expected, rtol=1e-6)


def test_it_is_pytorchs_whose_alpha_is_divided(assert_close):
  torch = pytest.importorskip('torch', reason='PyTorch is not installed')
  x = np.random.RandomState(0).normal(3, 40, (2, 4, 3, 16)).astype('float32')
  layer = torch.nn.LocalResponseNorm(5, alpha=1e-3, beta=0.6, k=1.5)
  expected = layer(torch.from_numpy(x).movedim(-1, 1)).movedim(1, -1)
  actual = _local_response.normalize(
    jnp.asarray(x), size=5, alpha=1e-3 / 5, beta=0.6, k=1.5
  )
  assert_close(actual, expected.numpy(), rtol=1e-6)


def test_the_dtype_is_that_of_the_input():
  x = jnp.full((1, 2, 2, 8), 3, jnp.bfloat16)
  assert _local_response.normalize(x).dtype == jnp.bfloat16
