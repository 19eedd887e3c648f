"""The notebooks: each tells its story by itself, and is committed clean."""

import ast
import pathlib

import nbformat
import pytest
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient

COLAB = pathlib.Path(__file__).parents[1] / 'colab'
NOTEBOOKS = sorted(COLAB.glob('*.ipynb'))
STORY = COLAB / 'ics_histograms.ipynb'


def _read(file):
  return nbformat.read(file, as_version=4)


def _code(notebook):
  return [cell for cell in notebook.cells if cell.cell_type == 'code']


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
    for node in ast.walk(ast.parse(cell.source)):
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


@pytest.mark.parametrize('folder', [COLAB.parent, COLAB], ids=['root', 'colab'])
def test_the_notebook_finds_the_root_of_the_clone(folder, monkeypatch):
  monkeypatch.chdir(folder)
  exec(_code(_read(STORY))[0].source, {})
  assert pathlib.Path.cwd() == COLAB.parent


@pytest.mark.study
def test_the_notebook_runs_from_top_to_bottom(tmp_path, monkeypatch):
  monkeypatch.setenv('BNRESEARCH_RUNS', str(tmp_path / 'runs'))
  monkeypatch.setenv('IPYTHONDIR', str(tmp_path / 'ipython'))
  monkeypatch.delenv('MPLBACKEND', raising=False)  # Agg would show no picture
  notebook = _read(STORY)
  # Without folders to look for kernels in, 'python3' is this interpreter's,
  # installed or not; another Python's kernel of that name cannot interfere.
  kernel = AsyncKernelManager(
    kernel_name='python3', kernel_spec_manager=KernelSpecManager(kernel_dirs=[])
  )
  NotebookClient(
    notebook,
    km=kernel,
    timeout=600,  # seconds for a cell; all take about 60 on an idle core
    resources={'metadata': {'path': str(COLAB)}},
  ).execute(cleanup_kc=True)  # stops the kernel, which it did not make

  cells = _code(notebook)
  counts = [cell.execution_count for cell in cells]
  assert counts == list(range(1, len(cells) + 1))
  outputs = [output for cell in cells for output in cell.outputs]
  pictures = [o for o in outputs if 'image/png' in o.get('data', {})]
  assert len(pictures) >= 3
  stderr = ''.join(o.text for o in outputs if o.get('name') == 'stderr')
  assert 'Warning' not in stderr, 'a reader would see it'
  assert len(list((tmp_path / 'runs').glob('*/*/config.json'))) == 4
