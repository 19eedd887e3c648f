"""The command line: `python -m bnresearch.data [--prepare, --inspect]`."""

import pathlib
import sys
from collections.abc import Sequence

import jax
import numpy as np
from rich.table import Table

from bnresearch import command, lookup, paths
from bnresearch import config as configs
from bnresearch.assembly import assemble
from bnresearch.data import SPLITS, Arrays, MissingData, _sheet
from bnresearch.preflight.images import check_images
from bnresearch.sweeps.points import points
from bnresearch.terminal import say, track, wide
from bnresearch.training.step import inputs_key

_EXAMPLES = """
all data sets, their sizes, and whether they are ready here
  python -m bnresearch.data
prepare one from its original files, into the layout that TFDS reads
  python -m bnresearch.data --prepare=mnist --from=downloads/mnist
look at what a network would see, and get the channels' means and deviations
  python -m bnresearch.data --inspect=mnist --config.augment.shift=0.1
  python -m bnresearch.data --inspect=image_folder \\
      --config.data.folder=photographs --config.augment.crop=resized
"""
_PICTURES = ('.png', '.jpg', '.svg', '.pdf')
_SHOWN = 24  # images in each half of the sheet
_MEASURED = 5000  # greatest number of images for means and deviations


@command.line()
def main(argv: Sequence[str] | None = None) -> int:
  """Lists, prepares or inspects; returns the exit status."""
  parser = _parser()
  args, rest = parser.parse_known_args(argv)
  values = configs.from_flags(rest, parser)
  if args.prepare and args.inspect:
    raise configs.ConfigError('--prepare and --inspect: needs one of them.')
  if args.prepare:
    _prepare(args, values)
  elif args.inspect:
    _inspect(args, values)
  elif values or args.folder:
    raise configs.ConfigError(
      '--from is for --prepare, and --config.KEY for --inspect.'
    )
  else:
    _list()
  return 0


def _parser():
  text = 'Lists the data sets, prepares one, or shows one.'
  parser = command.parser('data', text, _EXAMPLES)
  parser.add_argument('--prepare', metavar='NAME', help='a data set to prepare')
  parser.add_argument(
    '--from',
    dest='folder',
    metavar='FOLDER',
    type=paths.local,
    help='with --prepare: where its original files are',
  )
  parser.add_argument('--inspect', metavar='NAME', help='a data set to show')
  parser.add_argument(
    '--config',
    metavar='FILE[:ARG]',
    default='configs/default.py',
    help='with --inspect: how images are augmented; default %(default)s',
  )
  parser.add_argument(
    '--config.KEY',
    metavar='VALUE',
    dest='unused',
    help='with --inspect: override a knob, as --config.augment.flip=True',
  )
  parser.add_argument(
    '--output',
    metavar='FILE',
    type=paths.local,
    default=pathlib.Path('inspect.png'),
    help='with --inspect: the picture; default %(default)s',
  )
  return parser


def _list():
  table = Table(
    title='Data sets',
    caption='--inspect=NAME says what one that is absent needs.',
  )
  table.add_column('name')
  for column in ('train', 'test', 'images', 'classes'):
    table.add_column(column, justify='right')
  table.add_column('here')
  for name in lookup.names('data'):
    entry = lookup.find('data', name)
    missing = getattr(entry, 'ready', str)()
    table.add_row(name, *_size(entry), 'absent' if missing else 'ready')
  wide().print(table)


def _size(entry):
  """Returns a data set's size as cells; '-' if it depends on the user."""
  try:
    spec = entry.spec()
  except (MissingData, TypeError):  # it depends on options
    return '-', '-', '-', '-'
  return (
    *(f'{spec.examples[split]:,}' for split in SPLITS),
    'x'.join(map(str, spec.image_shape)),
    str(len(spec.class_names)),
  )


def _prepare(args, values):
  entry = lookup.find('data', args.prepare)
  if not hasattr(entry, 'prepare'):
    can = [
      name
      for name in lookup.names('data')
      if hasattr(lookup.find('data', name), 'prepare')
    ]
    raise configs.ConfigError(
      f'--prepare={args.prepare}: nothing to prepare, or not by us. '
      f'{", ".join(can)} can be.'
    )
  if values or not args.folder:
    raise configs.ConfigError(
      '--prepare needs --from=FOLDER, and takes no --config.KEY.'
    )
  say(entry.prepare(args.folder))


def _inspect(args, values):
  lookup.find('data', args.inspect)
  if args.output.suffix not in _PICTURES:
    raise configs.ConfigError(
      f'--output={args.output}: needs to end in {", ".join(_PICTURES)}.'
    )
  values = {'data.name': args.inspect, **values}
  if why := paths.unwritable(args.output):
    raise configs.ConfigError(f'--output={args.output}: {why}')
  config = points(configs.load(args.config), values)[0].config
  parts = assemble(config)
  check_images(parts)
  found = parts.data.sources
  train, test = found['train'], found['test']
  others = f', {len(found["validation"]):,} held out' if len(found) > 2 else ''
  say(f'{len(train):,} training images{others}, {len(test):,} for evaluation')
  _print_moments(train)
  augmented, evaluated = _augmented(parts), _evaluated(parts)
  halves = {'training, augmented': augmented, 'evaluation': evaluated}
  _sheet.draw(halves, paths.made(args.output))
  say(f'Wrote {args.output}')


def _print_moments(source):
  """Prints the channels' means and deviations, for pixels in [0, 1]."""
  count = min(len(source), _MEASURED)
  numbers = np.linspace(0, len(source) - 1, count).astype(int).tolist()
  sums, pixels = 0, 0
  for number in track(numbers, 'measuring'):
    x_HWC = source[number][0].astype(np.float64) / 255
    sums = sums + np.stack([x_HWC.sum((0, 1)), np.square(x_HWC).sum((0, 1))])
    pixels += x_HWC.shape[0] * x_HWC.shape[1]
  mean_C, square_C = sums / pixels
  std_C = np.sqrt(square_C - np.square(mean_C))
  say(f'of the pixels, 0 to 1, of {count:,} training images:')
  for name, value_C in (('mean', mean_C), ('std', std_C)):
    say(f"  --config.data.{name}='{tuple(value_C.round(4).tolist())}'")


def _augmented(parts):
  """Returns the first training images as the network gets them, with labels."""
  found, names = [], parts.data.spec.class_names
  key = jax.random.key(parts.training.order.seed)
  steps = range(-(-_SHOWN // parts.training.order.batch_size))
  augment = jax.jit(parts.images.augmented)
  for step, batch in zip(steps, list(parts.training.batches(steps))):
    images, targets_NK = augment(inputs_key(key, step), *batch)
    for image, target_K in zip(np.asarray(images), np.asarray(targets_NK)):
      top = np.argsort(-target_K, kind='stable')[:2]
      words = [f'{names[k]} {target_K[k]:.0%}' for k in top]
      mixed = target_K[top[0]] < 1
      found.append((image, '\n'.join(words if mixed else words[:1])))
  return [(image, text.removesuffix(' 100%')) for image, text in found[:_SHOWN]]


def _evaluated(parts):
  """Returns images from across the test split, as evaluation sees them."""
  source, crop = parts.data.source('test'), parts.images.crop()
  count = min(_SHOWN, len(source))
  numbers = np.linspace(0, len(source) - 1, count).astype(int)
  found = [source[number] for number in numbers.tolist()]
  seen = [
    image if isinstance(source, Arrays) else crop(image) for image, _ in found
  ]
  return [(i, source.class_names[label]) for i, (_, label) in zip(seen, found)]


if __name__ == '__main__':
  sys.exit(main())
