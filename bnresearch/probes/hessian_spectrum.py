"""Eigenvalues of the loss's Hessian, its trace and its density.

Stochastic Lanczos quadrature, Ghorbani et al. 2019, 1901.10159, section 2: from
a random unit vector v, m steps with full reorthogonalization make a tridiagonal
matrix, whose eigenvalues are nodes, and the squares of whose eigenvectors'
first entries are weights, of a quadrature of the density that v sees. It is
exact for polynomials up to degree 2m - 1. The paper takes 90 steps and averages
over 10 vectors.

The trace is that of the matrix T, exact in the space of the m vectors, and in
its complement Hutchinson's, from four more random vectors z: the mean of
z'Hz. This is what Hutch++ does, Meyer et al. 2021, 2010.09649: the largest
eigenvalues no longer make the estimate vary.

The loop is our own. Matfree, a JAX library for this, runs a `lax` loop around
the product, and XLA makes the gradient of a convolution about 50 times slower
inside one, on a CPU, see `ops/scanning.py`.
"""

import functools
import math

import jax
import jax.flatten_util
import jax.numpy as jnp

from bnresearch.probes import NetworkView, _loops

SCALARS = ('largest', 'smallest', 'trace', 'trace_error')
WALKS = True
TOP = 10  # eigenvalues that are reported as such
OTHERS = 4  # vectors of the trace in the complement


def measure(
  view: NetworkView, *, lanczos_steps: int, lanczos_starts: int
) -> dict[str, jax.Array]:
  """Returns the spectrum, in nats per unit squared.

  'nodes' and 'weights' (starts, m), ascending, see `density`; 'eigenvalues',
  the ten largest, and 'residuals': an eigenvalue of the Hessian is as near to
  each; 'largest', 'smallest', bounds from inside; 'trace', and 'trace_error',
  the standard deviation of that estimate. It takes starts * (m + 4) products,
  of two to three gradients each, and the memory of m times the parameters.

  Args:
    view: of the network.
    lanczos_steps: m; at most the number of parameters.
    lanczos_starts: random vectors, each the start of m steps.
  """
  n = sum(math.prod(x.shape) for x in jax.tree.leaves(view.params))
  _ = view.base  # not to be made in the body of a loop
  runs = [_run(view, min(lanczos_steps, n), k) for k in range(lanczos_starts)]
  return _numbers(runs)


@jax.jit
def density(
  nodes: jax.Array, weights: jax.Array, at: jax.Array, width: float
) -> jax.Array:
  """Returns the density of eigenvalues at points (P,); its integral is 1.

  Args:
    nodes: (starts, m), what `measure` returns.
    weights: likewise.
    at: (P,), where.
    width: standard deviation of the Gaussian in place of each node.
  """
  z = (at[:, None, None] - nodes[None]) / width
  bells = jnp.exp(-jnp.square(z) / 2) / (width * math.sqrt(2 * math.pi))
  return (weights[None] * bells).sum(-1).mean(-1)


def _run(view, steps, start):
  """Returns T's diagonals, each (m,), and z'Hz and |Hz|^2 (2, OTHERS)."""

  def step(j, carry):
    product = view.curvature_along(_direction(view.params, carry[0], j))
    return _extended(carry, product, j, start)

  carry = _begun(view.params, start, steps)
  basis, *diagonals = _loops.repeated(step, carry, steps)

  def sample(k, carry):
    basis, found = carry
    z = _outside(basis, k, start)
    product = view.curvature_along(_direction(view.params, z, 0))
    return basis, _noted(found, product, basis, z, k)

  none = jnp.zeros((2, OTHERS), basis.dtype)
  _, found = _loops.repeated(sample, (basis, none), OTHERS)
  return diagonals, found


def _drawn(like, *numbers):
  """Returns a Gaussian vector for each choice of numbers."""
  key = functools.reduce(jax.random.fold_in, numbers, jax.random.key(0))
  return jax.random.normal(key, like.shape, like.dtype)


@functools.partial(jax.jit, static_argnums=2)
def _begun(params, start, steps):
  """Returns a basis (m, n), zeros but for its first row, and diagonals."""
  flat, _ = jax.flatten_util.ravel_pytree(params)
  v = _drawn(flat, start, 0)
  basis = jnp.zeros((steps, *v.shape), v.dtype)
  zeros = jnp.zeros(steps, v.dtype)
  return basis.at[0].set(v / jnp.linalg.norm(v)), zeros, zeros


@jax.jit
def _direction(params, basis, j):
  _, tree = jax.flatten_util.ravel_pytree(params)
  return tree(basis[j])


@jax.jit
def _extended(carry, product, j, start):
  """Returns the basis with a row more, T[j, j] and T[j, j + 1] noted."""
  basis, diagonal, beside = carry
  product, _ = jax.flatten_util.ravel_pytree(product)
  alpha = basis[j] @ product
  rest = _orthogonal(product, basis)
  beta = jnp.linalg.norm(rest)
  # Where the products of v are exhausted, another vector begins a block.
  ends = beta <= 100 * jnp.finfo(beta.dtype).eps * jnp.linalg.norm(product)
  other = _orthogonal(_drawn(product, start, j + 1), basis)
  new = jnp.where(ends, other / jnp.linalg.norm(other), rest / beta)
  return (
    basis.at[j + 1].set(new, mode='drop'),
    diagonal.at[j].set(alpha),
    beside.at[j].set(jnp.where(ends, 0, beta)),
  )


@jax.jit
def _outside(basis, k, start):
  """Returns a Gaussian vector in the complement of the basis, (1, n)."""
  v = _drawn(basis[0], start, basis.shape[0] + 1 + k)
  return _orthogonal(v, basis)[None]


@jax.jit
def _noted(found, product, basis, z, k):
  """Notes z'Hz, and the square of Hz, in the complement of the basis."""
  product, _ = jax.flatten_util.ravel_pytree(product)
  outside = _orthogonal(product, basis)
  return found.at[:, k].set(jnp.stack([z[0] @ outside, outside @ outside]))


def _orthogonal(v, basis):
  for _ in range(2):  # twice is enough
    v = v - (basis @ v) @ basis
  return v


@jax.jit
def _numbers(runs):
  diagonals, rest = zip(*runs)
  alphas, betas = (jnp.stack(rows) for rows in zip(*diagonals))
  off = jax.vmap(functools.partial(jnp.diag, k=1))(betas[:, :-1])
  T = jax.vmap(jnp.diag)(alphas) + off + off.mT
  nodes, vectors = jnp.linalg.eigh(T)
  residuals = betas[:, -1:] * jnp.abs(vectors[:, -1])
  # Each start bounds the k-th largest from below: the largest of all counts.
  top, near = nodes[:, ::-1][:, :TOP], residuals[:, ::-1][:, :TOP]
  best = top.argmax(0)[None]
  eigenvalues, residuals = (
    jnp.take_along_axis(x, best, 0)[0] for x in (top, near)
  )
  forms, squares = jnp.stack(rest, axis=1)
  # The variance of z'Hz is twice the squares of H's entries, and their sum the
  # mean square of Hz.
  error = jnp.sqrt(2 * squares.mean() / squares.size)
  return {
    'largest': eigenvalues[0],
    'smallest': nodes.min(),
    'trace': alphas.sum(1).mean() + forms.mean(),
    'trace_error': error,
    'eigenvalues': eigenvalues,
    'residuals': residuals,
    'nodes': nodes,
    'weights': jnp.square(vectors[:, 0]),
  }
