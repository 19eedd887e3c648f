"""The charts of results: their axes, colors and panels, from runs' names."""

import json
import math
import warnings

import pytest

from experiments import _chart, _scoreboard


def result(*names, accuracy=0.5, status='done'):
  """Returns a result of runs with these names."""
  run = {'test_accuracy': accuracy, 'status': status}
  return {'runs': [run | {'run': name} for name in names]}


def encoding(chart):
  """Returns how a chart shows the runs, whatever is around that."""
  unit = chart.spec.get('spec', chart.spec)
  return unit.get('layer', [unit])[-1]['encoding']


def test_a_knob_with_several_numbers_is_an_axis_in_their_order():
  names = [f'rate={x},norm={n}' for x in (10, 2.0, 1e-3) for n in 'ab']
  chart = _chart.of_runs(result(*names))
  shown = encoding(chart)
  assert (shown['x']['field'], shown['color']['field']) == ('rate', 'norm')
  assert shown['x']['sort'] == ['0.001', '2', '10']
  assert 'facet' not in chart.spec


def test_a_second_such_knob_has_panels():
  names = [f'a={x},b={y}' for x in range(4) for y in range(3)]
  chart = _chart.of_runs(result(*names))
  assert encoding(chart)['x']['field'] == 'a', 'the one with more values'
  assert chart.spec['facet']['sort'] == ['b 0', 'b 1', 'b 2']


def test_a_run_without_the_knob_comes_last_on_its_axis():
  names = ('n=4', 'n=16', 'n=2', 'other=1')
  shown = encoding(_chart.of_runs(result(*names)))
  assert shown['x']['sort'] == ['2', '4', '16', '-']


def test_settings_without_such_a_knob_have_a_row_each():
  names = [f'{n},seed={k}' for n in ('one', 'two') for k in range(2)]
  chart = _chart.of_runs(result(*names))
  assert encoding(chart)['color']['field'] == 'network'
  names = [f'{n},seed={k}' for n in 'abcdefg' for k in range(2)]
  chart = _chart.of_runs(result(*names))
  rows = [row['setting'] for row in chart.spec['data']['values']]
  assert rows == [n for n in 'abcdefg' for _ in range(2)]
  assert 'color' not in encoding(chart), 'too many to tell apart'


def test_blue_is_with_bn_and_red_without():
  names = [f'm={m},norm={n}' for m in 'xy' for n in ('none', 'group', 'batch')]
  scale = encoding(_chart.of_runs(result(*names)))['color']['scale']
  colors = dict(zip(scale['domain'], scale['range']))
  assert (colors['batch'], colors['none']) == ('#2e75b6', '#c0504d')
  assert len({*colors.values()}) == 3


def test_the_table_behind_a_chart_has_every_run():
  made = result('n=1', 'n=2')
  made['runs'][0]['seconds'] = 1234.5
  chart = _chart.of_runs(made)
  assert chart.rows == [
    ['n=1', 'done', '0.5', '1,234'],
    ['n=2', 'done', '0.5', 'not kept'],
  ]


@pytest.mark.parametrize('value', [math.nan, math.inf])
def test_what_json_lacks_is_no_number_of_a_chart(value):
  chart = _chart.of_runs(result('n=1', 'n=2', accuracy=value))
  assert json.dumps(chart.spec, allow_nan=False)
  assert chart.rows[0][2] == 'not finite'


@pytest.mark.parametrize('made', [{}, {'runs': []}, result('n=1')])
def test_a_result_of_fewer_than_two_runs_has_no_chart(made):
  assert _chart.of_runs(made) is None


def test_a_name_is_no_path_into_the_data():
  chart = _chart.of_runs(result('a.b[0]=1', 'a.b[0]=2', 'a.b[0]=3'))
  assert encoding(chart)['x']['field'] == 'a_b_0_'
  assert chart.spec['data']['values'][0]['a_b_0_'] == '1'


def test_curves_have_panels_and_no_logarithm_of_zero():
  rows = [('p', 'l', 1.0, 0.0), ('p', 'l', 2.0, 3.0), ('q', 'm', 1.0, 2.0)]
  chart = _chart.of_curves(_chart.Curves('x', 'y', rows, 'Some.'))
  assert [row['y'] for row in chart.spec['data']['values']] == [None, 3.0, 2.0]
  assert chart.spec['facet']['sort'] == ['p', 'q']
  assert chart.rows[0] == ['p', 'l', '1', '0']


def test_vega_lite_takes_the_charts_of_all_results():
  vega = pytest.importorskip('vl_convert', reason='needs the extra `report`')
  charts = [
    _chart.of_curves(study.curves(r)) if study.curves else _chart.of_runs(r)
    for study in _scoreboard.studies()
    for r in study.results.values()
  ]
  charts = [chart for chart in charts if chart]
  assert len(charts) > 12
  for chart in charts:
    with warnings.catch_warnings(action='error'):
      made = vega.vegalite_to_vega(chart.spec, vl_version='6.4')
    assert made['marks']
