"""Markdown of the studies as HTML: no markup of its own, nothing from outside.

Links within the checkout become those of the site, or plain text where they
lead to what the site does not have.
"""

import re
from collections.abc import Mapping

import markdown_it

from bnresearch.reports.site import frame
from bnresearch.terminal import printable

_ARXIV = re.compile(r'arXiv[\s:]+(\d{4}\.\d{4,5})')


def html(pages: Mapping[str, str], text: str, inline: bool = False):
  """Returns Markdown as HTML that a template takes as it is.

  Args:
    pages: {anchor of a section in the Markdown page: its page in the site}.
    text: whose HTML, if it has any, is shown as text.
    inline: without a paragraph around it.
  """
  parser = markdown_it.MarkdownIt('commonmark', {'html': False})
  parser.enable('table').disable('image')
  parse = parser.parseInline if inline else parser.parse
  tokens = parse(printable(text))
  for token in tokens:
    kept = []
    for child in token.children or ():
      if child.type == 'link_open':
        target = _target(pages, child.attrs['href'])
        child.attrs['href'] = target
        kept.append(bool(target))
        child.hidden = not target
      elif child.type == 'link_close':
        child.hidden = not kept.pop()
    if token.children:
      token.children = [c for c in token.children if not c.hidden]
  return frame.trusted(parser.renderer.render(tokens, parser.options, {}))


def _target(pages, href):
  """Returns where a link leads in the site, '' for nowhere."""
  if re.match(r'https?://|results/[\w.]+$', href):
    return href
  return pages.get(href, '')


def linked(text: str):
  """Returns plain text as HTML, with arXiv's numbers as links."""
  import markupsafe

  escaped = str(markupsafe.escape(printable(text)))
  url = r'<a href="https://arxiv.org/abs/\1">arXiv \1</a>'
  return frame.trusted(_ARXIV.sub(url, escaped))
