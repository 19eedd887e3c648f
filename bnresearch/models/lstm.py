"""An LSTM that reads an image row by row. Cooijmans et al. 2016, 1603.09025.

Recurrent batch normalization; `norm.name=layer` normalizes the same sums by
layer, as in Ba et al. 2016, 1607.06450.
"""

from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from bnresearch.models import _remat
from bnresearch.models._layer_options import Layers
from bnresearch.models._layers import Logits
from bnresearch.models._network_call import NetworkCall

_INIT = nn.initializers.orthogonal()

CHOICES = {
  'step_statistics': ('separate', 'shared'),
  'sequence': ('whole', 'until_blank'),
}


class Model(nn.Module):
  """Reads an image's rows, top to bottom; classifies by the last state.

  `i, f, g, o = norm(W_h h) + norm(W_x x) + bias`
  `c = sigmoid(f) * c + sigmoid(i) * tanh(g)`
  `h = sigmoid(o) * tanh(norm(c))`

  The cell `c` itself is not normalized: it would not remember. Each time step
  has its own running statistics, in arrays (T, ...). All steps share scale and
  bias; only the cell's normalizer, of the three, has a bias.

  *Differs from the paper:* it reads rows, not pixels, and has statistics for
  exactly as many time steps as there are rows. With shared statistics an image
  may have any number of rows.

  Attributes:
    num_classes: K, the width of the logits.
    layers: options that all layers share; own: tanh for g and c, orthonormal
      kernels. Normalizers can only come before the nonlinearities.
    units: size of the state. The paper's, for images.
    recurrent_scale: initial gamma of all normalizers. The paper's 0.1 keeps
      tanh from saturating; layer normalization begins with 1.
    forget_bias: initial bias of the gate f; the others begin with 0.
      Jozefowicz et al. 2015 recommend 1.
    step_statistics: 'separate', the paper's; or 'shared', the ablation: the
      running statistics of all time steps are one, to which each step of a
      batch contributes alike. Training always uses those of the step.
    sequence: 'whole', or 'until_blank': an image ends with its last row that is
      not of a single colour. Its last state is the one there, and it has no
      part in the statistics of the steps after.
  """

  num_classes: int
  layers: Layers
  units: int = 100
  recurrent_scale: float = 0.1
  forget_bias: float = 1.0
  step_statistics: str = 'separate'
  sequence: str = 'whole'

  convolves: ClassVar[bool] = False

  @nn.compact
  def __call__(
    self, x_NHWC: jax.Array, *, train: bool, mask: jax.Array | None = None
  ) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Returns logits (N, K), and taps (N, T, C): gates, and the cell's."""
    call = NetworkCall(
      self, x_NHWC, train=train, mask=mask, activation='tanh', init=_INIT
    )
    _refuse(self.layers, call.activation)
    N, T, *_ = call.shape
    x_NTD = call.images_NHWC.reshape(N, T, -1)
    rows = [x_NTD]
    if self.sequence == 'until_blank':
      rows.append(_until_blank(x_NTD))
    # Statistics are stacked over time; parameters are not.
    cell = nn.scan(
      _remat.of_a_loop(_Cell, self.layers.remat),
      variable_axes={'batch_stats': 0},
      variable_broadcast='params',
      split_rngs={'params': False, 'dropout': True},
      in_axes=1,
      out_axes=1,
    )
    if self.step_statistics == 'shared':
      cell = _with_shared_statistics(cell, T, init=self.is_initializing())
    D = call.features(self.units)
    zeros_ND = jnp.zeros((N, D), x_NTD.dtype)
    (h_ND, _), taps = cell(
      call, D, self.recurrent_scale, self.forget_bias, name='cell'
    )((zeros_ND, zeros_ND), *rows)
    call.taps.update(taps)
    return Logits(self.num_classes, name='logits')(h_ND, call), call.taps


class _Cell(nn.Module):
  """One time step. It returns its taps, as their arrays belong to the loop.

  `reads_N` says which examples have a row at this step; None for all.
  """

  call: NetworkCall
  units: int
  recurrent_scale: float
  forget_bias: float

  @nn.compact
  def __call__(self, state, x_ND, reads_N=None):
    (h_ND, c_ND), D = state, self.units
    call = self.call.with_own_taps()
    if reads_N is not None:
      call.mask = reads_N if call.mask is None else call.mask & reads_N
    sums = _Normalized(4 * D, self.recurrent_scale, name='input')(x_ND, call)
    sums += _Normalized(4 * D, self.recurrent_scale, name='hidden')(h_ND, call)
    bias = self.param('bias', _gate_biases(self.forget_bias), (4 * D,))
    sums += bias.astype(sums.dtype)[None]
    i, f, o, g = jnp.split(sums, 4, axis=-1)
    call.taps['cell/gates'] = jnp.concatenate([i, f, o], axis=-1)
    nonlinear = lambda x, name: call.normalize_and_activate(
      x, None, f'cell/{name}', activated=True, name=f'{name}_activation'
    )
    g_ND = nonlinear(g, 'candidate')
    c_ND = nn.sigmoid(f) * c_ND + nn.sigmoid(i) * g_ND
    output_ND = _Normalized(0, self.recurrent_scale, name='output')(c_ND, call)
    h_ND = nn.sigmoid(o) * nonlinear(output_ND, 'output')
    if reads_N is not None:
      h_ND, c_ND = (
        jnp.where(reads_N[:, None], new, old)
        for new, old in zip((h_ND, c_ND), state)
      )
    return (h_ND, c_ND), call.taps


class _Normalized(nn.Module):
  """A linear map without bias, or none if `features` is 0, and a normalizer."""

  features: int
  initial_scale: float

  @nn.compact
  def __call__(self, x_ND, call):
    wanted = {'activates': False, 'initial_scale': self.initial_scale}
    if self.features:
      wanted['use_bias'] = False
      x_ND = call.layer(
        self, nn.Dense, x_ND, features=self.features, use_bias=False
      )
    norm = call.norm(self, **wanted)
    return norm(x_ND, train=call.train, mask=call.mask)


def _with_shared_statistics(cell, T, *, init):
  """Returns the loop's class with one value of what each of T steps had."""

  def to_steps(stored):
    return jax.tree.map(lambda x: jnp.broadcast_to(x, (T, *x.shape)), stored)

  def to_one(of_steps):
    # A count is the same at all steps.
    return jax.tree.map(
      lambda x: x.mean(0) if jnp.issubdtype(x.dtype, jnp.floating) else x[0],
      of_steps,
    )

  return nn.map_variables(
    cell, 'batch_stats', to_steps, to_one, init=init, mutable=True
  )


def _until_blank(x_NTD):
  """Returns which rows are read (N, T): up to the last of several colours."""
  varied_NT = x_NTD.max(-1) > x_NTD.min(-1)
  reads_NT = jnp.flip(jnp.cumsum(jnp.flip(varied_NT, 1), 1), 1) > 0
  return reads_NT.at[:, 0].set(True)  # a blank image has one row


def _gate_biases(forget_bias):
  """Returns the initializer of the biases of i, f, o, g."""

  def init(key, shape, dtype=jnp.float32):
    gates = jnp.zeros((4, shape[0] // 4), dtype).at[1].set(forget_bias)
    return gates.reshape(shape)

  return init


def _refuse(layers, activation):
  """Refuses options that a recurrent network cannot have."""
  sites = [site for site in layers.init_sites if site.endswith('=lsuv')]
  if sites:
    raise ValueError(
      f'init_sites: {sites[0]!r} is not for the lstm, where all time steps '
      'share one kernel. Take another one.'
    )
  for name, value, why in (
    ('norm_position', 'after', 'sums are normalized before they are added up'),
    ('initializer', 'lsuv', 'all time steps share one kernel'),
    ('activation', 'maxout', 'a state has as many units as before'),
  ):
    if (activation if name == 'activation' else getattr(layers, name)) == value:
      raise ValueError(
        f'{name} = {value!r}: not for the lstm, where {why}. Take another one.'
      )
