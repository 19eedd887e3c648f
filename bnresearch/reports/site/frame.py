"""The frame of a site: templates, assets, and what all pages have."""

import pathlib
import shutil
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from bnresearch.terminal import UserError, printable

if TYPE_CHECKING:
  from markupsafe import Markup

TEMPLATES = pathlib.Path(__file__).parent / 'templates'
VEGA = 'vega.js'
_ASSETS = 'style.css', 'page.js', 'charts.js'


def environment(
  asker: str, *folders: pathlib.Path, **names: Any
) -> Callable[..., str]:
  """Returns a function `(template, **names)` to a page, {{ }} escaped.

  Args:
    asker: the flag that wants pages, for the message.
    *folders: of templates beside those of the frame, which have precedence.
    **names: that all templates may use.

  Raises:
    UserError: Jinja2 is not installed.
  """
  try:
    import jinja2
  except ImportError:
    raise missing(asker, 'jinja2') from None

  made = jinja2.Environment(
    loader=jinja2.FileSystemLoader([*folders, TEMPLATES]),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    finalize=shown,
    trim_blocks=True,
    lstrip_blocks=True,
  )
  # For texts that a template makes markup of before they are shown.
  made.filters['shown'] = shown
  made.policies['json.dumps_kwargs'] = {}  # in their order, not sorted
  made.globals |= names
  return lambda template, **own: made.get_template(template).render(**own)


def shown(value: Any) -> Any:
  """Returns what a page shows of a value: control characters as escapes."""
  return value if hasattr(value, '__html__') else printable(str(value))


def trusted(text: str) -> 'Markup':
  """Returns HTML that a template takes as it is."""
  import markupsafe

  return markupsafe.Markup(text)


def assets(folder: pathlib.Path, asker: str, *others: pathlib.Path) -> None:
  """Writes what the pages share: style, scripts and Vega.

  Args:
    folder: of the assets, made if need be.
    asker: see `environment`.
    *others: files beside those of the frame.

  Raises:
    UserError: vl-convert is not installed.
  """
  text = vega(asker)
  folder.mkdir(parents=True, exist_ok=True)
  for file in [*(TEMPLATES / name for name in _ASSETS), *others]:
    shutil.copy(file, folder)
  (folder / VEGA).write_text(text, encoding='utf-8')


def vega(asker: str) -> str:
  """Returns the library of the charts: Vega, Vega-Lite and Vega-Embed.

  Raises:
    UserError: vl-convert, which brings it, is not installed.
  """
  try:
    import vl_convert
  except ImportError:
    raise missing(asker, 'vl-convert-python') from None
  return vl_convert.javascript_bundle('window.vegaEmbed = vegaEmbed;')


def missing(asker: str, package: str) -> UserError:
  """Returns the error of a package that is not installed."""
  return UserError(
    f'{asker} needs {package}, which is not installed: '
    "pip install 'bnresearch[report]'."
  )


def refuse_others(
  folder: pathlib.Path, mark: str, flag: str, what: str
) -> None:
  """Refuses a folder that has anything but a site of this kind.

  Args:
    folder: of the site; it need not exist.
    mark: that `index.html` of such a site has.
    flag: that named the folder.
    what: the kind of site.

  Raises:
    UserError: it has something else.
  """
  if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
    return
  index = folder / 'index.html'
  if not index.is_file() or mark not in index.read_text(errors='replace'):
    raise UserError(
      f'{flag}={folder}: has files that are no {what}, and the site '
      'would replace them. Give a new folder.'
    )
