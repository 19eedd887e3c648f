"""A figure with sliders where a notebook has them, and a picture elsewhere."""

import base64
import importlib.util
import io
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
  from matplotlib.figure import Figure

_ALL = 'all'
_WIDGET = 'application/vnd.jupyter.widget-view+json'


def explore(
  draw: Callable[..., 'Figure'],
  start: Mapping[str, Any],
  **choices: Sequence[Any],
) -> dict[str, Any]:
  """Shows `draw(**values)`, with a slider or a menu for each argument.

  Where nothing runs the sliders, such as on GitHub or without ipywidgets, the
  figure of the first values is shown.

  Args:
    draw: returns a figure.
    start: the first values.
    **choices: what each argument may be: texts, for a menu; or numbers, for a
      slider, on which None is called 'all'.

  Returns:
    What is shown, by MIME type: a front end shows the richest that it can. {}
    on Colab, where the sliders show themselves.

  Raises:
    ValueError: a first value is missing, or is no choice.
  """
  from IPython.display import display

  for name, options in choices.items():
    if name not in start or start[name] not in options:
      raise ValueError(
        f'start: {name} = {start.get(name)!r} is no choice. Needs one of '
        f'{", ".join(map(str, options))}.'
      )
  figure = draw(**start)
  shown = {'text/plain': repr(figure), 'image/png': _png(figure)}
  if importlib.util.find_spec('ipywidgets'):
    widget = _sliders(draw, start, choices)
    if 'google.colab' in sys.modules:  # shows one of both, which is not said
      display(widget)
      return {}
    shown[_WIDGET] = {
      'version_major': 2,
      'version_minor': 0,
      'model_id': widget.model_id,
    }
  display(shown, raw=True)
  return shown


def _sliders(draw, start, choices):
  import ipywidgets

  controls = {}
  for name, options in choices.items():
    place = list(options).index(start[name])
    own = {'index': place, 'description': name}
    if all(isinstance(option, str) for option in options):
      controls[name] = ipywidgets.Dropdown(options=list(options), **own)
    else:
      named = [(_ALL, _ALL) if o is None else (f'{o:,}', o) for o in options]
      controls[name] = ipywidgets.SelectionSlider(
        options=named, continuous_update=False, **own
      )
  # To a slider, None is no value.
  given = lambda values: {
    k: None if v == _ALL else v for k, v in values.items()
  }
  return ipywidgets.interactive(
    lambda **values: draw(**given(values)),
    {'manual': False, 'auto_display': True},
    **controls,
  )


def _png(figure):
  file = io.BytesIO()
  figure.savefig(file, format='png', dpi=100)
  return base64.b64encode(file.getvalue()).decode()
