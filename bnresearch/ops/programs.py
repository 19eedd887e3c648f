"""Traced programs: what an equation of one calls."""

from collections.abc import Iterator

from jax.extend import core


def inside(
  equation: core.JaxprEqn, platform: str = 'cpu'
) -> Iterator[core.Jaxpr]:
  """Yields the programs that an equation calls, such as the body of a loop.

  Args:
    equation: of a program.
    platform: whose branch is taken where the platform chooses one, as by
      `jax.lax.platform_dependent`.
  """
  params = dict(equation.params)
  if platforms := params.get('branches_platforms'):
    own = (k for k, p in enumerate(platforms) if p is None or platform in p)
    params['branches'] = (params['branches'][next(own)],)
  for value in params.values():
    for program in value if isinstance(value, tuple) else (value,):
      if isinstance(program, core.ClosedJaxpr):
        yield program.jaxpr
      elif isinstance(program, core.Jaxpr):
        yield program
