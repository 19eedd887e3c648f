"""Predictions of image files, and the command line that prints them."""

import json
import pathlib
import shutil

import jax
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

import bnresearch as bnr
from bnresearch import config as configs
from bnresearch import main
from bnresearch.assembly import assemble
from bnresearch.images import decoding
from bnresearch.inference import predict
from bnresearch.runs import run_directory, session
from configs import default
from tests import folders

CLASSES = ('dark', 'light')


@pytest.fixture(scope='module')
def photographs(tmp_path_factory):
  folder = tmp_path_factory.mktemp('photographs')
  for split in ('train', 'val'):
    for k, name in enumerate(CLASSES):
      for i in range(20 if split == 'train' else 5):
        content = folders.photo(
          100 * k + i + 50 * (split == 'val'), 60 + 120 * k
        )
        folders.save(folder / split / name / f'{i:02d}.jpg', content)
  return folder


@pytest.fixture(scope='module')
def trained(photographs, tmp_path_factory):
  """Returns the directory of a run on photographs that are gone afterwards."""
  folder = tmp_path_factory.mktemp('gone') / 'photographs'
  shutil.copytree(photographs, folder)
  config = default.get_config()
  wrong = configs.override(
    config,
    {
      'data.name': 'image_folder',
      'data.folder': str(folder),
      'data.image_size': 10,
      'model.features': (8,),
      'norm.momentum': 0.9,
      'augment.crop': 'resized',
      'train.steps': 60,
      'train.log_every': 20,
      'train.batch_size': 20,
      'eval.every': 20,
      'eval.crop': 'whole',
      'checkpoint.every': 20,
    },
  )
  assert not wrong
  path = tmp_path_factory.mktemp('runs') / 'run'
  assert session.train(assemble(config.lock()), path) == 'done'
  shutil.rmtree(folder)
  return path


def test_a_run_says_what_it_was_trained_on(trained):
  assert json.loads((trained / 'class_names.json').read_text()) == [*CLASSES]
  about = json.loads((trained / 'data.json').read_text())
  assert about['image_shape'] == [10, 10, 3]
  assert about['examples'] == {'train': 40, 'test': 10}
  assert bnr.open_run(trained).spec.class_names == CLASSES
  status = json.loads((trained / 'status.json').read_text())
  assert 0 < status['seconds_without_data'] < status['seconds']


def test_other_classes_are_refused_when_a_run_continues(trained, tmp_path):
  path = tmp_path / 'run'
  shutil.copytree(trained, path)
  (path / 'class_names.json').write_text('["a", "b"]')
  with (
    run_directory.claim(path, bnr.open_run(path).config) as run,
    pytest.raises(
      run_directory.Refused, match=r'the classes a, b; now .* dark'
    ),
  ):
    run.record_data((10, 10, 3), CLASSES, {}, {})


def test_predictions_are_those_of_the_network(trained, photographs):
  run = bnr.open_run(trained)
  state = run.restore('best')
  files = predict.files([photographs / 'val'])
  assert len(files) == 10
  found = list(predict.predict(run, state, files))
  assert [p.file for p in found] == files
  crop = run.parts.images.crop()
  images = [crop(decoding.decode(pathlib.Path(f).read_bytes())) for f in files]
  logits, _ = run.apply(state, np.stack(images))
  probabilities = np.asarray(jax.nn.softmax(logits))
  np.testing.assert_allclose(
    [p.probabilities_K for p in found], probabilities, rtol=1e-5
  )
  right = [CLASSES[p.probabilities_K.argmax()] in p.file for p in found]
  assert np.mean(right) >= 0.9


def test_what_is_said_of_a_file_does_not_depend_on_the_others(
  trained, photographs
):
  run = bnr.open_run(trained)
  state = run.restore()
  files = predict.files([photographs])
  assert len(files) == 50
  together = {p.file: p for p in predict.predict(run, state, files)}
  for chosen in (files[:1], files[3:21], files[::-7]):
    for alone in predict.predict(run, state, chosen):
      np.testing.assert_array_equal(
        alone.probabilities_K, together[alone.file].probabilities_K
      )


def test_a_run_is_evaluated_where_its_photographs_are_now(
  trained, photographs, capsys
):
  status = main.main(
    [
      '--mode=eval',
      f'--workdir={trained}',
      f'--config.data.folder={photographs}',
    ]
  )
  assert status == 0
  assert capsys.readouterr().out.count('10 ') >= 4  # of 10 examples


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    (lambda f: (f / 'val/dark').rename(f / 'val/grey'), 'other images|classes'),
    (lambda f: (f / 'val/dark/00.jpg').unlink(), 'trained on other images'),
  ],
)
def test_photographs_that_have_changed_are_refused(
  trained, photographs, tmp_path, change, message
):
  folder = tmp_path / 'photographs'
  shutil.copytree(photographs, folder)
  if 'classes' in message:
    (folder / 'train/dark').rename(folder / 'train/grey')
  change(folder)
  run = bnr.open_run(trained, folder=str(folder))
  with pytest.raises(run_directory.Refused, match=message):
    run.source('test')


@pytest.mark.parametrize('count', [10, 144])
def test_probabilities_of_several_crops_are_averaged(
  trained, photographs, count
):
  run = bnr.open_run(trained)
  state = run.restore()
  files = predict.files([photographs / 'val'])[4:6]
  found = list(predict.predict(run, state, files, count))
  assert len(found) == 2
  crop = run.parts.images.crop(count)
  for prediction in found:
    made = crop(decoding.decode(pathlib.Path(prediction.file).read_bytes()))
    assert made.shape == (count, 10, 10, 3)
    logits, _ = run.apply(state, made)
    np.testing.assert_allclose(
      prediction.probabilities_K,
      np.asarray(jax.nn.softmax(logits)).mean(0),
      rtol=1e-5,
    )


def test_a_table_has_a_row_for_each_file(trained, photographs, capsys):
  file = photographs / 'val' / 'light' / '00.jpg'
  status = main.main(
    ['--mode=predict', str(file), f'--workdir={trained}', str(file.parent)]
  )
  assert status == 0
  printed = capsys.readouterr().out
  assert printed.count('00.jpg') == 2
  assert printed.count('light') >= 6


def test_json_holds_every_class_and_what_could_not_be_read(
  trained, photographs, tmp_path, capsys
):
  folders.save(tmp_path / 'in' / 'a.jpg', folders.photo(1, 200))
  folders.save(tmp_path / 'in' / 'b.jpg', b'')
  folders.save(tmp_path / 'in' / '.hidden.jpg', b'')
  status = main.main(
    ['--mode=predict', '--json', f'--workdir={trained}', str(tmp_path / 'in')]
  )
  captured = capsys.readouterr()
  first, second = json.loads(captured.out)
  assert status == 1
  assert first['class'] == 'light'
  assert first['probability'] == max(first['probabilities'].values())
  assert sum(first['probabilities'].values()) == pytest.approx(1, abs=1e-5)
  assert set(first['probabilities']) == {*CLASSES}
  assert second == {'file': str(tmp_path / 'in/b.jpg'), 'problem': 'empty file'}
  assert captured.err.strip().endswith('b.jpg: empty file')


def drawing(monkeypatch):
  """Returns a list that gets every figure that is saved."""
  drawn, save = [], Figure.savefig
  monkeypatch.setattr(
    Figure, 'savefig', lambda f, *a, **k: drawn.append(f) or save(f, *a, **k)
  )
  return drawn


def test_a_picture_shows_each_photograph_with_its_classes(
  trained, photographs, tmp_path, monkeypatch, capsys
):
  drawn = drawing(monkeypatch)
  files = predict.files([photographs / 'val'])[3:7]
  folders.save(tmp_path / 'in' / 'bad.jpg', b'')
  picture = tmp_path / 'new' / 'p.png'
  command = ['--mode=predict', '--json', f'--workdir={trained}']
  inside = [files[0], str(tmp_path / 'in'), *files[1:]]
  assert main.main([*command, f'--figure={picture}', *inside]) == 1
  captured = capsys.readouterr()
  assert 'p.png: 4 of 5 photographs.' in captured.err
  expected = [p for p in json.loads(captured.out) if 'class' in p]
  with Image.open(picture) as image:
    assert image.format == 'PNG'
  (figure,) = drawn
  panels = [a for a in figure.axes if a.images or a.patches]
  assert len(panels) == 2 * len(expected)
  for photograph, bars, p in zip(panels[::2], panels[1::2], expected):
    assert photograph.get_title() == pathlib.Path(p['file']).name
    shown = photograph.images[0].get_array()
    content = pathlib.Path(p['file']).read_bytes()
    np.testing.assert_array_equal(shown, decoding.decode(content))
    best = sorted(p['probabilities'].items(), key=lambda item: -item[1])
    assert [bar.get_width() for bar in bars.patches] == [
      pytest.approx(value) for _, value in best
    ]
    assert [t.get_text() for t in bars.texts] == [
      f'{name} {value:.1%}' for name, value in best
    ]


def test_a_picture_has_no_more_photographs_than_can_be_seen(
  trained, photographs, tmp_path, monkeypatch, capsys
):
  drawn = drawing(monkeypatch)
  picture = tmp_path / 'p.pdf'
  command = ['--mode=predict', f'--workdir={trained}', f'--figure={picture}']
  assert main.main([*command, str(photographs)]) == 0
  assert 'p.pdf: 24 of 50 photographs.' in capsys.readouterr().err
  assert sum(bool(panel.images) for panel in drawn[0].axes) == 24


def test_without_a_photograph_there_is_no_picture(trained, tmp_path, capsys):
  folders.save(tmp_path / 'bad.jpg', b'')
  picture = tmp_path / 'p.png'
  command = ['--mode=predict', f'--workdir={trained}', f'--figure={picture}']
  assert main.main([*command, str(tmp_path / 'bad.jpg')]) == 1
  assert 'p.png: no photograph to draw' in capsys.readouterr().err
  assert not picture.exists()


@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    ([], 'needs images, or folders of images'),
    (['nowhere.jpg', 'never.png'], 'There is no nowhere.jpg, no never.png.'),
    (['--config=configs/default.py', 'a.jpg'], 'takes no --config'),
    (['--config.data.workers=-1', 'a.jpg'], 'data.workers = -1: needs an int'),
    (['gs://bucket/a.jpg'], 'gs://bucket/a.jpg: is no path on this machine'),
  ],
)
def test_what_cannot_be_predicted_is_said(trained, arguments, message, capsys):
  status = main.main(['--mode=predict', f'--workdir={trained}', *arguments])
  assert status == 2
  assert message in capsys.readouterr().err


def test_a_run_on_digits_takes_files_of_any_size_in_grey(tmp_path, capsys):
  config = configs.tiny(default.get_config())
  assert session.train(assemble(config), tmp_path / 'run') == 'done'
  folders.save(tmp_path / 'photo.png', folders.photo(kind='PNG'))
  run = bnr.open_run(tmp_path / 'run')
  (found,) = predict.predict(
    run, run.restore(), predict.files([tmp_path / 'photo.png'])
  )
  assert found.probabilities_K.shape == (10,)
  status = main.main(
    [
      '--mode=predict',
      '--crops=10',
      f'--workdir={tmp_path}/run',
      str(tmp_path / 'photo.png'),
    ]
  )
  assert status == 2
  assert "these are 'none' and False. Use 1." in capsys.readouterr().err
