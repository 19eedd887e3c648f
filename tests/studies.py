"""Experiments and benchmarks, started as a user starts them."""

import ast
import json
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).parent.parent


def names(package):
  """Returns the names of what the package lists."""
  return sorted(file.stem for file in (ROOT / package).glob('[!_]*.py'))


def run(module, *arguments):
  return subprocess.run(
    [sys.executable, '-m', module, *arguments],
    cwd=ROOT,
    capture_output=True,
    text=True,
    # A dry run compiles much and computes little.
    env=os.environ | {'JAX_DISABLE_MOST_OPTIMIZATIONS': '1'},
  )


def dry_run(package, name, tmp_path, *arguments):
  """Returns what the dry run of an experiment or a benchmark writes."""
  output = tmp_path / f'{name}.json'
  result = run(
    f'{package}.{name}', '--dry_run', f'--output={output}', *arguments
  )
  assert result.returncode == 0, result.stderr
  written = json.loads(output.read_text())
  assert written[package.removesuffix('s')] == name
  assert written['jax']
  assert all(one['status'] == 'done' for one in written.get('runs', ()))
  return written


def assert_header(package, name):
  """Asserts that a file's text has claim, source, command, cost and result."""
  text = ast.get_docstring(
    ast.parse((ROOT / package / f'{name}.py').read_text())
  )
  starts = [line.partition(' ')[0] for line in text.splitlines()]
  for part in ('Claim:', 'Source:', 'Command:', 'Cost:', 'Result:'):
    assert part in starts, part
  assert f'python -m {package}.{name}' in text
  assert f'{package}/results/{name}' in text
