"""A Griffe extension: how mkdocstrings reads the sources."""

import re

import griffe


class Sources(griffe.Extension):
  """Reads Flax's modules as dataclasses, and examples that are indented by 2.

  Griffe's own extension for dataclasses knows the decorator only.
  """

  def on_class_members(self, *, cls, **_):
    """Gives a class of `nn.Module` the signature that its fields make."""
    if not any(str(base) == 'nn.Module' for base in cls.bases):
      return
    kind = griffe.ParameterKind.positional_or_keyword
    fields = [
      griffe.Parameter(
        name, annotation=field.annotation, kind=kind, default=field.value
      )
      for name, field in cls.members.items()
      if field.is_attribute and 'instance-attribute' in field.labels
    ]
    own = griffe.Parameter('self', kind=kind)
    parameters = griffe.Parameters(own, *fields)
    cls.set_member(
      '__init__', griffe.Function('__init__', parameters=parameters)
    )

  def on_instance(self, *, obj, **_):
    """Indents examples by 4, as Markdown wants of code."""
    if obj.docstring:
      paragraphs = obj.docstring.value.split('\n\n')
      obj.docstring.value = '\n\n'.join(map(_indented, paragraphs))


def _indented(paragraph):
  """Returns a paragraph that is code, which is indented as a whole, by more."""
  if all(line.startswith('  ') for line in paragraph.splitlines()):
    return re.sub('^', '  ', paragraph, flags=re.M)
  return paragraph
