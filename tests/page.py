"""A page as a browser has it, for the tests of sites."""

import html.parser


class Page(html.parser.HTMLParser):
  """A page's tags, links, ids and texts of cells, as a browser has them."""

  def __init__(self, text):
    super().__init__()
    self.tags, self.links, self.ids, self.cells, self.scripts = (
      [],
      [],
      [],
      [],
      [],
    )
    # What stands in cells beside others, without a direction of its own.
    self.text, self.turning, self._inside = '', '', []
    self.feed(text)

  def handle_starttag(self, tag, attrs):
    """Keeps the names of attributes; values may differ."""
    self.tags.append((tag, *sorted(name for name, _ in attrs)))
    attrs = dict(attrs)
    self.links += [attrs[k] for k in ('href', 'src') if k in attrs]
    self.ids += [attrs['id']] if 'id' in attrs else []
    if tag in ('td', 'th'):
      self.cells.append('')
    if tag == 'script':
      self.scripts.append('')
    if tag == 'img' and self.cells:
      self.cells[-1] += attrs['alt']
    self._inside.append(tag)

  def handle_endtag(self, tag):
    """Leaves the tag, and those in it that have no end."""
    while self._inside.pop() != tag:
      pass

  def handle_data(self, data):
    """Adds to the page's text, and to the cell or script that it stands in."""
    if 'script' in self._inside:
      self.scripts[-1] += data
    else:
      self.text += data
    if {'td', 'th'} & {*self._inside}:
      self.cells[-1] += data
      if not {'bdi', 'code'} & {*self._inside}:
        self.turning += data
