"""Gradient explosion: what BN does to deep networks before the first step.

Claim:    With BN, the gradient at the start of training grows exponentially on
          its way down a deep network, whatever the scale of the weights; with
          ReLU its square grows by pi / (pi - 1) a layer. Nonlinearities that
          are nearly linear make it grow more slowly.
Source:   Yang et al. 2019, A Mean Field Theory of Batch Normalization (arXiv
          1902.08129), for infinite width.
Scale:    as published, but for the width: 40 layers of up to 1,000 units, a
          batch of 256 Gaussian inputs. Nothing is trained.
Room:     norms
Config:   none; nothing is trained.
Command:  python -m experiments.yang2019_explosion
Cost:     about 1 min on two CPU cores.
Result:   experiments/results/yang2019_explosion.{png,svg,json}

The gradient is that of the cross-entropy of random labels by each layer's
pre-activations, after BN. The rate is fitted to the logarithm of its square,
between a fifth and four fifths of the depth. Without BN the kernels are those
of He et al. 2015.
"""

import functools
import math
import pathlib
import sys
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from bnresearch import command, lookup, models
from bnresearch.reports import claims
from bnresearch.runs import provenance
from bnresearch.training import objective
from experiments import _study, _untrained

NOTES = """
With 1,000 units and 256 examples the factor of ReLU is 0.3% below that of
infinitely many. A network of 40 such layers begins with a gradient that is
1,600 times larger at the bottom than at the top; without BN and with He's
kernels it is as large at both.
"""

N, D, K = 256, 100, 10  # examples, inputs, classes
DEPTH, WIDTHS = 40, (30, 100, 300, 1000)
_SIZES = {'small': (DEPTH, WIDTHS), 'ci': (15, WIDTHS)}
RELU = math.pi / (math.pi - 1)
ACTIVATIONS = {'relu': '#2e75b6', 'tanh': '#c0504d', 'sigmoid': '#6a9a3c'}
STDS = (0.01, 1.0)  # of the weights
NEAR = 0.01  # of the published factor


@command.line()
def main(argv: Sequence[str] | None = None) -> int:
  """Measures, draws, judges; returns the exit status."""
  parser = _untrained.parser(
    'yang2019_explosion', __doc__, dry_run='six narrow layers, one seed'
  )
  args = parser.parse_args(argv)
  depth, widths = (6, (8, 16)) if args.dry_run else _SIZES[args.scale]
  found = measure(depth, widths, 1 if args.dry_run else args.seeds)
  judged = judge(found)
  print(claims.text(judged))
  draw(found, args.output)
  claims.write(
    args.output.with_suffix('.json'),
    judged,
    experiment='yang2019_explosion',
    data='Gaussian numbers',
    seeds=args.seeds,
    steps=0,
    scale=args.scale,
    depth=depth,
    examples=N,
    squares={name: rows.tolist() for name, rows in found.items()},
    **provenance.collect(),
  )
  print(f'Wrote {args.output}.png, .svg and .json')
  return 0


def measure(
  depth: int, widths: Sequence[int], seeds: int
) -> dict[str, np.ndarray]:
  """Returns {network: squared gradient norms (seeds, depth), bottom to top}.

  A network is 'relu, batch, std 1, width 1000'; the widest one comes with all
  nonlinearities, without BN, and with small weights.
  """
  networks = [('relu', 'batch', STDS[1], width) for width in widths]
  widest = widths[-1]
  networks += [(name, 'batch', STDS[1], widest) for name in [*ACTIVATIONS][1:]]
  networks += [('relu', 'batch', STDS[0], widest)]
  networks += [('relu', 'none', math.sqrt(2 / widest), widest)]
  found = {}
  for activation, norm, std, width in networks:
    square = _make(activation, norm, std, (width,) * depth)
    rows = [square(jax.random.key(seed)) for seed in range(seeds)]
    found[f'{activation}, {norm}, std {std:.3g}, width {width}'] = np.array(
      rows
    )
  return found


def _make(activation, norm, std, widths):
  """Returns a function of a key to the squares of the gradients (depth,)."""
  make = lookup.find('norms', norm).Norm
  layers = models.Layers(
    norm=lambda path: functools.partial(make, **_options(norm)),
    activation=activation,
    init_std=std,
  )
  model = lookup.find('models', 'mlp').Model(K, layers, features=widths)
  sites = models.order(model, (1, D, 1)).sites

  @jax.jit
  def square(key):
    own, of_x, of_y = jax.random.split(key, 3)
    x_NHWC = jax.random.normal(of_x, (N, 1, D, 1))
    labels_N = jax.random.randint(of_y, (N,), 0, K)
    variables = model.init(own, x_NHWC, train=False)

    def loss(offsets):
      with models.offset(offsets):
        logits_NK, _ = model.apply(variables, x_NHWC, train=True)
      return objective.cross_entropy(logits_NK, labels_N).mean()

    zeros = {s: jnp.zeros((N, C)) for s, C in zip(sites, widths, strict=True)}
    by_tap = jax.grad(loss)(zeros)
    return jnp.stack([jnp.square(by_tap[site]).sum() for site in sites])

  return square


def _options(norm):
  return {'epsilon': 1e-8} if norm == 'batch' else {}


def rates(square_SL: np.ndarray) -> np.ndarray:
  """Returns the factor by which the square grows a layer on its way down, (S,).

  Args:
    square_SL: squared norms, bottom to top, S seeds.
  """
  L = square_SL.shape[1]
  middle = np.arange(L // 5, L - L // 5)
  slopes = np.polyfit(middle, np.log(square_SL[:, middle]).T, 1)[0]
  return np.exp(-slopes)


def judge(found: dict[str, np.ndarray]) -> list[claims.Claim]:
  """Returns the claims, each by seed."""
  rate = {name: rates(rows) for name, rows in found.items()}
  of_relu = [name for name in found if name.startswith('relu, batch, std 1,')]
  widest = of_relu[-1]
  width = widest.rpartition(' ')[2]
  small = next(n for n in found if n.startswith('relu, batch, std 0.01'))
  plain = next(n for n in found if ', none,' in n)
  others = [n for n in found if n.startswith(('tanh', 'sigmoid'))]
  plus_minus = functools.partial(_study.plus_minus, form='.4f')
  setting = f'{found[widest].shape[1]} layers, width {width}'
  return [
    claims.Claim(
      setting,
      'with ReLU the square of the gradient grows by pi / (pi - 1) a layer',
      f'{RELU:.4f}',
      f'{plus_minus(rate[widest])}; without BN {plus_minus(rate[plain])}',
      tuple(bool(abs(r / RELU - 1) <= NEAR) for r in rate[widest]),
    ),
    claims.Claim(
      setting,
      'no scale of the weights changes that',
      'the explosion cannot be tuned away',
      f'{plus_minus(rate[small])} with weights of std {STDS[0]}, '
      f'{plus_minus(rate[widest])} with {STDS[1]:g}',
      tuple(
        bool(abs(s / w - 1) <= NEAR) for s, w in zip(rate[small], rate[widest])
      ),
    ),
    claims.Claim(
      setting,
      'nonlinearities that are nearly linear make it grow more slowly',
      'near the linear regime there is less of it',
      ', '.join(f'{n.partition(",")[0]} {plus_minus(rate[n])}' for n in others),
      tuple(
        bool(relu > tanh > sigmoid > 1)
        for relu, tanh, sigmoid in zip(
          rate[widest], *(rate[name] for name in others), strict=True
        )
      ),
    ),
  ]


def draw(found: dict[str, np.ndarray], output: pathlib.Path) -> None:
  """Writes `output`.png and .svg: gradients by depth, and rates by width."""
  figure, panels = _study.canvas(1, 2, (10, 4))
  left, right = panels[0]
  of_relu = [name for name in found if name.startswith('relu, batch, std 1,')]
  shown = [of_relu[-1], *(n for n in found if n.startswith(('tanh', 'sig')))]
  shown.append(next(n for n in found if ', none,' in n))
  for name in shown:
    activation, norm, *_ = name.split(', ')
    color = ACTIVATIONS[activation] if norm == 'batch' else '0.5'
    of_top = found[name] / found[name][:, -1:]
    label = activation if norm == 'batch' else f'{activation}, without BN'
    for k, row in enumerate(of_top):
      depth = np.arange(1, len(row) + 1)
      left.plot(depth, row, color=color, lw=1, label=None if k else label)
  left.set(
    yscale='log',
    xlabel='layer, from the bottom',
    ylabel='squared gradient / that at the top',
  )
  left.legend(frameon=False)
  widths = [int(name.rpartition(' ')[2]) for name in of_relu]
  for width, name in zip(widths, of_relu):
    rate = rates(found[name])
    right.plot([width] * len(rate), rate, 'o', color=ACTIVATIONS['relu'], ms=4)
  right.axhline(RELU, color='0.4', linestyle='--', linewidth=1)
  right.annotate(
    'pi / (pi - 1)',
    (widths[0], RELU),
    xytext=(0, 4),
    textcoords='offset points',
  )
  right.set(
    xscale='log', xlabel='width', ylabel='factor a layer, ReLU', xticks=widths
  )
  right.set_xticks(widths, [f'{width:,}' for width in widths])
  right.minorticks_off()
  figure.suptitle(
    'Yang et al. 2019: the gradient by pre-activations before training, with BN'
  )
  _study.save(figure, output)


if __name__ == '__main__':
  sys.exit(main())
