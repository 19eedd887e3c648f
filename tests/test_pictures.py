"""What notebooks draw, from runs whose numbers are known."""

import numpy as np
import pytest

from bnresearch.probes import hessian_spectrum
from bnresearch.reports import (
  answers,
  curves,
  histograms,
  landscape,
  percentiles,
  pictures,
  shift,
)
from bnresearch.reports import (
  recorded as reading,
)

HISTOGRAM = 'probe/activation_histogram/hidden_2'
DRIFT = 'probe/activation_percentiles'


@pytest.fixture
def counted(recorded):
  """A run with histograms of two units at steps 0, 100 and 200."""
  counts = [[[1, 3], [4, 0]], [[2, 2], [2, 2]], [[0, 4], [0, 4]]]
  edges = [[-1, 0, 1], [-2, 0, 2], [0, 2, 4]]
  return recorded(
    'run', **{f'{HISTOGRAM}/counts': counts, f'{HISTOGRAM}/edges': edges}
  )


def test_a_density_is_of_all_units_or_of_one_and_its_integral_is_one(counted):
  whole = histograms.of_layer(counted, 'hidden_2')
  np.testing.assert_allclose(
    whole.density_TB, [[5 / 8, 3 / 8], [1 / 4, 1 / 4], [0, 1 / 2]]
  )
  widths = np.diff(whole.edges_TB)
  np.testing.assert_allclose((whole.density_TB * widths).sum(1), 1)
  one = histograms.of_layer(counted, 'hidden_2', unit=0)
  np.testing.assert_allclose(one.density_TB[0], [1 / 4, 3 / 4])
  assert histograms.layers(counted) == ['hidden_2']
  assert histograms.units({'': counted}, ['hidden_2']) == 2


def test_the_record_next_to_a_step_is_next_in_logarithmic_time(counted):
  own = histograms.of_layer(counted, 'hidden_2')
  for asked, found in ((0, 0), (8, 0), (20, 100), (140, 100), (150, 200)):
    assert own.at(asked)[2] == found


def test_a_layer_without_histograms_is_answered_by_those_with(
  counted, recorded
):
  with pytest.raises(KeyError, match=r"layer = 'logits'.* Known: hidden_2\."):
    histograms.of_layer(counted, 'logits')
  bare = recorded('bare', loss=[1.0])
  with pytest.raises(KeyError, match='Known: none; the probe activation_hist'):
    histograms.of_layer(bare, 'hidden_2')


def test_a_column_of_the_picture_is_a_record_with_its_own_bins(counted):
  figure = histograms.over_time({'a run': counted}, ['hidden_2'])
  panel, *_ = figure.axes
  (mesh,) = panel.collections
  x, y = np.moveaxis(mesh.get_coordinates(), -1, 0)
  np.testing.assert_allclose(y[:, 0], [-1, 0, 1])
  np.testing.assert_allclose(y[:, 4], [0, 2, 4])
  np.testing.assert_allclose(x[0, [0, -1]], [pictures.SMALLEST, 200])
  shown = mesh.get_array()
  np.testing.assert_allclose(shown[:, 0], [5 / 8, 3 / 8])
  np.testing.assert_allclose(shown[:, 2], [1 / 4, 1 / 4])
  assert np.all(np.isnan(np.ma.filled(shown[:, 1], np.nan)))


def test_a_file_that_grows_is_read_again(recorded):
  run = recorded('run', loss=[3.0])
  assert len(reading.metrics(run)['loss'].values) == 1
  with (run.path / 'metrics.jsonl').open('a') as file:
    file.write((run.path / 'metrics.jsonl').read_text().replace('0', '100', 1))
  assert len(reading.metrics(run)['loss'].values) == 2
  assert reading.metrics(run) is reading.metrics(run)


@pytest.fixture
def moved(recorded):
  """A run with three definitions of the shift, at steps 0, 100 and 200."""
  drift = [[[0, 9]] * 3, [[1, 1]] * 3, [[2, 4]] * 3]
  return recorded(
    'moved',
    **{
      f'{DRIFT}/hidden_1': drift,
      'probe/gradient_shift/cosine': [9.0, 9.0, 9.0],
      'probe/gradient_shift/hidden_2/cosine': [1.0, 0.5, 0.0],
      'probe/gradient_shift/logits/cosine': [1.0, 1.0, 0.5],
      'probe/gradient_norm/norm': [9.0, 9.0, 9.0],
      'probe/gradient_norm/hidden_1/kernel': [0.1, 0.01, 0.001],
      'probe/gradient_norm/hidden_1/bias': [9.0, 9.0, 9.0],
      'probe/gradient_norm/logits/kernel': [1.0, 1.0, 1.0],
    },
  )


def test_the_shift_is_of_layers_by_each_definition_that_was_recorded(moved):
  found = shift.numbers(moved)
  assert [*found] == ['drift', 'cosine', 'norm']
  assert found['cosine'].layers == ['hidden_2', 'logits']
  assert found['norm'].layers == ['hidden_1', 'logits']
  np.testing.assert_allclose(found['drift'].at(200), [2.0])
  np.testing.assert_allclose(found['cosine'].at(100), [0.5, 1.0])
  assert np.isnan(found['cosine'].at(7)).all()


def test_the_table_has_medians_and_the_norm_of_the_lowest_layer(moved):
  table = shift.table({'a run': moved}, (0, 200, 300))
  cells = [list(column.cells) for column in table.columns]
  assert cells[0] == ['0', '200', '300']
  assert cells[2] == ['-', '2', '-'], 'drift'
  assert cells[5] == ['1.000', '0.250', '-'], 'cosine'
  assert cells[6] == ['0.1', '0.001', '-'], 'norm'
  assert cells[3] == cells[4] == ['-'] * 3, 'not recorded'


def test_the_picture_has_a_panel_for_each_definition_and_a_legend(moved):
  *panels, last = shift.draw({'a run': moved}).axes[:4]
  titles = [panel.get_title() for panel in panels]
  assert titles == [shift.TITLES[d] for d in ('drift', 'cosine', 'norm')]
  assert [panel.get_yscale() for panel in panels] == ['log', 'linear', 'log']
  assert [t.get_text() for t in last.get_legend().get_texts()] == ['a run']


def test_percentiles_follow_one_unit(moved):
  figure = percentiles.draw({'a run': moved}, ['hidden_1'], unit=1)
  (panel,) = figure.axes
  assert panel.get_title() == 'hidden_1, unit 1, a run'
  np.testing.assert_allclose(panel.lines[-1].get_ydata(), [9, 1, 4])
  np.testing.assert_allclose(panel.lines[-1].get_xdata(), [0.5, 100, 200])


def test_norms_have_their_colours_and_others_differ():
  names = ['none', 'batch', 'group', 'layer']
  found = [pictures.color(name, names) for name in names]
  assert found[:2] == ['#c0504d', '#2e75b6']
  assert len({*found}) == 4
  assert pictures.color('none') == found[0]


def test_step_0_is_at_the_left_of_logarithmic_time():
  figure = curves.draw({'': {'a': ([0, 10, 5000], [1, 2, 3])}}, steps='log')
  (panel,) = figure.axes
  np.testing.assert_allclose(panel.lines[0].get_xdata(), [0.5, 10, 5000])
  names = [tick.get_text() for tick in panel.get_xticklabels()]
  assert names == ['0', '1', '10', '100', '1k']


def test_right_answers_are_green_and_wrong_ones_red():
  logits = {'a': np.log([[0.9, 0.1], [0.75, 0.25]])}
  images = np.zeros((2, 4, 4, 1), np.uint8)
  figure = answers.draw(images, [0, 1], logits, ['cat', 'dog'])
  said = {
    text.get_text(): text.get_color()
    for panel in figure.axes
    for text in panel.texts
  }
  assert said == {'cat  90%': '#2e7d32', 'cat  75%': '#c62828', 'a': 'black'}


@pytest.fixture
def sliced(recorded):
  """A run with slices and a spectrum at steps 0 and 100."""
  plane = np.arange(9.0).reshape(3, 3).tolist()
  at = [-1.0, 0.0, 1.0]
  return recorded(
    'sliced',
    **{
      'probe/loss_slices/line': [[3, 2, 3], [1, 0, 1]],
      'probe/loss_slices/line_at': [at, at],
      'probe/loss_slices/plane': [plane, plane],
      'probe/loss_slices/plane_at': [at, at],
      'probe/hessian_spectrum/nodes': [[[0.0, 2.0]], [[-1.0, 3.0]]],
      'probe/hessian_spectrum/weights': [[[0.5, 0.5]], [[0.75, 0.25]]],
    },
  )


def test_a_panel_is_the_line_at_a_step(sliced):
  figure = landscape.lines({'a run': sliced}, (0, 100))
  assert [p.get_title() for p in figure.axes] == ['step 0', 'step 100']
  np.testing.assert_allclose(figure.axes[1].lines[0].get_ydata(), [1, 0, 1])


def test_the_first_direction_of_a_plane_is_horizontal(sliced):
  figure = landscape.planes({'a run': sliced}, (100,))
  (contours,) = figure.axes[0].collections
  lowest = contours.get_paths()[0].vertices
  step = 8 / (landscape._LEVELS - 1)
  np.testing.assert_allclose(lowest[:, 0].max(), step / 3 - 1, rtol=1e-6)
  np.testing.assert_allclose(lowest[:, 1].max(), step - 1, rtol=1e-6)


def test_a_spectrum_is_the_density_of_the_record(sliced):
  figure = landscape.spectra({'a run': sliced}, (0, 100))
  at, density = figure.axes[1].lines[0].get_data()
  np.testing.assert_allclose(np.trapezoid(density, at), 1, rtol=1e-3)
  nodes, weights = np.array([[-1.0, 3.0]]), np.array([[0.75, 0.25]])
  expected = hessian_spectrum.density(nodes, weights, at, 0.1)
  np.testing.assert_allclose(density, expected)


def test_a_step_without_a_record_is_answered_by_those_with(sliced):
  with pytest.raises(ValueError, match=r'step = 7: .* has records at 0, 100\.'):
    landscape.lines({'a run': sliced}, (7,))
