"""A hook of MkDocs: what pages have from elsewhere in the checkout.

The site of results, `python -m experiments --report`, becomes its scoreboard/.

The results stay where they are measured, in experiments/ and benchmarks/. Links
are written as in the checkout, where editors and GitHub follow them. Here, one
to what is no page becomes its text. `{{ python -m MODULE --help }}` becomes
what the command prints.
"""

import os
import pathlib
import posixpath
import re
import subprocess
import sys

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

_ROOT = pathlib.Path(__file__).parents[1]
_RESULTS = 'experiments', 'benchmarks'
_LINK = re.compile(
  r'(!?)\[((?:[^][]|\[[^][]*\])*)\]\(([^():#\s]+)(#[^)\s]+)?\)'
)
_ELSEWHERE = re.compile(
  r'<(?:script|link|img)\b[^>]*(?:src|href)="?https?:[^>]*'
)
_HELP = re.compile(r'\{\{ python -m ([\w.]+) --help \}\}')


def on_files(files, config):
  """Adds the pages of results, and their pictures."""
  for folder in _RESULTS:
    inside = _ROOT / folder
    for path in [inside / 'README.md', *sorted(inside.glob('results/*.png'))]:
      name = path.relative_to(_ROOT).as_posix()
      files.append(File.generated(config, name, abs_src_path=str(path)))
  return files


def on_page_markdown(markdown, page, config, files):
  """Returns the page with links as in the site, and with helps."""
  here = page.file.src_uri
  folder = posixpath.dirname(here if _is_result(here) else f'docs/{here}')

  def link(match):
    picture, text, target, anchor = match.groups('')
    path = posixpath.normpath(posixpath.join(folder, target))
    uri = path if _is_result(path) else path.removeprefix('docs/')
    if files.get_file_from_path(uri):
      at = posixpath.relpath(uri, posixpath.dirname(here) or '.')
      return f'{picture}[{text}]({at}{anchor})'
    return text if (_ROOT / path).exists() else match[0]

  return _HELP.sub(_help, _LINK.sub(link, markdown))


def on_post_page(output, page, config):
  """Refuses what a page would load from the network."""
  if found := _ELSEWHERE.search(output):
    raise PluginError(f'{page.file.src_uri} loads {found[0]}')


def on_post_build(config):
  """Writes the site of results beside the documentation."""
  folder = pathlib.Path(config['site_dir'], 'scoreboard').absolute()
  subprocess.run(
    [sys.executable, '-m', 'experiments', f'--report={folder}'],
    check=True,
    cwd=_ROOT,
  )


def _is_result(path):
  return path.partition('/')[0] in _RESULTS


def _help(match):
  """Returns what a command says of itself, but for what is of this machine."""
  printed = subprocess.run(
    [sys.executable, '-m', match[1], '--help'],
    capture_output=True,
    check=True,
    cwd=_ROOT,
    env=os.environ | {'COLUMNS': '80'},
    text=True,
  ).stdout
  return re.sub(r',\s+here \d+', '', printed).rstrip()
