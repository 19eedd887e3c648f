"""Normalizers: one per file, each a `class Norm(nn.Module)`.

A model receives a function that maps a layer's path to a `Norm` or, with
options, to a `functools.partial` of one. The model makes the module and calls
it as `module(x, train=train, mask=mask_N)`. What every `Norm` promises:

- its fields are its options, and bear the names of `config.norm`;
- `train` is keyword-only and has no default. It says which statistics
  normalize; `mutable=` says whether running statistics change;
- `mask`, keyword-only, (N,) bool or None, says which examples enter the
  statistics of a batch. The others, even if NaN, change neither the output of
  those that count nor any of its gradients;
- shape and dtype of the output are those of the input; statistics are float32
  for every dtype;
- parameters are in `params`, `scale` and `bias` among them if it has an affine;
  running statistics are in `batch_stats`, through `_running.py`;
- its class may say three things that models read, False if it does not:
  `cancels_bias`, whether a constant added to each channel before it has no
  effect, so that the layer below needs no bias;
  `activates`, whether it contains the nonlinearity that would follow; if it
  does, that is a field, which models set to False where they are linear;
  `needs_positions`, whether it refuses an input (N, C) without positions.

A class's defaults are its paper's or linen's. In a run `config.norm` sets all
options, with one epsilon for all norms.
"""

from bnresearch import lazy

__getattr__ = lazy.files(__name__, __path__)
