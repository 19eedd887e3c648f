"""Charts of a report: what they draw of seeds, layers, units, histograms."""

import warnings

import numpy as np
import pytest

from bnresearch.reports.site import densities, layers, lines, run_page, vega
from bnresearch.runs.logbook import Series
from tests import written_runs


def series(values, steps=None):
  values = np.asarray(values, float)
  places = range(len(values)) if steps is None else steps
  return Series(np.array(places), values)


def metrics(rows):
  """Returns what `logbook.read` gives of rows."""
  found = {}
  for step, row in rows:
    for name, value in row.items():
      found.setdefault(name, []).append((step, value))
  return {
    name: Series(*map(np.array, zip(*pairs))) for name, pairs in found.items()
  }


# Lines.


def test_seeds_have_their_mean_and_a_band_from_lowest_to_highest():
  line = lines.together([series([1, 2, 6]), series([3, 2])])
  assert line.steps.tolist() == [0, 1, 2]
  assert line.middle.tolist() == [2, 2, 6]
  assert line.low.tolist() == [1, 2, 6]
  assert line.high.tolist() == [3, 2, 6]


def test_seeds_without_a_finite_number_do_not_count():
  line = lines.together([series([1, np.nan, np.inf]), series([3, 4, np.nan])])
  assert line.steps.tolist() == [0, 1]
  assert line.middle.tolist() == [2, 4]


def test_units_have_their_median_and_the_middle_80_percent():
  line = lines.units(series([[*range(11)], [np.nan] * 11]))
  assert line.steps.tolist() == [0]
  assert (line.low, line.middle, line.high) == ([1], [5], [9])


def test_a_short_line_stays_as_it_is():
  line = lines.single(series(range(lines.MOST)))
  assert lines.thinned(line) is line


def test_a_long_line_keeps_its_mean_its_ends_and_its_spikes():
  values = np.zeros(10_007)
  values[5000] = 50.0
  line = lines.thinned(lines.single(series(values)), 100)
  assert len(line.steps) == 100
  assert line.steps[-1] == 10_006
  assert line.high.max() == 50
  assert line.middle.max() == pytest.approx(0.5, rel=0.02)
  assert not line.low.any()


@pytest.mark.parametrize(
  ('value', 'told'),
  [(0.123456789, 0.12346), (np.nan, None), (-np.inf, None), (3, 3.0)],
)
def test_numbers_of_charts_are_short_and_finite(value, told):
  assert vega.number(value) == told


@pytest.mark.parametrize(
  ('value', 'told'),
  [(3000, '3,000'), (0.12345, '0.1235'), (2e10, '2e+10'), (None, 'not finite')],
)
def test_numbers_of_tables_are_short(value, told):
  assert vega.words(value) == told


def test_steps_that_are_dense_early_have_an_axis_of_logarithms():
  early = vega.steps([0, 1, 2, 5, 10, 100, 1000])
  assert early['scale']['type'] == 'symlog'
  assert 'type' not in vega.steps(range(0, 1000, 10))['scale']


@pytest.mark.parametrize(
  ('values', 'wide'),
  [([1e-5, 1], True), ([0, 1], False), ([0.1, 1], False), ([], False)],
)
def test_numbers_that_span_three_decades_are_wide(values, wide):
  assert vega.is_wide(values) is wide


@pytest.mark.parametrize(
  ('independent', 'kind'), [(True, None), (False, 'log')]
)
def test_panels_with_axes_of_their_own_are_wide_by_themselves(
  independent, kind
):
  rows = [
    *lines.rows('a', '', lines.single(series([1e-5, 2e-5]))),
    *lines.rows('b', '', lines.single(series([1, 2]))),
  ]
  made = lines.chart(rows, '', '', independent=independent)
  (layer,) = made.spec['spec']['layer']
  assert layer['encoding']['y']['scale'].get('type') == kind


# Layers.


@pytest.mark.parametrize(
  ('path', 'other', 'pair'),
  [
    ('hidden_1/mean', 'hidden_1/std', ('hidden_1', 'mean')),
    ('a/b/kernel', 'logits/kernel', ('a/b', 'kernel')),
    ('n/1/scale/mean', 'n/1/bias/mean', ('n/1', 'scale/mean')),
    ('x/kernel', 'x/kernel', ('x', 'kernel')),
  ],
)
def test_a_result_is_split_into_layer_and_quantity(path, other, pair):
  assert layers.split(list(dict.fromkeys([path, other])))[path] == pair


def panels(chart):
  return list(
    dict.fromkeys(row['panel'] for row in chart.spec['data']['values'])
  )


def test_scalars_of_the_network_stand_apart_from_layers():
  found = {
    'norm': series([1, 2]),
    'hidden_1/kernel': series([1, 2]),
    'hidden_2/kernel': series([1, 2]),
  }
  network, inner = layers.charts('gradient_norm', found)
  assert panels(network) == ['norm']
  assert panels(inner) == ['hidden_1', 'hidden_2']


def test_quantities_of_other_sizes_have_a_chart_each():
  found = {'a/mean': series([1, 2]), 'a/large': series([100, 200])}
  assert [panels(c) for c in layers.charts('x', found)] == [['a'], ['a']]
  found = {'a/mean': series([1, 2]), 'a/std': series([10, 20])}
  assert [panels(c) for c in layers.charts('x', found)] == [['a']]


def test_many_layers_are_thinned_and_the_caption_says_so():
  found = {f'layer_{k}/kernel': series([1, 2]) for k in range(50)}
  (chart,) = layers.charts('gradient_norm', found)
  assert panels(chart)[0] == 'layer_0'
  assert panels(chart)[-1] == 'layer_49'
  assert len(panels(chart)) == 24
  assert chart.caption.startswith('24 of 50 layers, evenly chosen.')


def test_units_are_a_band_and_few_numbers_are_lines():
  found = {'a/mean': series(np.ones((3, 40)) * np.arange(40))}
  (chart,) = layers.charts('activation_moments', found)
  assert 'the middle 80%' in chart.caption
  assert chart.spec['data']['values'][0]['b'] == pytest.approx(35.1)
  found = {'eigenvalues': series(np.ones((3, 4)))}
  (chart,) = layers.charts('hessian_spectrum', found)
  assert [row[0] for row in chart.rows] == ['1', '2', '3', '4']


def test_percentiles_are_those_of_the_typical_unit():
  values_TQC = np.zeros((4, 3, 3))
  values_TQC[2:] = [1, 2, 9]  # drifts; the middle one is of unit 1
  (chart,) = layers.charts('activation_percentiles', {'a': series(values_TQC)})
  assert panels(chart) == ['a, unit 1']
  assert chart.spec['data']['values'][-1]['y'] == 2


def test_nothing_finite_is_no_chart():
  assert [*layers.charts('x', {'a/b': series([np.nan, np.inf])})] == []


# Histograms.


def test_a_histogram_keeps_its_probability_in_fewer_bins():
  counts = np.random.RandomState(0).randint(0, 9, (2, 5, 100))
  edges = np.tile(np.linspace(-3, 5, 101), (2, 1))
  found = {'a/counts': series(counts), 'a/edges': series(edges)}
  (chart,) = densities.charts(found)
  for row in chart.spec['data']['values']:
    width = np.subtract(row['high'], row['low'])
    assert len(width) == 32
    assert width.sum() == pytest.approx(8)
    assert (width * row['d']).sum() == pytest.approx(1, rel=1e-4)


def test_the_table_of_a_histogram_has_its_percentiles():
  found = {
    'a/counts': series([[[1, 2, 1]]], [7]),
    'a/edges': series([[0.0, 1.0, 3.0, 4.0]], [7]),
  }
  (chart,) = densities.charts(found)
  assert chart.rows == [['a', '7', '0', '0.6', '2', '3.4', '4']]


def test_layers_without_values_have_no_histogram():
  found = {'a/counts': series([[[0, 0]]]), 'a/edges': series([[0.0, 1.0, 2.0]])}
  assert [*densities.charts(found)] == []


# All of them.


def test_vega_lite_takes_every_chart_of_a_run():
  convert = pytest.importorskip('vl_convert', reason='needs the extra `report`')
  found = metrics([*written_runs.trained(), *written_runs.probed()])
  made = [
    chart
    for probe, own in layers.probes(found).items()
    for chart in layers.charts(probe, own)
  ]
  assert len(made) >= 6
  for chart in made:
    with warnings.catch_warnings(action='error'):
      done = convert.vegalite_to_vega(chart.spec, vl_version='6.4')
    assert done['marks']
    assert all(len(row) == len(chart.columns) for row in chart.rows)


def test_a_lines_band_is_that_of_its_steps_alone():
  line = lines.single(series([1, 2], [0, 20]))
  band = lines.together([series([1, 9, 2]), series([0, 5, 4])])
  band = band._replace(steps=np.array([0, 10, 20]))
  found = run_page._within(line, band)
  assert found.steps.tolist() == [0, 20]
  assert found.high.tolist() == [1, 4]
