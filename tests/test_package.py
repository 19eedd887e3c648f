"""The package: what a wheel has, says of itself, and does without a clone."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv

import pytest
import yaml

import bnresearch

ROOT = pathlib.Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / 'pyproject.toml').read_text())['project']
CITATION = yaml.safe_load((ROOT / 'CITATION.cff').read_text())
CHANGES = (ROOT / 'CHANGELOG.md').read_text()
NEWEST = re.split('^## ', CHANGES, flags=re.MULTILINE)[1]

MINE = """
from bnresearch.knobs import default_config

def get_config(arg):
  config = default_config()
  config.data.name = 'synthetic'
  config.train.steps = 20
  config.train.log_every = 10
  config.eval.every = 10
  config.checkpoint.every = 20
  config.sweep = ({'seed': 0}, {'seed': 1})
  return config
"""


# What it says of itself.


def test_the_version_stands_once_and_all_files_agree():
  assert 'version' not in PROJECT
  assert re.fullmatch(r'\d+\.\d+\.\d+', bnresearch.__version__)
  assert CITATION['version'] == bnresearch.__version__
  assert NEWEST.splitlines()[0] == bnresearch.__version__


def test_the_citation_has_what_its_format_asks_for():
  assert CITATION['cff-version'] == '1.2.0'
  assert CITATION['type'] == 'software'
  assert CITATION['license'] == PROJECT['license'] == 'Apache-2.0'
  assert [a['name'] for a in CITATION['authors']] == [
    a['name'] for a in PROJECT['authors']
  ]
  (paper,) = CITATION['references']
  assert paper['title'].startswith('Batch Normalization: Accelerating Deep')
  assert [a['family-names'] for a in paper['authors']] == ['Ioffe', 'Szegedy']
  assert paper['year'] == 2015
  for entry in (CITATION, paper):
    assert {'title', 'authors', 'type'} <= entry.keys()
    assert all(type(word) is str for word in entry.get('keywords', ()))


def test_the_licence_names_its_text():
  text = (ROOT / 'LICENSE').read_text()
  assert 'Apache License, Version 2.0' in text
  assert 'www.apache.org/licenses/LICENSE-2.0' in text
  assert PROJECT['license-files'] == ['LICENSE']


def test_the_changelog_has_every_public_name():
  lacking = [n for n in bnresearch.__all__ if f'`bnr.{n}' not in NEWEST]
  assert lacking == []


def test_every_extra_that_is_recommended_is_there():
  pages = *ROOT.glob('*.md'), *(ROOT / 'docs').glob('*.md')
  files = *pages, *(ROOT / 'bnresearch').rglob('*.py')
  named = {
    extra
    for file in files
    for extra in re.findall(r'bnresearch\[([a-z,]+)\]', file.read_text())
  }
  assert {'slurm', 'tensorboard', 'wandb'} <= named
  assert named <= PROJECT['optional-dependencies'].keys()


# What it does.


def run(*command, cwd):
  hidden = {'PYTHONPATH', 'VIRTUAL_ENV'}
  environment = {k: v for k, v in os.environ.items() if k not in hidden}
  return subprocess.run(
    command, cwd=cwd, env=environment, capture_output=True, text=True
  )


def pip(*arguments, cwd):
  done = run(sys.executable, '-m', 'pip', *arguments, cwd=cwd)
  assert done.returncode == 0, done.stderr


@pytest.fixture(scope='module')
def installed(tmp_path_factory):
  """Returns the folder of commands where the wheel alone is installed.

  All that it depends on comes from here.
  """
  folder = tmp_path_factory.mktemp('wheel')
  source = folder / 'source'
  unwanted = shutil.ignore_patterns('__pycache__')
  shutil.copytree(ROOT / 'bnresearch', source / 'bnresearch', ignore=unwanted)
  for name in ('pyproject.toml', 'README.md', 'LICENSE'):
    shutil.copy(ROOT / name, source)
  quick = '--no-deps', '--disable-pip-version-check', '--quiet'
  pip('wheel', *quick, '--no-build-isolation', str(source), cwd=folder)
  (wheel,) = folder.glob('*.whl')
  assert wheel.name.startswith(f'bnresearch-{bnresearch.__version__}-py3-')
  venv.create(folder / 'venv', symlinks=True)
  at = {'base': str(folder / 'venv'), 'platbase': str(folder / 'venv')}
  packages = pathlib.Path(sysconfig.get_path('purelib', 'venv', vars=at))
  (packages / 'others.pth').write_text(sysconfig.get_path('purelib'))
  python = folder / 'venv' / 'bin' / 'python'
  pip('--python', str(python), 'install', *quick, str(wheel), cwd=folder)
  assert (packages / 'bnresearch' / 'py.typed').exists()
  templates = packages / 'bnresearch' / 'reports' / 'site' / 'templates'
  assert {'frame.html', 'style.css', 'sweep.js'} <= {
    file.name for file in templates.iterdir()
  }
  return python.parent


def train(installed, folder, *flags):
  """Trains a config of one's own in an empty folder."""
  (folder / 'mine.py').write_text(MINE)
  command = installed / 'bnresearch'
  done = run(command, '--config=mine.py', *flags, cwd=folder)
  assert done.returncode == 0, done.stderr
  assert 'All is done.' in done.stdout


def test_the_wheel_trains_a_config_of_ones_own(installed, tmp_path):
  train(installed, tmp_path, '--point=1')
  file = tmp_path / 'runs/mine/seed=1/provenance.json'
  (noted,) = json.loads(file.read_text())
  assert noted['bnresearch'] == bnresearch.__version__
  assert noted['commit'] == ''


@pytest.mark.study
def test_the_wheel_trains_by_processes_and_evaluates(installed, tmp_path):
  train(installed, tmp_path, '--processes=2')
  command = installed / 'bnresearch', '--mode=eval'
  done = run(*command, '--workdir=runs/mine/seed=1', cwd=tmp_path)
  assert done.returncode == 0, done.stderr
  assert 'population' in done.stdout


def test_the_wheel_says_what_only_a_clone_has(installed, tmp_path):
  asked = run(
    installed / 'bnresearch', '--config=configs/figure1.py', cwd=tmp_path
  )
  assert asked.returncode == 2
  assert asked.stdout == ''
  assert asked.stderr == (
    'A problem:\n'
    '  --config=configs/figure1.py: no such file. The folders configs/, '
    'experiments/ and benchmarks/ are in a clone of bnresearch, and pip '
    "installs none: put the clone's path into PYTHONPATH. Without a clone, "
    '--config=default has every knob at its default, and a file of your own '
    'begins with `from bnresearch.knobs import default_config`.\n'
  )
  assert [*tmp_path.iterdir()] == []


def test_the_package_says_its_version_without_jax(installed, tmp_path):
  code = (
    'import sys, importlib.metadata, bnresearch\n'
    'print(bnresearch.__version__, importlib.metadata.version("bnresearch"))\n'
    'print(bnresearch.__file__, "jax" in sys.modules)'
  )
  said = run(installed / 'python', '-c', code, cwd=tmp_path)
  own, noted, file, has_jax = said.stdout.split()
  assert own == noted == bnresearch.__version__
  assert pathlib.Path(file).is_relative_to(installed.parent)
  assert has_jax == 'False'
