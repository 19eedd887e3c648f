"""A study and a result that have a text, such as markup, wherever they can."""

import json
import types

from experiments import _scoreboard

# Markup, quotes, the end of a script, control characters, a reversed order.
HOSTILE = (
  '</script><img src=x onerror=alert(1)>"\'&amp;{{ 7 }}\x1b[31m\u202eabc'
)
PLAIN = 'a;b c d e f'  # with as many words and sources
HEBREW = 'שלום'
DOC = """{0}

Claim:    {0}
Source:   {0} 2015, Figure 9; Other 2016.
Scale:    {0}
Room:     norms
Config:   {0}
Command:  {0}
Cost:     {0}
Not run:  {0}
Result:   experiments/results/hostile_*.json

{0} [a](javascript:alert(1)) ![b](https://example.org/b.png)
"""


def of_text(text, folder):
  """Returns the study, and its result, that have a text wherever they can."""
  run = {'status': 'done', 'test_accuracy': 0.5, 'seconds': 1.0}
  claim = dict.fromkeys(('setting', 'claim', 'published', 'measured'), text)
  made = dict.fromkeys(('device', 'date', 'commit', 'python', 'jax'), text)
  result = {
    **made,
    **dict.fromkeys(('flax', 'optax', 'numpy', 'data'), text),
    'experiment': 'hostile',
    'seeds': 2,
    'steps': 3,
    'devices': 1,
    'runs': [{**run, 'run': f'{text}={text},seed={k}'} for k in range(2)],
    'claims': [{**claim, 'holds': [True, False]}],
  }
  (folder / 'hostile_x.json').write_text(json.dumps(result))
  module = types.ModuleType('experiments.hostile')
  module.__doc__ = DOC.format(text)
  module.NOTES = f'{text} [c](results/none.csv) [d](../outside.md)'
  return _scoreboard.read(module, folder)
