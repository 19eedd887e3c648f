"""A knob in words: `--explain` on the command line, and docs/knobs.md."""

import pathlib

import pytest

from bnresearch import knobs, lookup
from bnresearch.knobs import __main__ as command_line
from bnresearch.knobs import page
from bnresearch.main import main

ROOT = pathlib.Path(__file__).parents[1]
NORMS = 'batch, batch_renorm, evonorm_b0, iterative_whitening, noisy_batch'


@pytest.mark.parametrize(
  ('key', 'lines'),
  [
    (
      'norm.group_variance',
      [
        "norm.group_variance = 'within'  # of groups, at evaluation; or pooled",
        'It may be one of within, pooled.',
        f'It is an option of norms: {NORMS}, switchable.',
        'It needs norm.frozen_statistics = False, if the norm has it.',
        'It needs norm.group_size to be set.',
        "Otherwise it is refused, unless it is 'within'.",
      ],
    ),
    (
      'norm.use_scale',
      [
        'norm.use_scale = True  # learn gamma',
        'It may be True or False.',
        'It is an option of all norms but none.',
        'Otherwise it is refused, unless it is True.',
      ],
    ),
    (
      'train.batch_size',
      [
        "train.batch_size = 60  # examples of one update; the paper's",
        'It may be an int of at least 1, a multiple of norm.group_size and '
        'train.microbatches.',
        'It always has an effect.',
      ],
    ),
    (
      'parallel.backend',
      [
        "parallel.backend = 'jit'  # jit, shard_map or pmap",
        'It may be one of jit, shard_map, pmap.',
        'It needs a run on several devices.',
        "Otherwise it is refused, unless it is 'jit'.",
        "A run older than this knob opens with 'jit'.",
      ],
    ),
    (
      'eval.crop',
      [
        "eval.crop = 'centre'  # of images of any size: centre or whole",
        'It may be one of centre, whole.',
        'It needs images with sizes of their own (data sets: image_folder, '
        'imagenet2012, tfds).',
        "Otherwise it is refused, unless it is 'centre'.",
      ],
    ),
    (
      'optim.weight_decay',
      [
        'optim.weight_decay = 0.0  # adamw, lamb, lion: decoupled, on kernels',
        'It may be a float of at least 0.',
        'It is an option of optimizers: adamw, lamb, lion.',
        'Otherwise it is refused, unless it is 0.0.',
      ],
    ),
    (
      'optim.decay_rate',
      [
        'optim.decay_rate = 0.1  # exponential, step: factor per decay_steps',
        'It may be a float above 0 and at most 1.',
        "It needs optim.schedule = 'exponential' or 'step'.",
        'Otherwise it is refused, unless it is 0.1.',
      ],
    ),
    (
      'checkpoint',
      [
        'Which states of a run are kept, to continue from.',
        'checkpoint.every = 5000  # steps; also at the end and on SIGTERM',
        'checkpoint.keep = 2  # latest ones; the best is kept too',
      ],
    ),
  ],
)
def test_a_knob_or_a_group_is_explained_on_the_command_line(key, lines, capsys):
  assert main([f'--explain={key}']) == 0
  assert capsys.readouterr().out.splitlines() == lines


@pytest.mark.parametrize(
  ('key', 'message'),
  [
    (
      'norm.momentun',
      "Did you mean 'norm.momentum'? Known: norm.name, norm.",
    ),
    ('learning_rate', "Did you mean 'optim.learning_rate'? Known: optim.learn"),
    ('data.momentum', 'Known: norm.momentum, optim.momentum.'),
    ('nrom', "Did you mean 'norm'? Known: data, augment, model, norm, "),
    ('sede', "Did you mean 'seed'? Known: data, augment, "),
  ],
)
def test_a_knob_that_there_is_not_is_answered_by_the_nearest(
  key, message, capsys
):
  assert main([f'--explain={key}']) == 2
  said = capsys.readouterr()
  assert said.out == ''
  assert said.err.startswith(f'{key}: no such knob. ')
  assert message in said.err
  with pytest.raises(lookup.Unknown, match=f'^{key}: no such knob'):
    knobs.explain(key)


def test_what_is_explained_goes_alone(capsys):
  flags = '--config=configs/default.py', '--config.seed=3', '--list'
  assert main(['--explain=norm', '--mode=eval', *flags]) == 2
  said = capsys.readouterr().err
  for flag in ('config', 'config.seed', 'list', 'mode'):
    assert f'--{flag}: has no effect with --explain. Leave one of' in said
  assert '4 problems' in said


def test_every_knob_is_explained_in_sentences():
  for key, knob in knobs.KNOBS.items():
    first, *sentences = knobs.explain(key).splitlines()
    assert first == f'{key} = {knob.default!r}  # {knob.comment}'
    assert len(sentences) > 1
    for sentence in sentences:
      assert sentence.endswith('.')
      assert sentence.startswith(('It ', 'Otherwise ', 'A run '))


def test_the_page_is_what_the_command_writes(tmp_path, capsys):
  file = tmp_path / 'docs' / 'knobs.md'
  assert command_line.main([f'--output={file}']) == 0
  assert f'Wrote {file}.' in capsys.readouterr().out
  written = file.read_text(encoding='utf-8')
  kept = (ROOT / 'docs' / 'knobs.md').read_text(encoding='utf-8')
  assert written == kept, 'python -m bnresearch.knobs --output=docs/knobs.md'
  assert command_line.main([]) == 0
  assert capsys.readouterr().out == f'{written}\n'


def test_the_page_has_a_row_of_five_cells_for_every_knob():
  text = page.text()
  for group, about in knobs.GROUPS.items():
    assert about in text
    assert f'\n## {group}\n' in text or not group
  rows = [line for line in text.splitlines() if line.startswith('| `')]
  assert [row.split('`')[1] for row in rows] == [*knobs.KNOBS]
  for row in rows:
    assert row.replace(r'\|', '').count('|') == 6
