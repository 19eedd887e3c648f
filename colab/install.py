"""Installs this clone in a running notebook, without touching its JAX.

  runpy.run_path('colab/install.py', run_name='__main__')

Colab's JAX fits its driver, and its GPU plugin fits that JAX: pip would replace
one and not the other. What this kernel has imported, such as NumPy, would need
a restart. So pip gets all of these as constraints, with the versions that are
here: it installs what is missing, or says which requirement does not fit.
"""

import importlib.metadata
import pathlib
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable

ROOT = pathlib.Path(__file__).parents[1]


def constraints(modules: Iterable[str]) -> list[str]:
  """Returns 'name==version' of JAX's packages, and of what has been imported.

  Args:
    modules: names in `sys.modules`.
  """
  owners = importlib.metadata.packages_distributions()
  tops = {module.partition('.')[0] for module in modules}
  imported = {name for top in tops for name in owners.get(top, ())}
  kept = {
    d.name: d.version
    for d in importlib.metadata.distributions()
    if d.name in imported or re.match(r'(jax|nvidia-|libtpu)', d.name.lower())
  }
  kept.pop('bnresearch', None)
  return sorted(f'{name}=={version}' for name, version in kept.items())


def install() -> None:
  """Installs the clone's requirements beside what is here.

  Raises:
    SystemExit: pip could not; its own words are above.
  """
  with tempfile.TemporaryDirectory() as folder:
    kept = pathlib.Path(folder, 'constraints.txt')
    kept.write_text('\n'.join(constraints(sys.modules)))
    command = sys.executable, '-m', 'pip', 'install', '--quiet'
    done = subprocess.run([*command, '--constraint', str(kept), str(ROOT)])
  if done.returncode:
    raise SystemExit(
      'pip could not install bnresearch beside the JAX that is here, for the '
      "reason above. If JAX is too old, %pip install '.[cuda]' replaces it "
      'together with its GPU part; then restart the runtime.'
    )


if __name__ == '__main__':
  install()
