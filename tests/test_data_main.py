"""The command line of the data sets: listed, prepared, looked at."""

import ast

import pytest
from PIL import Image

from bnresearch import lookup
from bnresearch.data import __main__ as command
from tests import folders


def test_all_data_sets_are_listed_with_their_sizes(capsys):
  assert command.main([]) == 0
  printed = capsys.readouterr().out
  rows = {line.split()[1]: line for line in printed.splitlines() if '│' in line}
  assert set(rows) == set(lookup.names('data'))
  assert '1,442' in rows['digits']
  assert rows['digits'].split()[-2] == 'ready'
  assert '1,281,167' in rows['imagenet2012']


@pytest.fixture
def photographs(tmp_path):
  return folders.in_order(tmp_path / 'photographs')


def test_images_are_drawn_and_measured(photographs, tmp_path, capsys):
  file = tmp_path / 'sheet.png'
  status = command.main(
    [
      '--inspect=image_folder',
      f'--config.data.folder={photographs}',
      '--config.data.image_size=16',
      '--config.augment.crop=resized',
      '--config.augment.mixup=0.5',
      '--config.train.batch_size=8',
      f'--output={file}',
    ]
  )
  printed = capsys.readouterr().out
  assert status == 0, printed
  assert '10 training images, 6 for evaluation' in printed
  # The classes' means are 60 and 140 of 255, clipped noise of 30.
  (line,) = (x for x in printed.splitlines() if '--config.data.mean' in x)
  mean = ast.literal_eval(line.partition('=')[2].strip("'"))
  assert len(mean) == 3
  for value in mean:
    assert value == pytest.approx(100 / 255, abs=0.02)
  with Image.open(file) as drawn:
    colours = drawn.convert('RGB').getcolors(maxcolors=2**24)
  assert len(colours) > 500


@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    (['--inspect=digitz'], "No data set 'digitz'. Did you mean 'digits'?"),
    (['--inspect=image_folder'], 'data.folder is empty: set it'),
    (['--inspect=digits', '--config.augment.flap=1'], 'augment.flip'),
    (['--prepare=digits', '--from=.'], 'mnist, svhn can be'),
    (['--prepare=mnist', '--inspect=mnist'], 'needs one of them'),
    (['--inspect=digits', '--output=a.xyz'], '--output=a.xyz: needs to end'),
    (
      ['--inspect=digits', '--config.augment.cutout=50'],
      'cutout = 50: must be at most 8',
    ),
    (['--prepare=mnist'], '--prepare needs --from=FOLDER'),
    (['--prepare=mnist', '--from=nowhere'], 'nowhere lacks train-images'),
    (['--from=.'], '--from is for --prepare'),
    (['--prepair=mnist'], "Did you mean '--prepare'?"),
  ],
)
def test_wrong_use_is_said(arguments, message, capsys, tmp_path, monkeypatch):
  monkeypatch.setenv('TFDS_DATA_DIR', str(tmp_path))
  assert command.main(arguments) == 2
  assert message in capsys.readouterr().err
