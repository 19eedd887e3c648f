"""An extension of Griffe: Flax's modules are dataclasses, with fields."""

import griffe


class Modules(griffe.Extension):
  """Gives a class of `nn.Module` the signature that its fields make."""

  def on_class(self, *, cls, **_):
    """Marks the class, for Griffe's own extension of dataclasses."""
    if any(str(base) == 'nn.Module' for base in cls.bases):
      dataclass = griffe.ExprName('dataclasses.dataclass')
      cls.decorators.append(
        griffe.Decorator(dataclass, lineno=None, endlineno=None)
      )
