"""The notebooks: each tells its story by itself, and is committed clean."""

import ast
import importlib.metadata
import importlib.util
import pathlib
import re
import runpy
import tomllib
from typing import NamedTuple

import nbformat
import pytest
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellTimeoutError

COLAB = pathlib.Path(__file__).parents[1] / 'colab'
NOTEBOOKS = sorted(COLAB.glob('*.ipynb'))
# Here a class is what the reader writes: it is the subject, not logic that
# belongs elsewhere. It defines nothing else.
WRITES_A_NORM = 'your_first_normalizer'


def _read(file):
  return nbformat.read(file, as_version=4)


def _code(notebook):
  return [cell for cell in notebook.cells if cell.cell_type == 'code']


def _cell(notebook, name):
  (cell,) = [cell for cell in notebook.cells if cell.id == name]
  return cell.source


def _text(output):
  """Returns an output that is no picture, as text."""
  return output.get('text') or output.get('data', {}).get('text/plain', '')


@pytest.mark.parametrize('file', NOTEBOOKS, ids=lambda file: file.stem)
def test_a_notebook_is_committed_valid_and_without_outputs(file):
  notebook = _read(file)
  nbformat.validate(notebook)
  assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
  assert set(notebook.metadata) <= {'kernelspec', 'language_info'}
  assert notebook.metadata.kernelspec.name == 'python3'
  for cell in notebook.cells:
    assert not cell.metadata, f'{cell.id}: has metadata'
  for cell in _code(notebook):
    assert not cell.outputs, f'{cell.id}: clear the outputs'
    assert cell.execution_count is None, f'{cell.id}: clear the outputs'


@pytest.mark.parametrize('file', NOTEBOOKS, ids=lambda file: file.stem)
def test_a_notebook_defines_no_function_and_no_class(file):
  definitions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
  for cell in _code(_read(file)):
    tree = ast.parse(cell.source)
    if file.stem == WRITES_A_NORM and cell.id in ('first', 'second'):
      (norm,) = tree.body
      assert (type(norm), norm.name) == (ast.ClassDef, 'Norm')
      continue
    for node in ast.walk(tree):
      assert not isinstance(node, definitions), (
        f'{cell.id}: {node.name} belongs to a file of bnresearch or experiments'
      )


@pytest.mark.parametrize('file', NOTEBOOKS, ids=lambda file: file.stem)
def test_a_notebook_trains_by_the_public_names(file):
  """It uses neither a command line nor the code of a study."""
  for cell in _code(_read(file)):
    for node in ast.walk(ast.parse(cell.source)):
      if isinstance(node, ast.ImportFrom):
        assert node.module not in ('bnresearch.main', 'experiments')
        assert not node.module.startswith('experiments.')


def test_all_notebooks_are_set_up_by_the_same_cell():
  cells = {_cell(_read(file), 'setup') for file in NOTEBOOKS}
  assert len(cells) == 1


@pytest.mark.parametrize('folder', [COLAB.parent, COLAB], ids=['root', 'colab'])
def test_a_notebook_finds_the_root_of_the_clone(folder, monkeypatch):
  monkeypatch.chdir(folder)
  exec(_cell(_read(NOTEBOOKS[0]), 'setup'), {})
  assert pathlib.Path.cwd() == COLAB.parent


def test_the_address_is_the_same_in_all_badges_and_cells():
  """The project's, once it has one; until then the word ADDRESS."""
  project = tomllib.loads((COLAB.parent / 'pyproject.toml').read_text())
  url = project['project']['urls'].get(
    'Repository', 'https://github.com/ADDRESS'
  )
  for file in NOTEBOOKS:
    notebook = _read(file)
    assert f"repository = '{url}'  # @param" in _cell(notebook, 'setup')
    path = url.removeprefix('https://github.com/')
    assert _cell(notebook, 'title').startswith(
      '[![Open in Colab](https://colab.research.google.com/assets/'
      'colab-badge.svg)](https://colab.research.google.com/github/'
      f'{path}/blob/main/colab/{file.name})'
    )


def test_installing_keeps_jax_and_what_is_imported():
  constraints = runpy.run_path(str(COLAB / 'install.py'))['constraints']
  kept = dict(line.split('==') for line in constraints(['numpy', 'rich.table']))
  for name in ('jax', 'jaxlib', 'numpy', 'rich'):
    assert kept[name] == importlib.metadata.version(name)
  assert not {'flax', 'bnresearch'} & {*kept}


class Shown(NamedTuple):
  """What an executed notebook shows.

  Attributes:
    pictures: how many.
    text: all other output, without escape codes.
    runs: how many it trained.
  """

  pictures: int
  text: str
  runs: int


def _statistics(shown):
  assert shown[::2] == (4, 1)
  assert 'same answers: True' in shown.text
  (apart,) = re.findall(r'largest difference: (\S+)', shown.text)
  assert 0 < float(apart) < 1e-4


def _histograms(shown):
  assert shown[::2] == (6, 4)
  found = re.findall(r'1,000 +without norm(.*)\n +with BN(.*)\n', shown.text)
  for none, batch in found:
    *_, least = map(float, none.split())
    *_, cosine, most = map(float, batch.split())
    assert most > 10 * least, 'gradients of the lowest layer'
    assert cosine < 0.995
  assert len(found) == 2


def _normalizer(shown):
  assert shown[::2] == (1, 3)
  assert shown.text.count(' broken ') == 3
  assert shown.text.count(' kept ') == 10 + 13
  accuracy = re.findall(r'root_mean_square +\w+ +([\d.]+)%', shown.text)
  assert min(map(float, accuracy)) > 90
  assert len(accuracy) == 2


def _landscape(shown):
  assert shown[::2] == (4, 2)
  found = dict(re.findall(r'(with|without) BN +([\d.]+)%', shown.text))
  assert min(map(float, found.values())) > 80
  assert {*found} == {'with', 'without'}


CHECKS = {
  'ics_histograms': _histograms,
  'loss_landscape': _landscape,
  'restore_and_evaluate': _statistics,
  'your_first_normalizer': _normalizer,
}


def _executed(file):
  """Runs a notebook in a kernel of its own; returns it with its outputs."""
  notebook = _read(file)
  # Without folders to look for kernels in, 'python3' is this interpreter's,
  # installed or not; another Python's kernel of that name cannot interfere.
  kernel = AsyncKernelManager(
    kernel_name='python3', kernel_spec_manager=KernelSpecManager(kernel_dirs=[])
  )
  NotebookClient(
    notebook,
    km=kernel,
    timeout=300,  # seconds for a cell; all take about 60 on an idle core
    resources={'metadata': {'path': str(COLAB)}},
  ).execute(cleanup_kc=True)  # stops the kernel, which it did not make
  return notebook


def test_every_notebook_has_a_check():
  assert [*CHECKS] == [file.stem for file in NOTEBOOKS]


@pytest.mark.study
@pytest.mark.parametrize('file', NOTEBOOKS, ids=lambda file: file.stem)
def test_a_notebook_runs_from_top_to_bottom(file, tmp_path, monkeypatch):
  monkeypatch.setenv('BNRESEARCH_RUNS', str(tmp_path / 'runs'))
  monkeypatch.setenv('IPYTHONDIR', str(tmp_path / 'ipython'))
  monkeypatch.delenv('MPLBACKEND', raising=False)  # Agg would show no picture
  try:
    notebook = _executed(file)
  except CellTimeoutError:  # once in 16 runs: the kernel idle, its reply lost
    notebook = _executed(file)

  cells = _code(notebook)
  counts = [cell.execution_count for cell in cells]
  assert counts == list(range(1, len(cells) + 1))
  outputs = [output for cell in cells for output in cell.outputs]
  said = ''.join(o.text for o in outputs if o.get('name') == 'stderr')
  assert said == '', 'a reader would see it'
  CHECKS[file.stem](
    Shown(
      len([o for o in outputs if 'image/png' in o.get('data', {})]),
      re.sub(r'\x1b\[[\d;]*m', '', ''.join(map(_text, outputs))),
      len([*(tmp_path / 'runs').rglob('config.json')]),
    )
  )
  if file.stem == 'ics_histograms' and importlib.util.find_spec('ipywidgets'):
    (state,) = notebook.metadata.widgets.values()
    sliders = [w for w in state['state'].values() if 'outputs' in w['state']]
    assert 'image/png' in sliders[0]['state']['outputs'][0]['data']
