"""The documentation: its code runs from its own text, and its links lead on."""

import inspect
import os
import pathlib
import re
import shutil
import subprocess
import sys
from typing import NamedTuple

import flax.linen as nn
import jax
import keras
import numpy as np
import pytest

import bnresearch as bnr
from bnresearch import lookup
from bnresearch.flags.table import FLAGS
from bnresearch.knobs import KNOBS

ROOT = pathlib.Path(__file__).parents[1]
DOCS = ROOT / 'docs'
PAGES = {
  file.relative_to(DOCS).as_posix(): file for file in sorted(DOCS.rglob('*.md'))
}
GENERATED = 'knobs.md'
# Pages that MkDocs takes from where results are measured.
RESULTS = [ROOT / name / 'README.md' for name in ('experiments', 'benchmarks')]
# Whose Python reads what its commands have made.
WITH_COMMANDS_ALWAYS = ['tutorial.md', 'howto/probes.md']
DAILY = ['layer.md', 'migration.md', 'howto/own-norm.md']


class Block(NamedTuple):
  """Code of a page.

  Attributes:
    language: such as 'python'.
    title: the name of its file, '' for none.
    code: its text.
    runs: whether it runs; a comment before it says why not.
  """

  language: str
  title: str
  code: str
  runs: bool


def blocks(page):
  """Returns the blocks of code of a page, or of a file, in order."""
  fence = r'```(\w*)(?: title="([^"\n]+)")?\n(.*?)^```$'
  found = re.findall(
    rf'^(<!-- not run: [^\n]+ -->\n)?{fence}',
    PAGES.get(page, page).read_text(),
    re.M | re.S,
  )
  return [Block(lang, title, code, not no) for no, lang, title, code in found]


def prose(text):
  """Returns a page without its blocks of code."""
  return re.sub(r'^```.*?^```$', '', text, flags=re.M | re.S)


def run(page, folder, *, commands=False, root=ROOT):
  """Runs a page's code in a folder, in order; its commands too, if wanted."""
  names = {'__name__': 'documentation'}
  for block in blocks(page):
    if not block.runs:
      continue
    if block.title:
      (folder / block.title).parent.mkdir(parents=True, exist_ok=True)
      (folder / block.title).write_text(block.code)
    elif block.language == 'python':
      exec(compile(block.code, page, 'exec'), names)
    elif block.language == 'bash' and commands:
      shell(block.code, folder, root)


def shell(code, folder, root):
  """Runs commands; `python` is this one, of the checkout `root`."""
  path = f'{pathlib.Path(sys.executable).parent}:{os.environ["PATH"]}'
  done = subprocess.run(
    ['bash', '-euo', 'pipefail', '-c', code],
    cwd=folder,
    env=os.environ | {'PATH': path, 'PYTHONPATH': str(root)},
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, f'{code}\n{done.stdout}\n{done.stderr}'


def pages_with(language):
  """Returns the pages with blocks of a language that run."""
  return [
    page
    for page in PAGES
    if any(b.language == language and b.runs for b in blocks(page))
  ]


def anchors(file):
  """Returns the anchors of a page's headings, as GitHub makes them."""
  heads = re.findall(r'^#+ +(.+)$', prose(file.read_text()), re.M)
  words = [re.sub(r'[^\w\- ]', '', head.lower()) for head in heads]
  return {word.strip().replace(' ', '-') for word in words}


@pytest.mark.parametrize(
  'page',
  [
    pytest.param(page, marks=[] if page in DAILY else pytest.mark.study)
    for page in pages_with('python')
    if page not in WITH_COMMANDS_ALWAYS
  ],
)
def test_the_python_of_a_page_runs_as_it_stands_there(
  page, tmp_path, monkeypatch
):
  monkeypatch.chdir(tmp_path)
  run(page, tmp_path)


@pytest.mark.study
@pytest.mark.parametrize('page', pages_with('bash'))
def test_a_page_runs_from_its_first_line_to_its_last(
  page, tmp_path, monkeypatch
):
  """Commands too; in a copy, so that a page may add files to the library."""
  monkeypatch.chdir(tmp_path)
  for folder in ('bnresearch', 'configs', 'experiments'):
    ignored = shutil.ignore_patterns('__pycache__', '*.svg', '*.png')
    shutil.copytree(ROOT / folder, tmp_path / folder, ignore=ignored)
  run(page, tmp_path, commands=True, root=tmp_path)


def test_the_norm_of_the_page_normalizes():
  (block,) = [b for b in blocks('howto/own-norm.md') if b.title]
  names = {'__name__': 'positional'}
  exec(compile(block.code, block.title, 'exec'), names)
  x = 3 + jax.random.normal(jax.random.key(0), (4, 2, 2, 8))
  y, _ = names['Norm']().init_with_output(jax.random.key(1), x, train=True)
  np.testing.assert_allclose(y.mean(-1), 0, atol=1e-5)
  np.testing.assert_allclose(y.std(-1), 1, rtol=1e-3)


def test_the_code_of_the_readme_runs(tmp_path, monkeypatch):
  """Its layer, the run that it opens, and its norm."""
  layer, opened, norm = (
    block.code
    for block in blocks(ROOT / 'README.md')
    if block.language == 'python'
  )
  x = 3 + jax.random.normal(jax.random.key(0), (8, 4, 4, 3))
  names = {}
  exec(layer, names)
  y, _ = names['Block']().init_with_output(jax.random.key(1), x, train=True)
  assert y.shape == (8, 4, 4, 64)

  config = bnr.load_config(f'{ROOT}/configs/figure1.py:init=tight,steps=20')
  for key in ('train.log_every', 'eval.every', 'checkpoint.every'):
    config.update_from_flattened_dict({key: 20})
  config.probes.names = ()
  monkeypatch.chdir(tmp_path)
  run = bnr.sweep(config, 'runs/figure1', processes=1, quiet=True).popitem()[1]
  names['images'] = run.source('test').images_NHWC[:5]
  exec(opened, names)
  assert names['logits'].shape == (5, 10)

  exec(norm, names)
  module = names['Norm']()
  variables = module.init(jax.random.key(1), x, train=True)
  y, new = module.apply(variables, x, train=True, mutable=['batch_stats'])
  np.testing.assert_allclose(y.mean((0, 1, 2)), 0, atol=1e-5)
  mean_C = 0.01 * np.asarray(x).mean((0, 1, 2))
  np.testing.assert_allclose(new['batch_stats']['mean'], mean_C, rtol=1e-5)


def test_the_pages_have_the_examples_that_are_promised():
  """Ten lines each: to use the layer, to estimate, to fold."""
  for word in ('norms.batch.Norm(', 'population_statistics(', 'bnr.fold('):
    chosen = [b for b in blocks('layer.md') if word in b.code and b.runs]
    lines = [[s for s in b.code.splitlines() if s] for b in chosen]
    assert min(map(len, lines), default=99) <= 10, word


def test_every_link_leads_to_a_file_and_a_heading():
  wrong = []
  for file in (*PAGES.values(), *RESULTS):
    text = prose(file.read_text())
    for target, anchor in re.findall(
      r'\]\(([^():#\s]*)(?:#([^)\s]+))?\)', text
    ):
      there = (file.parent / target).resolve() if target else file
      if not there.exists():
        wrong.append(f'{file.relative_to(ROOT)}: {target}: is not there')
      elif anchor and anchor not in anchors(there):
        wrong.append(f'{file.relative_to(ROOT)}: {target}#{anchor}')
  assert not wrong, '\n'.join(wrong)


def test_the_navigation_has_every_page_once():
  text = (ROOT / 'mkdocs.yml').read_text()
  listed = re.findall(r'^ +- (?:\w+: )?(\S+\.md)$', text, re.M)
  results = [file.relative_to(ROOT).as_posix() for file in RESULTS]
  assert sorted(listed) == sorted([*PAGES, *results])


def test_the_reference_has_every_public_name():
  pages = [f.read_text() for p, f in PAGES.items() if p.startswith('reference')]
  shown = re.findall(r'^::: bnresearch\.(\w+)$', '\n'.join(pages), re.M)
  rooms = {
    name for name in bnr.__all__ if (ROOT / 'bnresearch' / name).is_dir()
  }
  assert sorted(shown) == sorted({*bnr.__all__} - rooms)
  for room in ('norms', 'probes'):
    found = re.findall(
      rf'^::: bnresearch\.{room}\.(\w+)', '\n'.join(pages), re.M
    )
    assert sorted(found) == sorted(lookup.names(room))


def test_pages_are_short():
  lines = {p: len(f.read_text().splitlines()) for p, f in PAGES.items()}
  del lines[GENERATED]
  assert {page: n for page, n in lines.items() if n > 250} == {}


def test_knobs_on_the_pages_exist():
  """In commands, and where prose has one as `group.name`."""
  groups = {key.partition('.')[0] for key in KNOBS if '.' in key}
  wrong = []
  for page, file in PAGES.items():
    text = file.read_text()
    named = re.findall(r'--config\.([a-z_]+\.?[a-z_0-9]*)', text)
    named += re.findall(r'--explain=([a-z_]+\.[a-z_0-9]+)', text)
    named += [
      word
      for word in re.findall(r'`([a-z]+\.[a-z_0-9]+)`', text)
      if word.partition('.')[0] in groups
    ]
    wrong += [f'{page}: {k}' for k in named if k not in KNOBS | {'KEY': 0}]
  assert not wrong, '\n'.join(wrong)


def test_flags_on_the_pages_exist():
  known = {flag.name for flag in FLAGS} | {'--help'}
  wrong = []
  for page in PAGES:
    for block in blocks(page):
      for command in re.split(r'(?<!\\)\n', block.code):
        if 'bnresearch.main' in command:
          named = re.findall(r'--[a-z_]+', command)
          wrong += [
            f'{page}: {flag}'
            for flag in named
            if flag not in known and not flag.startswith('--config')
          ]
  assert not wrong, '\n'.join(wrong)


def first_column(section):
  """Returns all words in code in the first columns of a section's tables."""
  text = PAGES['migration.md'].read_text()
  (section,) = re.findall(rf'^## {section}$(.*?)(?=^## |\Z)', text, re.M | re.S)
  cells = re.findall(r'^\| (.*?) \|', section, re.M)
  return {w for cell in cells for w in re.findall(r'`(\w+)', cell)}


def test_the_migration_tables_have_every_field():
  fields = {*nn.BatchNorm.__dataclass_fields__} - {'parent', 'name'}
  found = first_column('From `flax.linen.BatchNorm`')
  assert fields - found == set()

  of_keras = inspect.signature(keras.layers.BatchNormalization.__init__)
  fields = {*of_keras.parameters} - {'self', 'kwargs'}
  found = first_column('From `keras.layers.BatchNormalization`')
  assert fields - found == set()


def test_the_migration_table_has_every_field_of_pytorch():
  torch = pytest.importorskip('torch')
  of_torch = inspect.signature(torch.nn.BatchNorm2d.__init__)
  fields = {*of_torch.parameters} - {'self'}
  assert fields - first_column('From `torch.nn.BatchNorm2d`') == set()


def test_our_fields_on_the_migration_page_exist():
  text = PAGES['migration.md'].read_text()
  rows = re.findall(r'^\| .*? \| (.*?) \|', text, re.M)
  named = {w for cell in rows for w in re.findall(r'(\w+)=', cell)}
  known = {*bnr.norms.batch.Norm.__dataclass_fields__, 'train'}
  assert named - known == set()
