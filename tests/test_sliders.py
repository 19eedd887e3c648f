"""Sliders of a notebook, and the picture where there are none."""

import base64
import importlib.util

import IPython.display
import pytest
from matplotlib.figure import Figure

from bnresearch.reports import sliders

WIDGET = 'application/vnd.jupyter.widget-view+json'
CHOICES = {'layer': ['hidden_1', 'hidden_2'], 'unit': [None, 0, 1]}


@pytest.fixture
def shown(monkeypatch):
  """Returns a list of what is displayed."""
  found = []
  monkeypatch.setattr(
    IPython.display, 'display', lambda data, **_: found.append(data)
  )
  return found


@pytest.fixture
def drawn():
  """Returns a function that draws, and notes what it was asked for."""

  def draw(layer, unit):
    draw.calls.append((layer, unit))
    figure = Figure(figsize=(1, 1))
    figure.subplots().plot([0, 1])
    return figure

  draw.calls = []
  return draw


def test_without_ipywidgets_a_picture_of_the_first_values_is_shown(
  shown, drawn, monkeypatch
):
  monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
  start = {'layer': 'hidden_2', 'unit': None}
  result = sliders.explore(drawn, start, **CHOICES)
  assert shown == [result]
  assert set(result) == {'text/plain', 'image/png'}
  assert base64.b64decode(result['image/png']).startswith(b'\x89PNG')
  assert drawn.calls == [('hidden_2', None)]


def test_with_ipywidgets_a_slider_that_moves_draws_again(
  shown, drawn, monkeypatch
):
  ipywidgets = pytest.importorskip('ipywidgets')
  made = []
  monkeypatch.setattr(
    ipywidgets,
    'interactive',
    lambda *args, of=ipywidgets.interactive, **controls: (
      made.append(of(*args, **controls)) or made[-1]
    ),
  )
  start = {'layer': 'hidden_1', 'unit': 1}
  result = sliders.explore(drawn, start, **CHOICES)
  assert shown[-1] == result  # before it, what the sliders show
  assert 'image/png' in result
  (widget,) = made
  assert result[WIDGET]['model_id'] == widget.model_id
  menu, slider, _ = widget.children
  assert slider.options == (('all', 'all'), ('0', 0), ('1', 1))
  assert drawn.calls[-1] == ('hidden_1', 1)
  slider.index = 0
  assert drawn.calls[-1] == ('hidden_1', None)
  menu.value = 'hidden_2'
  assert drawn.calls[-1] == ('hidden_2', None)


@pytest.mark.parametrize('unit', [7, '1'])
def test_a_first_value_that_is_no_choice_is_refused(unit, drawn):
  start = {'layer': 'hidden_1', 'unit': unit}
  with pytest.raises(ValueError, match=rf'unit = {unit!r} is no .* None, 0, 1'):
    sliders.explore(drawn, start, **CHOICES)
  assert drawn.calls == []
