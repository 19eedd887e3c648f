"""Networks: one architecture per file, each a `class Model(nn.Module)`.

`Model(...)(x, *, train, mask=None)` takes images NHWC, float, and returns
`(logits_NK, taps)`. `mask` (N,) says which examples enter the statistics of the
batch, and goes to every normalizer. `taps` holds every pre-activation by layer
name, the array that enters each nonlinearity (or the normalizer that contains
it): probes need no hooks, and what nobody reads the compiler removes.

A model imports no normalizer: it receives `norm`, see `bnresearch/norms`. Its
other fields bear the names of `config.model`.
"""
