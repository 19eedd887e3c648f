"""The command line: `python -m bnresearch.models [--model=NAME]`."""

import sys
from collections.abc import Sequence

from rich.table import Table

from bnresearch import command, lookup, zoo
from bnresearch.models import TooSmall, measure
from bnresearch.terminal import track, wide

_EXAMPLES = """
all networks
  python -m bnresearch.models
the layers of one, with shapes; on other images, with another normalizer
  python -m bnresearch.models --model=inception_v3
  python -m bnresearch.models --model=resnet_50 --size=32 --norm=group
"""
_LARGEST = 2**16  # pixels per side; larger images take minutes to count


@command.line(ValueError, TooSmall)
def main(argv: Sequence[str] | None = None) -> int:
  """Prints the zoo, or one network; returns the exit status."""
  text = 'Prints the published networks, or the layers of one.'
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
  args = parser.parse_args(argv)
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
  table = Table(title='The zoo')
  for column in ('name', 'parameters', 'multiply-adds', 'depth', 'images'):
    table.add_column(column, justify='left' if column == 'name' else 'right')
  table.add_column('ImageNet top-1, by')
  table.add_column('parameters stated by')
  for name in track(zoo.PUBLISHED, 'measuring'):
    found = zoo.published(name)
    cost, size = _cost(name, args)
    top_1 = f'{found.top_1:.1f}%, {found.measured_by}' if found.top_1 else ''
    same = cost.parameters == found.parameters
    table.add_row(
      name,
      f'{cost.parameters:,}',
      f'{cost.macs / 1e6:,.1f} M',
      str(cost.depth),
      f'{size}x{size}x{found.channels}',
      top_1,
      found.counted_by if same else f'{found.parameters:,} as published',
    )
  return table


def _layers(args):
  """Returns the table of one network's layers."""
  cost, size = _cost(args.model, args)
  table = Table(
    title=f'{args.model}, {size}x{size}: {cost.parameters:,} parameters, '
    f'{cost.macs / 1e6:,.1f} M multiply-adds, depth {cost.depth}',
    caption='Parameters of a layer include those of the normalizer in it.',
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
