"""Batch Normalization research in JAX: the 2015 paper and what came after.

  import bnresearch as bnr
  norm = bnr.norms.batch.Norm(momentum=0.9)  # in your own Flax model
  run = bnr.train(bnr.default_config(), 'runs/first')

The tour, in the order of imports; each room's docstring says what it promises.

  terminal          what is said; names in it are text, never markup
  lookup  lazy      a file is an entry; imported at first use
  paths  command    paths that users give; errors of users as messages
  statistics        moments, groups of examples, a batch over devices
  machine           this process: devices, other hosts, signals, memory
  images            files decoded and cropped on the host
  conventions       what momentum, epsilon and variance mean elsewhere
  ops               fast forms of operations
  norms  models  data  probes   rooms: one file per choice of a config
  mirrors           other tools that show a run live: TensorBoard, W&B
  augment           training images changed at random on the device
  training          state, objective, optimizer, step, feed: begin with loop.py
  evaluation        exact evaluation; population statistics
  knobs  config     all about every knob; a config loaded (config_code)
                    and overridden
  assembly          a config's parts, each made once: the only place that turns
                    names into things
  zoo  pretrained   networks as published; weights that others trained
  stated            numbers that papers state of networks, beside ours
  runs              what a run leaves on disk: begin with session.py
  inference         a run opened again; several as an ensemble
  preflight         problems of a run, found before it begins
  sweeps  reports   many runs; tables and pages of them
  selftest          is the science the same on all devices here?
  norm_contract     does this normalizer keep what all of them promise?
  main  from_python  python -m bnresearch.main --help; the same from Python

Arrays carry their shape as a suffix where the rank is fixed, `x_NHWC`,
`mean_C`; the capital alone is the size, `C = x_NHWC.shape[-1]`:

  N examples   H W space   C channels   D features   K classes   T steps
  G groups, of examples or of channels   P parts of a batch, J of each group
  M examples of a part   S positions   V values of a channel   Q percentiles
  R runs of a program
"""

from typing import TYPE_CHECKING

from bnresearch import lazy

if TYPE_CHECKING:
  from bnresearch import models as models
  from bnresearch import norms as norms
  from bnresearch import probes as probes
  from bnresearch.config import load as load_config  # noqa: F401
  from bnresearch.from_python import sweep as sweep
  from bnresearch.from_python import train as train
  from bnresearch.inference.adapted import adapt_run as adapt_run
  from bnresearch.inference.ensemble import (
    evaluate_together as evaluate_together,
  )
  from bnresearch.inference.folded import fold_run as fold_run
  from bnresearch.inference.run import Run as Run
  from bnresearch.inference.run import open_run as open_run
  from bnresearch.knobs.defaults import default_config as default_config
  from bnresearch.statistics.folding import fold as fold
  from bnresearch.statistics.population import (
    population_statistics as population_statistics,
  )

__version__ = '0.2.0'

# Where each public name is, 'module' or 'module:name'.
_PUBLIC = {
  'Run': 'inference.run:Run',
  'adapt_run': 'inference.adapted:adapt_run',
  'default_config': 'knobs.defaults:default_config',
  'evaluate_together': 'inference.ensemble:evaluate_together',
  'fold': 'statistics.folding:fold',
  'fold_run': 'inference.folded:fold_run',
  'load_config': 'config:load',
  'models': 'models',
  'norms': 'norms',
  'open_run': 'inference.run:open_run',
  'population_statistics': 'statistics.population:population_statistics',
  'probes': 'probes',
  'sweep': 'from_python:sweep',
  'train': 'from_python:train',
}
__all__ = [*_PUBLIC]
__getattr__ = lazy.names(__name__, _PUBLIC)


def __dir__() -> list[str]:
  return [*globals(), *__all__]
