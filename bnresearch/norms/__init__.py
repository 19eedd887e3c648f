"""Normalizers: one per file, each a `class Norm(nn.Module)`.

A model receives a function from a layer's path to a `Norm` or, with options, a
`functools.partial` of one. It makes the module, and applies it as
`module(x, train=train, mask=mask_N)`. What every `Norm` promises:

- its fields are its options, and bear the names of `config.norm`;
- `train` is keyword-only and has no default. It says which statistics
  normalize; whether running statistics change is said by `mutable=`;
- `mask`, keyword-only, (N,) bool or None, says which examples enter the
  statistics of a batch. Whatever the others are, NaN too, the output of those
  that count and all gradients of it are the same;
- shape and dtype of the output are those of the input, and whatever the dtype,
  statistics are float32;
- parameters are in `params`, `scale` and `bias` among them where it has an
  affine; running statistics in `batch_stats`, through `_running.py`;
- its class says three things that models read:
  `cancels_bias`, whether a constant added to each channel before it is without
  effect, so that the layer below needs no bias;
  `activates`, whether it contains the nonlinearity that would follow; where it
  does, that is a field, which models set to False where they are linear;
  `needs_positions`, whether it refuses an input (N, C) without positions.

A class's defaults are its paper's or linen's; in a run all options are those of
`config.norm`, one epsilon for all norms among them.
"""

from bnresearch import lazy

__getattr__ = lazy.files(__name__, __path__)
