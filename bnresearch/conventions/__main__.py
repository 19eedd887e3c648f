"""The command line: `python -m bnresearch.conventions`."""

import sys
from collections.abc import Sequence

from rich import box
from rich.table import Table

from bnresearch import command, conventions
from bnresearch.conventions import dropout
from bnresearch.conventions.frameworks import FRAMEWORKS, Framework, find
from bnresearch.terminal import Console, say

_EXAMPLES = """
what each framework's parameters mean, and their defaults
  python -m bnresearch.conventions
a PyTorch layer in flax; its running variance too, of batches of 60 values
  python -m bnresearch.conventions --from=pytorch --to=flax --momentum=0.1
  python -m bnresearch.conventions --from=pytorch --to=flax --var=1.0 --count=60
the same after 10 updates only, so that the initial variance 1 still counts
  python -m bnresearch.conventions --from=pytorch --to=flax --var=1.0 \\
      --count=60 --steps=10
dropout: TF-Slim's keep_prob as a rate; a rate as keep_prob
  python -m bnresearch.conventions --keep-prob=0.8
  python -m bnresearch.conventions --dropout-rate=0.2
"""

_DEBIASED = {
  'no': 'not debiased',
  'yes': 'debiased',
  'mean': 'debiased but for the initial variance 1',
}


@command.line(ValueError)
def main(argv: Sequence[str] | None = None) -> int:
  """Prints the table or a conversion; returns 2 for wrong use, else 0."""
  args = _parser().parse_args(argv)
  keep_prob, rate = args.keep_prob, args.dropout_rate
  if keep_prob is not None or rate is not None:
    _print_dropout(args)
  elif any(value is not None for value in vars(args).values()):
    _print_conversion(args)
  else:
    _print_table(Console())
  return 0


def _parser():
  text = (
    'Shows, and converts, the conventions of batch normalization and dropout.'
  )
  parser = command.parser('conventions', text, _EXAMPLES)
  names = ', '.join(FRAMEWORKS)
  add = parser.add_argument
  add('--from', metavar='NAME', dest='source', help=f'one of {names}')
  add('--to', metavar='NAME', dest='target', help='likewise')
  add(
    '--momentum',
    type=float,
    help='of the running average, as --from means it; its default if absent',
  )
  add('--epsilon', type=float, help='default: that of --from')
  add('--var', type=float, help='running variance of a channel')
  add('--mean', type=float, help='running mean of a channel')
  add(
    '--count',
    type=int,
    help='values per channel of each batch: N * H * W, or N; for --var',
  )
  add(
    '--steps',
    type=int,
    help='updates made; default: enough to forget the initial statistics',
  )
  add('--keep-prob', type=float, help='of dropout, alone: what is kept')
  add('--dropout-rate', type=float, help='of dropout, alone: what is zeroed')
  return parser


def _print_dropout(args):
  if sum(value is not None for value in vars(args).values()) > 1:
    raise ValueError(
      '--keep-prob and --dropout-rate each stand alone: they have nothing to '
      'do with a running average.'
    )
  if args.keep_prob is None:
    keep_prob, rate = dropout.keep_prob_of(args.dropout_rate), args.dropout_rate
  else:
    keep_prob, rate = args.keep_prob, dropout.rate_of(args.keep_prob)
  say(f'TF-Slim, TensorFlow 1: keep_prob={keep_prob:.12g}')
  say(f'PyTorch: p={rate:.12g}; Keras, flax: rate={rate:.12g}')
  say(f'knob of bnresearch: --config.model.dropout_rate={rate:.12g}')


def _print_table(console):
  table = Table(
    *('framework', 'parameter', 'default', 'weighs', 'epsilon'),
    *('running variance', 'debiased'),
    box=box.SIMPLE,
    padding=0,  # to fit into 80 columns
  )
  for name, f in FRAMEWORKS.items():
    default = 'none' if f.default is None else f'{f.default:g}'
    meaning = f.parameter, default, f.weighs, f'{f.epsilon:g}'
    table.add_row(name, *meaning, f.running_variance, f.debias)
  console.print(table)
  for name, f in FRAMEWORKS.items():
    console.print(f'{name}: {f.layer}. {f.remark}')
  console.print(
    '\nweighs: the value, old or new, whose weight the parameter is. debiased: '
    'whether the initial mean 0 and variance 1 are left out; mean: of the mean '
    'only. tests/test_conventions.py compares each row with the layer itself.'
  )


def _print_conversion(args):
  if args.source is None or args.target is None:
    flag = '--from' if args.source is None else '--to'
    raise ValueError(
      f'{flag} is missing: a conversion needs --from=NAME and --to=NAME of '
      f'{", ".join(FRAMEWORKS)}.'
    )
  source, target = find(args.source), find(args.target)
  if args.target == 'bnresearch':
    # Its conventions are knobs; it lacks only Equinox's debiasing.
    target = target._replace(
      running_variance=source.running_variance,
      debias='no' if source.debias == 'no' else 'yes',
    )
  momentum = source.default if args.momentum is None else args.momentum
  if momentum is None:
    raise ValueError(
      f'--momentum is missing: {source.layer} has no default for '
      f'{source.parameter}.'
    )
  epsilon = source.epsilon if args.epsilon is None else args.epsilon
  old = conventions.Values(momentum, epsilon, args.var, args.mean)
  new = conventions.convert(old, source, target, args.count, args.steps)
  ours = FRAMEWORKS['bnresearch']
  settings = conventions.Values(momentum, epsilon)
  knobs = conventions.convert(settings, source, ours)
  say(f'{args.source}: {_text(source, old)}')
  say(f'{args.target}: {_text(target, new)}')
  say(
    f'knobs of bnresearch that do as {args.source}: '
    f'--config.norm.momentum={knobs.momentum:.12g} '
    f'--config.norm.epsilon={knobs.epsilon:.12g} '
    f'--config.norm.running_variance={source.running_variance} '
    f'--config.norm.debias={source.debias != "no"}'
    + f", but for {args.source}'s initial variance 1"
    * (source.debias == 'mean')
  )
  half, most = (conventions.forgotten(knobs.momentum, s) for s in (0.5, 0.01))
  say(f'half-life {half:,.1f} updates; 99% forgotten after {most:,.0f}')


def _text(framework: Framework, values: conventions.Values) -> str:
  """Returns a layer's settings, statistics and conventions as text."""
  fields = {
    framework.parameter: values.momentum,
    framework.epsilon_parameter: values.epsilon,
    'running mean': values.mean,
    'running variance': values.var,
  }
  shown = [f'{k}={v:.12g}' for k, v in fields.items() if v is not None]
  return (
    f'{", ".join(shown)} ({framework.parameter} weighs the {framework.weighs} '
    f'value, running variance {framework.running_variance}, '
    f'{_DEBIASED[framework.debias]})'
  )


if __name__ == '__main__':
  sys.exit(main())
