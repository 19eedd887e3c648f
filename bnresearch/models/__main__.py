"""The command line: `python -m bnresearch.models [--model=NAME]`."""

import sys
from collections.abc import Sequence

from rich.table import Table

from bnresearch import command, lookup, stated, zoo
from bnresearch.models import TooSmall, measure
from bnresearch.terminal import track, wide

_EXAMPLES = """
all networks
  python -m bnresearch.models
the layers of one, with shapes; on other images, with another normalizer
  python -m bnresearch.models --model=inception_v3
  python -m bnresearch.models --model=resnet_50 --size=32 --norm=group
what papers and tutorials state of networks, beside what ours have
  python -m bnresearch.models --compare
"""
_LARGEST = 2**16  # pixels per side; larger images take minutes to count


@command.line(ValueError, TooSmall)
def main(argv: Sequence[str] | None = None) -> int:
  """Prints the zoo, or one network; returns the exit status."""
  text = (
    'Prints the published networks, the layers of one, or what is stated of '
    'them beside what they have.'
  )
  parser = command.parser('models', text, _EXAMPLES)
  parser.add_argument('--model', metavar='NAME', help='a network of the table')
  parser.add_argument(
    '--norm', choices=lookup.names('norms'), help='default as published'
  )
  parser.add_argument(
    '--size', type=int, metavar='PIXELS', help='default as published'
  )
  parser.add_argument(
    '--classes', type=int, metavar='K', help='default as published'
  )
  parser.add_argument(
    '--compare',
    action='store_true',
    help='print what papers and tutorials state of kernels and networks, '
    'beside what ours have, and what is wrong',
  )
  args = parser.parse_args(argv)
  if args.compare:
    if others := [k for k, v in vars(args).items() if k != 'compare' and v]:
      raise ValueError(f'--compare: takes no --{", no --".join(others)}.')
    wide().print(_comparison())
    return 0
  if args.size is not None and args.size > _LARGEST:
    raise ValueError(f'--size={args.size}: needs {_LARGEST:,} pixels or less.')
  wide().print(_layers(args) if args.model else _zoo(args))
  return 0


def _cost(name, args):
  found = zoo.published(name)
  model = zoo.network(name, norm=args.norm, num_classes=args.classes)
  size = found.size if args.size is None else args.size
  return measure(model, size, found.channels), size


def _zoo(args):
  """Returns the table of all networks."""
  table = Table(title='The zoo', caption=_ensembles())
  for column in ('name', 'parameters', 'multiply-adds', 'depth', 'images'):
    side = 'left' if column == 'name' else 'right'
    table.add_column(column, justify=side, no_wrap=True)
  table.add_column('ImageNet top-1, top-5, by')
  table.add_column('top-5 error, ensemble')
  table.add_column('parameters stated by')
  for name in track(zoo.PUBLISHED, 'measuring'):
    found = zoo.published(name)
    cost, size = _cost(name, args)
    same = cost.parameters == found.parameters
    table.add_row(
      name,
      f'{cost.parameters:,}',
      f'{cost.macs / 1e6:,.1f} M',
      str(cost.depth),
      f'{size}x{size}x{found.channels}',
      _accuracy(found),
      _of_ensemble(found),
      found.counted_by if same else f'{found.parameters:,} as published',
    )
  return table


def _accuracy(found):
  """Returns the accuracies of one crop, and who measured them."""
  if found.top_1 is None:
    return ''
  top_5 = f', {found.top_5:.1f}%' if found.top_5 else ''
  return f'{found.top_1:.1f}%{top_5}, {found.measured_by}'


def _of_ensemble(found):
  """Returns the error of an ensemble and its size."""
  if found.ensemble is None:
    return ''
  return f'{found.ensemble.top_5_error}%, of {found.ensemble.networks}'


def _ensembles():
  """Returns what the ensembles of the table were, and who states it."""
  lines = [
    f'{name}: {found.ensemble.networks} networks, {found.ensemble.on}; '
    f'{found.ensemble.stated_by}.'
    for name, found in zoo.PUBLISHED.items()
    if found.ensemble
  ]
  title = 'Errors of ensembles, which none of their networks reaches alone.'
  return '\n'.join([title, *lines]) if lines else None


def _comparison():
  """Returns the table of what is stated of networks, and what they have."""
  table = Table(
    title='Stated, and counted here',
    caption='The documents: tutorials whose statements this project checks.',
  )
  for column in ('what', 'stated', 'by', 'here', 'within 5%', 'why'):
    right = column in ('stated', 'here')
    table.add_column(column, justify='right' if right else 'left')
  for found in stated.statements():
    numbers = [
      ', '.join(format(value, found.shown) for value in values)
      for values in (found.stated, found.here)
    ]
    holds = 'yes' if found.holds else 'no'
    row = found.what, numbers[0], found.by, numbers[1], holds, found.why
    table.add_row(*row)
  return table


def _layers(args):
  """Returns the table of one network's layers."""
  cost, size = _cost(args.model, args)
  table = Table(
    title=f'{args.model}, {size}x{size}: {cost.parameters:,} parameters, '
    f'{cost.macs / 1e6:,.1f} M multiply-adds, depth {cost.depth}',
    caption='Parameters of a layer include those of the normalizer in it. '
    f'Dense layers have {cost.dense_share:.1%} of all.',
  )
  table.add_column('layer')
  for column in ('kernel', 'output', 'parameters', 'multiply-adds'):
    table.add_column(column, justify='right')
  for layer in cost.layers:
    table.add_row(
      layer.path,
      'x'.join(map(str, layer.kernel)),
      'x'.join(map(str, layer.output)),
      f'{layer.parameters:,}',
      f'{layer.macs:,}',
    )
  return table


if __name__ == '__main__':
  sys.exit(main())
