"""The plain forms of operations, for derivatives that fast ones lack.

Batch normalization, and on a CPU convolution and pooling, have backward passes
of their own, and so no forward mode: `jax.jvp`, `jax.linearize` and
`jax.jacfwd` of what contains them raise a TypeError. Gradients of them can be
differentiated in either mode, so Hessian-vector products,
`jax.jvp(jax.grad(loss), ...)`, and `jax.hessian` are by fast forms. For the
rest:

    with reference.forms():
      y, dy = jax.jvp(network, (params,), (d_params,))
"""

import contextlib

import jax

_plain = jax.make_user_context(False)


def forms() -> contextlib.AbstractContextManager:
  """Returns a context in which operations are XLA's own.

  What was compiled outside of it is compiled again inside, and the other way
  around. It holds for its thread.
  """
  return _plain(True)


def wanted() -> bool:
  """Returns whether this is inside of such a context."""
  return _plain.value
