"""Batch Normalization research in JAX: the 2015 paper and what came after.

  import bnresearch as bnr
  run = bnr.open_run('runs/figure1/init_std=0.01,norm=batch,seed=0')

The tour, in the order of imports; each room's own text says what it promises.

  terminal          what is said; names in it are text, and no markup
  lookup            a file is an entry
  paths  command    paths that users give; one message of what they can mend
  statistics        moments, groups of examples, a batch over devices
  machine           this process: devices, other hosts, signals, memory
  images            files decoded and cropped on the host
  conventions       what momentum, epsilon and variance mean elsewhere
  ops               fast forms of operations
  norms  models  data  probes   rooms: one file per choice of a config
  mirrors           other tools that show a run live: TensorBoard, W&B
  augment           training images changed at random on the device
  training          state, objective, optimizer, step, feed: begin with loop.py
  evaluation        exact evaluation; statistics of the population
  knobs  config     all that is known of a knob; a config loaded (config_code)
                    and overridden
  assembly          a config's parts, each made once: the only place that turns
                    names into things
  zoo  pretrained   networks as published; weights that others have trained
  runs              what a run leaves on disk: begin with session.py
  inference         a run opened again; several as an ensemble
  preflight         what a run would stumble over, found before it begins
  sweeps  reports   many runs; tables of them
  main  selftest    python -m bnresearch.main --help

Arrays carry their shape as a suffix where the rank is fixed, `x_NHWC`,
`mean_C`; the capital alone is the size, `C = x_NHWC.shape[-1]`:

  N examples   H W space   C channels   D features   K classes   T steps
  G groups, of examples or of channels   P parts of a batch, J of each group
  M examples of a part   S positions   V values of a channel   Q percentiles
  R runs of a program
"""

import importlib

__version__ = '0.2.0'
_PUBLIC = {
  'Run': 'bnresearch.inference.run',
  'evaluate_together': 'bnresearch.inference.ensemble',
  'open_run': 'bnresearch.inference.run',
}
__all__ = sorted(_PUBLIC)


def __getattr__(name: str):
  """Imports a public name when it is first used: JAX takes seconds."""
  if name not in _PUBLIC:
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
  return getattr(importlib.import_module(_PUBLIC[name]), name)
