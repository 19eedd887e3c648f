"""Normalizers: one per file, each a `class Norm(nn.Module)`.

A model receives `norm`, a factory, and calls `norm(name='norm_1')` for a
module that it applies as `module(x, train=train)`. What every `Norm` promises:

- its fields are its options, and bear the names of `config.norm`;
- `train` is keyword-only and has no default. It says which statistics
  normalize; whether running statistics change is said by `mutable=`;
- shape and dtype of the output are those of the input;
- `cancels_bias` says whether a constant added to each channel before it is
  without effect, so that the layer below needs no bias.
"""
