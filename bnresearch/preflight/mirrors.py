"""What a run would stumble over in its mirrors."""

import importlib.util

from bnresearch import lookup
from bnresearch.config import ConfigError
from bnresearch.knobs import Config


def check_mirrors(config: Config) -> None:
  """Refuses a mirror whose package is not installed.

  Raises:
    ConfigError: names the extra that has it.
  """
  packages = {n: lookup.find('mirrors', n).PACKAGE for n in config.log.mirrors}
  lacking = {
    name: package
    for name, package in packages.items()
    if importlib.util.find_spec(package) is None
  }
  if lacking:
    raise ConfigError(
      f'log.mirrors = {config.log.mirrors}: {name!r} needs {package}, which is '
      f"not installed: pip install 'bnresearch[{name}]'."
      for name, package in lacking.items()
    )
