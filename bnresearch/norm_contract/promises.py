"""The promises of a normalizer; each check returns what is wrong, or ''."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from bnresearch.norm_contract.subject import (
  MASK,
  Subject,
  gaussian,
  over_devices,
  states,
  training_pass,
)

DTYPES = 'float32', 'bfloat16'


def _shape_and_dtype(subject):
  for case in subject.cases:
    for dtype in DTYPES:
      for train in (False, True):
        apply = functools.partial(subject.norm.apply, train=train)
        x = jnp.asarray(case.x, dtype)
        y = jax.eval_shape(apply, case.variables, x)
        if (y.shape, y.dtype) != (x.shape, x.dtype):
          return f'{x.dtype} {x.shape} becomes {y.dtype} {y.shape}.'
  return ''


def _variables(subject):
  x = jnp.asarray(gaussian(subject.shapes[0]), 'bfloat16')
  variables = jax.eval_shape(subject.initial, x)
  update = functools.partial(
    subject.norm.apply, train=True, mutable=states(variables)
  )
  _, new = jax.eval_shape(update, variables, x)
  for leaf in jax.tree.leaves([variables, new]):
    if leaf.dtype != jnp.float32 and not jnp.issubdtype(
      leaf.dtype, jnp.integer
    ):
      return f'one is {leaf.dtype}.'
  others = {*variables} - {'params', 'batch_stats'}
  return f'there is {", ".join(sorted(others))}.' if others else ''


def _train_is_said(subject):
  case = subject.cases[0]
  for arguments in ((), (True,)):
    try:
      subject.norm.apply(case.variables, case.x, *arguments)
    except TypeError:
      continue
    return f'it can be called with {arguments or "nothing"} for train.'
  return ''


def _gradients(subject):
  for case in subject.cases:
    for dtype in DTYPES:
      x = jnp.asarray(case.x, dtype)
      _, _, gradients = subject.trains(case.variables, x)
      if not _finite(gradients):
        return f'not finite, for {dtype} {x.shape}.'
      if not all(jnp.any(leaf != 0) for leaf in jax.tree.leaves(gradients)):
        return f'one is zero everywhere, for {dtype} {x.shape}.'
  return ''


def _finite_at_extremes(subject):
  for x, variables in subject.cases:
    for what, extreme in {
      'a constant channel': x.at[..., 2].set(3),
      'zeros': jnp.zeros_like(x),
      'a mean of 10,000': x + 1e4,
    }.items():
      if not _finite(subject.trains(variables, extreme)):
        return f'not finite, for {what} of {x.shape}.'
  return ''


def _compiled(subject):
  case = subject.cases[-1]
  eager = training_pass(subject.norm, case.variables, case.x)
  return _difference(subject.trains(case.variables, case.x), eager, 1e-5)


def _masked(subject):
  for x, variables in subject.cases:
    y, new, gradients = subject.trains(variables, x, MASK)
    for value in (100, jnp.nan):
      other = x.at[~MASK].set(value)
      y_other, new_other, after = subject.trains(variables, other, MASK)
      expected, found = (y[MASK], new), (y_other[MASK], new_other)
      if wrong := _difference((found, after), (expected, gradients), 1e-6):
        return f'where the masked ones become {value}, {wrong}'
    alone, new_alone, _ = subject.trains(variables, x[MASK])
    if wrong := _difference((y[MASK], new), (alone, new_alone), 1e-5):
      return f'compared with a batch of the others alone, {wrong}'
  return ''


def _all_masked(subject):
  for x, variables in subject.cases:
    result = subject.trains(variables, gaussian(x.shape, 1), np.zeros(16, bool))
    if not _finite(result):
      return 'output or gradients are not finite.'
    if _difference(result[1], _state_of(variables), 0):
      return 'they have changed.'
  return ''


def _evaluation_leaves_them(subject):
  x, variables = subject.cases[0]
  other = gaussian(x.shape, seed=1)
  _, new = subject.apply(variables, other, False, states(variables))
  return _difference(new, _state_of(variables), 0)


def _neighbours(subject):
  for x, variables in subject.cases:
    others = (gaussian(x.shape, seed=1) * 10).at[0].set(x[0])
    y = subject.apply(variables, x, False)[:1]
    among_others = subject.apply(variables, others, False)[:1]
    if wrong := _difference(among_others, y, 0):
      return f'an example among others: {wrong}'
    alone = subject.apply(variables, x[:1], False)
    if wrong := _difference(alone, y, 1e-6):
      return f'an example alone: {wrong}'
  return ''


def _training_changes_them(subject):
  x, variables = subject.cases[0]
  other = gaussian(x.shape, seed=1)
  fixed = subject.apply(variables, other, True)
  y, new = subject.apply(variables, other, True, states(variables))
  if _difference(y, fixed, 0):
    return 'the output depends on whether they are mutable.'
  pairs = zip(*map(jax.tree.leaves, (new, _state_of(variables))))
  return '' if all(jnp.any(a != b) for a, b in pairs) else 'one stays.'


def _cancels_bias(subject):
  says = getattr(subject.norm, 'cancels_bias', False)
  for x, variables in subject.cases:
    bias_C = np.linspace(-3, 4, x.shape[-1], dtype=np.float32)
    bias = bias_C.reshape((1,) * (x.ndim - 1) + (-1,))
    y = subject.apply(variables, x, True)
    shifted = subject.apply(variables, x + bias, True)
    change = float(jnp.abs(shifted - y).max() / jnp.abs(y).max())
    if says != (change < 1e-4):
      return f'it says {says}, and the output changes by {change:.1%}.'
  return ''


def _devices(subject):
  devices = jax.devices()
  several = max(n for n in (1, 2, 4, 8, 16) if n <= len(devices))
  for x, variables in subject.cases:
    first, second = (
      subject.trains(*over_devices(chosen, variables, x, MASK))
      for chosen in (devices[:several], devices[:1])
    )
    if wrong := _difference(first, second, 1e-5):
      return f'on {several}, {wrong}'
  return ''


PROMISES: dict[str, Callable[[Subject], str]] = {
  'shape and dtype are those of the input': _shape_and_dtype,
  'variables are float32, in params and batch_stats': _variables,
  'train must be said, by name': _train_is_said,
  'gradients are finite, and none is zero': _gradients,
  'all is finite for constant channels, zeros, large means': (
    _finite_at_extremes
  ),
  'jit changes nothing': _compiled,
  'what is masked does not matter': _masked,
  'a batch that is all masked leaves the statistics': _all_masked,
  'evaluation leaves the statistics': _evaluation_leaves_them,
  'in evaluation neighbours do not matter': _neighbours,
  'training changes the statistics': _training_changes_them,
  'cancels_bias says the truth': _cancels_bias,
  'all devices give the same as one': _devices,
}


def _finite(tree):
  return all(bool(jnp.isfinite(x).all()) for x in jax.tree.leaves(tree))


def _state_of(variables):
  return {key: variables[key] for key in states(variables)}


def _difference(actual, expected, rtol):
  """Returns what differs, relative to the largest value of each array."""
  for a, e in zip(*map(jax.tree.leaves, (actual, expected)), strict=True):
    a, e = np.asarray(a, np.float64), np.asarray(e, np.float64)
    most = np.abs(e).max(initial=0)
    apart = np.abs(a - e).max(initial=0)
    if not apart <= rtol * (most or 1):
      return f'a value differs by {apart:.2g}, of {most:.2g}.'
  return ''
