"""The default value of every knob.

Command:  python -m bnresearch.main --config=configs/default.py
Expected: 98.6% test accuracy on the embedded digits.
Time:     about 5 s on one CPU core.

`--config=default` is the same and needs no file. The values are in
bnresearch/knobs/table.py; docs/knobs.md explains them. A config file defines
`get_config(arg)`: it takes these defaults, changes some and, for a study, adds
a sweep, a tuple of overrides made by a comprehension:

  config.sweep = tuple({'seed': s} for s in range(5))

The command line can set any knob, `--config.optim.learning_rate=0.5`.
"""

from bnresearch.knobs.defaults import get_config, parse

__all__ = ['get_config', 'parse']
