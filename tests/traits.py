"""What a norm's class says to models, see `bnresearch/norms`."""

from bnresearch import lookup


def says(name: str, trait: str) -> bool:
  """Returns whether the norm of a name says a trait of itself."""
  return getattr(lookup.find('norms', name).Norm, trait, False)
