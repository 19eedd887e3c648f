"""Several runs as one, several crops as one: exact, and to the bit."""

import itertools
import types

import cv2
import jax
import numpy as np
import pyarrow.csv
import pyarrow.parquet
import pytest

import bnresearch as bnr
from bnresearch import config as configs
from bnresearch import main
from bnresearch.assembly import assemble
from bnresearch.data import Arrays
from bnresearch.evaluation.scores import Scores
from bnresearch.inference import ensemble, predict
from bnresearch.reports import reliability, side_by_side
from bnresearch.runs import session
from bnresearch.runs.run_directory import Refused
from bnresearch.training import parallel
from configs import default
from tests import folders


def train(path, **values):
  config = default.get_config()
  dotted = {key.replace('__', '.'): value for key, value in values.items()}
  short = {
    'model.features': (8,),
    'norm.momentum': 0.9,
    'train.steps': 20,
    'train.log_every': 20,
    'eval.every': 20,
    'checkpoint.every': 20,
  }
  assert not configs.override(config, short | dotted)
  assert session.train(assemble(config.lock()), path) == 'done'
  return path


@pytest.fixture(scope='module')
def digits(tmp_path_factory):
  """Three runs on 355 test images, in batches of 100, 355 and 100.

  The first and the last get the same images.
  """
  folder = tmp_path_factory.mktemp('digits')
  options = {
    'eval__batch_size': 100,
    'augment__crop': 'padded',
    'augment__padding': 1,
    'augment__flip': True,
  }
  return [
    train(folder / 'a', **options),
    train(folder / 'b', seed=1, model__features=(6, 5)),
    train(folder / 'c', seed=2, **options),
  ]


@pytest.fixture(scope='module')
def photographs(tmp_path_factory):
  """Three runs on 6 photographs, of other sizes or crops each."""
  root = tmp_path_factory.mktemp('photographs')
  folder = folders.in_order(root / 'data')
  options = {
    'data__name': 'image_folder',
    'data__folder': str(folder),
    'train__batch_size': 5,
    'eval__batch_size': 4,
  }
  return [
    train(root / 'a', data__image_size=10, eval__crop='whole', **options),
    train(root / 'b', data__image_size=12, eval__crop='whole', **options),
    train(root / 'c', data__image_size=12, **options),
  ]


def opened(paths):
  return [(run, run.restore()) for run in map(bnr.open_run, paths)]


def evaluated(networks, crop_count=1):
  """Returns what was found, the probabilities (N, K) and the labels (N,)."""
  kept = []
  found = bnr.evaluate_together(
    networks, crop_count, keep=lambda *chunk: kept.append(chunk)
  )
  return found, *(np.concatenate(parts) for parts in zip(*kept))


def network_says(run, state, images_NHWC, batch_size):
  """Returns probabilities, batch by batch, the last one padded."""
  found = []
  for start in range(0, len(images_NHWC), batch_size):
    batch = images_NHWC[start : start + batch_size]
    padded = np.zeros((batch_size, *batch.shape[1:]), np.uint8)
    padded[: len(batch)] = batch
    softmax = jax.nn.softmax(run.apply(state, padded)[0])
    found.append(np.asarray(softmax)[: len(batch)])
  return np.concatenate(found)


def assert_same(a, b):
  jax.tree.map(np.testing.assert_array_equal, a, b)


def test_an_ensemble_of_one_is_this_network(digits):
  for (run, state), batch_size in zip(opened(digits), (100, 355, 100)):
    found, p_NK, labels_N = evaluated([(run, state)])
    source = run.source('test')
    expected = network_says(run, state, source.images_NHWC, batch_size)
    np.testing.assert_array_equal(p_NK, expected)
    np.testing.assert_array_equal(labels_N, source.labels_N)
    assert_same(found.ensemble, found.members[0])
    plain = run.evaluate(state)
    assert found.ensemble.examples == plain['examples'] == 355
    assert found.ensemble.top1 == plain['accuracy']
    assert found.ensemble.loss == pytest.approx(plain['loss'], rel=1e-5)


def test_devices_share_the_images_and_change_nothing(digits, monkeypatch):
  networks = opened(digits[:2])
  _, expected_NK, _ = evaluated(networks)
  monkeypatch.setattr(parallel.models, 'convolves', lambda model: True)
  placed, split = [], parallel.split
  monkeypatch.setattr(
    parallel, 'split', lambda batch: placed.append(split(batch)) or placed[-1]
  )
  run, state = networks[0]
  run.config.train.microbatches = 3
  _, p_NK, _ = evaluated(networks)
  np.testing.assert_allclose(p_NK, expected_NK, rtol=1e-5)
  shares = {(len(x), x.sharding.shard_shape(x.shape)[0]) for x in placed}
  assert shares == {(40, 5), (360, 45)}  # of 34 and 355, padded
  assert run.evaluate(state)['examples'] == 355
  assert (
    placed[-1][0].sharding.shard_shape(placed[-1][0].shape)[0] == 15
  )  # 120 of 100


def test_an_ensemble_is_the_mean_and_knows_no_order(digits):
  networks = opened(digits)
  alone = [evaluated([network]) for network in networks]
  found, p_NK, _ = evaluated(networks)
  expected = np.mean([p for _, p, _ in alone], axis=0, dtype=np.float64)
  np.testing.assert_allclose(p_NK, expected, rtol=1e-6)
  for order in itertools.permutations(range(3)):
    again, again_NK, _ = evaluated([networks[m] for m in order])
    np.testing.assert_array_equal(again_NK, p_NK)
    assert_same(again.ensemble, found.ensemble)
    for m, member in zip(order, again.members):
      assert_same(member, alone[m][0].ensemble)


def test_a_mean_in_which_the_order_of_adding_matters():
  """Of 1, half a unit in the last place of float32, and two tiny ones."""
  members_M = np.asarray([1, 2**-24, 2**-53, 2**-53], np.float32)
  means = {
    ensemble._mean(np.reshape(order, (4, 1, 1))).item()
    for order in itertools.permutations(members_M)
  }
  assert means == {0.25 + 2**-25}


def test_chunks_change_nothing(digits, monkeypatch):
  networks = opened(digits)
  whole, whole_NK, _ = evaluated(networks)
  monkeypatch.setattr(ensemble, '_CHUNK', 7)
  found, p_NK, _ = evaluated(networks)
  np.testing.assert_array_equal(p_NK, whole_NK)
  assert found.ensemble.top1 == whole.ensemble.top1
  assert found.ensemble.examples == 355


def test_networks_of_other_image_sizes_and_crops_go_together(photographs):
  """Of images that are read from files; 6 of them, in batches of 4."""
  networks = opened(photographs)
  found, p_NK, _ = evaluated(networks)
  assert found.ensemble.examples == 6
  assert found.ensemble.top5 is None
  alone = []
  for run, state in networks:
    crop, source = run.parts.images.crop(), run.source('test')
    images = np.stack([crop(source[n][0]) for n in range(6)])
    alone.append(network_says(run, state, images, 4))
  np.testing.assert_allclose(p_NK, np.mean(alone, axis=0), rtol=1e-6)
  np.testing.assert_array_equal(evaluated(networks[:1])[1], alone[0])
  np.testing.assert_array_equal(evaluated(networks[::-1])[1], p_NK)


def test_one_of_several_crops_is_a_single_crop(photographs):
  ((run, state),) = opened(photographs[:1])
  crop, source = run.parts.images.crop(), run.source('test')
  made = predict.of_networks(
    [(run, state)], source, lambda image: crop(image)[None], 1, 4
  )
  several_NK = np.stack([p_MK[0] for p_MK, _ in made])
  np.testing.assert_array_equal(several_NK, evaluated([(run, state)])[1])


@pytest.mark.parametrize('count', [10, 144])
def test_the_probabilities_of_crops_of_photographs_are_averaged(
  photographs, count
):
  networks = opened(photographs[1:])
  _, p_NK, _ = evaluated(networks, count)
  for n in range(6):
    of_runs = []
    for run, state in networks:
      made = run.parts.images.crop(count)(run.source('test')[n][0])
      logits, _ = run.apply(state, made)
      of_runs.append(np.asarray(jax.nn.softmax(logits)).mean(0))
    np.testing.assert_allclose(p_NK[n], np.mean(of_runs, 0), rtol=1e-5)


def test_ten_crops_of_small_images_are_averaged(digits):
  ((run, state),) = opened(digits[2:])
  found, p_NK, _ = evaluated([(run, state)], 10)
  assert found.ensemble.examples == 355
  images_NHWC = run.source('test').images_NHWC
  padded = np.pad(images_NHWC, [(0, 0), (1, 1), (1, 1), (0, 0)])
  corners = [(0, 0), (0, 2), (2, 0), (2, 2), (1, 1)]
  crops = [padded[:, i : i + 8, j : j + 8] for i, j in corners]
  crops += [crop[:, :, ::-1] for crop in crops]
  of_crops = [
    np.asarray(jax.nn.softmax(run.apply(state, crop)[0])) for crop in crops
  ]
  np.testing.assert_allclose(p_NK, np.mean(of_crops, axis=0), rtol=1e-5)


# What does not go together.


def stub(path, labels=(0, 1, 2), names=('x', 'y', 'z'), digest=''):
  """Returns a network whose source has these labels."""
  labels_N = np.asarray(labels, np.int32)
  images = np.zeros((len(labels), 2, 2, 1), np.uint8)
  source = Arrays(images, labels_N, names, {'digest': digest})
  return types.SimpleNamespace(path=path, source=lambda split: source), None


@pytest.mark.parametrize(
  ('other', 'message'),
  [
    ({'names': ('x', 'z', 'y')}, "B: its class 1 is 'z', not 'y' as A"),
    ({'names': ('x', 'y', 'z', 'w')}, 'B: it has 4 classes, not 3 as A'),
    ({'labels': (0, 1)}, 'B: it has 2 examples, not 3 as A'),
    ({'digest': 'f'}, 'B: its images are not the same files as A'),
  ],
)
def test_runs_on_other_examples_are_refused(other, message):
  with pytest.raises(Refused, match=message):
    bnr.evaluate_together([stub('A'), stub('A'), stub('B', **other)])


def test_other_labels_are_refused_as_they_come(digits, tmp_path):
  path = train(
    tmp_path / 'other',
    data__name='synthetic',
    data__examples=355,
    eval__batch_size=100,
  )
  with pytest.raises(Refused, match=r'other: its example 0 has label 0, that'):
    bnr.evaluate_together(opened([*digits[:2], path]))


def test_a_network_that_has_diverged_is_refused(digits):
  sound, (run, state) = opened(digits[:2])
  lost = jax.tree.map(lambda x: x * np.nan, state.params)
  with pytest.raises(Refused, match=r'b: at step 20, its probabilities are no'):
    bnr.evaluate_together([sound, (run, state.replace(params=lost))])


def test_no_network_is_refused():
  with pytest.raises(ValueError, match='needs at least one'):
    bnr.evaluate_together([])


@pytest.mark.parametrize(
  ('flags', 'message'),
  [
    (['--mode=train'], '--workdir is given 2 times: --mode=train takes one.'),
    (['--mode=predict', 'x.png'], '2 times: --mode=predict takes one.'),
    (['--mode=eval', '--workdir={0}/../a'], 'is given twice. Each run counts'),
    (['--mode=eval', '--save_statistics'], '--save_statistics: only for one'),
    (
      ['--mode=eval', '--predictions=a.txt'],
      '--predictions=a.txt: needs a name that ends in .csv or .parquet.',
    ),
    (['--mode=eval', '--figure=a.gif'], '.gif: needs a name that ends in .pdf'),
    (
      ['--figure=a.png'],
      '--figure: only for --mode=eval and --mode=predict.',
    ),
    (['--mode=eval', '--crops=10'], 'b: 10 crops: those of images of 8 pixels'),
    (['--mode=eval', '--crops=144'], 'a: 144 crops: are cut from large images'),
    (['--mode=eval', '--step=7'], 'holds no checkpoint of step 7'),
  ],
)
def test_flags_of_several_runs_that_make_no_sense_are_refused(
  digits, flags, message, capsys
):
  paths = [f'--workdir={path}' for path in digits[:2]]
  assert main.main([*paths, *(f.format(digits[0]) for f in flags)]) == 2
  assert message in capsys.readouterr().err


@pytest.mark.parametrize('flag', ['--crops=1', '--figure=f.png'])
def test_statistics_are_saved_for_one_run_by_itself_only(digits, flag, capsys):
  arguments = ['--mode=eval', f'--workdir={digits[0]}', '--save_statistics']
  assert main.main([*arguments, flag]) == 2
  assert '--save_statistics: only for one run' in capsys.readouterr().err


# The command line.


def test_the_command_line_shows_each_run_and_all_as_one(
  digits, tmp_path, monkeypatch, capsys
):
  files = [tmp_path / 'new' / name for name in ('p.parquet', 'f.png')]
  monkeypatch.chdir(digits[0].parent)
  monkeypatch.setattr(ensemble, '_CHUNK', 100)
  arguments = ['--mode=eval', *(f'--workdir={path.name}' for path in digits)]
  outputs = [f'--predictions={files[0]}', f'--figure={files[1]}']
  assert main.main([*arguments, *outputs]) == 0
  shown = capsys.readouterr().out
  found, p_NK, labels_N = evaluated(opened(digits))
  rows = iter(shown.splitlines())
  for name, one in zip(
    ('a', 'b', 'c', 'ensemble of 3'), (*found.members, found.ensemble)
  ):
    row = next(r for r in rows if r.startswith(f'│ {name} '))
    step = () if one is found.ensemble else ('20',)
    fractions = one.top1, one.top5, one.reliability.error
    assert row.replace('│', '').split() == [
      *(*name.split(), *step, '1', '355', f'{one.loss:.6f}'),
      *(f'{fraction:.4%}' for fraction in fractions),
    ]
  for accuracy in found.ensemble.accuracy_K:
    assert f'{accuracy:.4%}' in shown
  assert cv2.imread(str(files[1])).shape[0] > 300
  assert sorted(f.name for f in files[0].parent.iterdir()) == [
    'f.png',
    'p.parquet',
  ]

  table = pyarrow.parquet.read_table(files[0]).to_pydict()
  assert table['example'] == list(range(355))
  assert table['label'] == [str(k) for k in labels_N]
  assert table['prediction'] == [str(k) for k in p_NK.argmax(1)]
  written_NK = np.stack([table[f'p_{k}'] for k in range(10)], axis=1)
  np.testing.assert_array_equal(written_NK, p_NK)
  np.testing.assert_array_equal(table['confidence'], p_NK.max(1))


def test_one_crop_is_no_crops(digits, tmp_path):
  run = f'--workdir={digits[0]}'
  tables = []
  for name, flags in (('a.csv', []), ('b.csv', ['--crops=1'])):
    file = tmp_path / name
    assert main.main(['--mode=eval', run, f'--predictions={file}', *flags]) == 0
    tables.append(file.read_bytes())
  assert tables[0] == tables[1]
  _, p_NK, _ = evaluated(opened(digits[:1]))
  read = pyarrow.csv.read_csv(tmp_path / 'a.csv').to_pydict()
  written_NK = np.stack([read[f'p_{k}'] for k in range(10)], axis=1)
  np.testing.assert_array_equal(written_NK.astype(np.float32), p_NK)


def test_a_file_that_is_not_whole_is_not_there(digits, tmp_path, monkeypatch):
  def fail(networks, members_MNK):
    raise Refused('diverged')

  monkeypatch.setattr(ensemble, '_check_finite', fail)
  flags = [f'--workdir={digits[0]}', f'--predictions={tmp_path}/p.parquet']
  assert main.main(['--mode=eval', *flags]) == 2
  assert not list(tmp_path.iterdir())


def test_one_run_without_new_flags_is_shown_under_all_statistics(
  digits, capsys
):
  assert main.main(['--mode=eval', f'--workdir={digits[0]}']) == 0
  shown = capsys.readouterr().out
  assert 'population' in shown
  assert 'ECE' not in shown


def test_a_file_is_predicted_by_ten_crops_of_a_small_image(
  digits, tmp_path, capsys
):
  folders.save(tmp_path / 'photo.png', folders.photo(kind='PNG'))
  flags = ['--mode=predict', '--crops=10', f'--workdir={digits[2]}']
  assert main.main([*flags, str(tmp_path / 'photo.png')]) == 0
  assert 'photo.png' in capsys.readouterr().out


def summary_of(K):
  """Returns one of 2 K examples, of which class K-1 is always wrong."""
  scores, labels_N = Scores(K), np.arange(2 * K) % K
  p_NK = 0.5 * np.eye(K)[np.where(labels_N == K - 1, 0, labels_N)] + 0.5 / K
  scores.add(p_NK, labels_N)
  return scores.result()


@pytest.mark.parametrize(('K', 'rows'), [(100, 100), (101, 10)])
def test_of_many_classes_the_worst_are_shown(K, rows):
  names = [f'name {k}' for k in range(K)]
  table = side_by_side._classes(names, summary_of(K), 'run')
  assert table.row_count == rows
  first = next(table.columns[0].cells)
  assert str(first) == ('name 0' if K == 100 else 'name 100')


def test_the_reliability_diagram_shows_accuracy_and_share(
  tmp_path, monkeypatch
):
  drawn = []
  monkeypatch.setattr(
    'matplotlib.figure.Figure.savefig', lambda f, *_, **__: drawn.append(f)
  )
  summary = summary_of(10)  # of confidence 0.55, and 90% right
  reliability.draw(summary, 'all runs', tmp_path / 'f.png')
  ((above, below),) = [figure.axes for figure in drawn]
  assert above.get_title() == 'all runs\nexpected calibration error 35.00%'
  for panel, height in ((above, 0.9), (below, 1.0)):
    heights = {bar.get_x(): bar.get_height() for bar in panel.patches}
    assert heights.pop(8 / 15) == pytest.approx(height)
    assert not any(heights.values())
