"""Auxiliary heads: none, all losses added, or one head after the other.

Claim:    Auxiliary heads help a deep network to learn. A network with BN needs
          them less.
Source:   Szegedy et al. 2014, section 5 (arXiv 1409.4842: adding 0.3 of each
          head's loss has a minor effect, about 0.5%. Ioffe & Szegedy 2015,
          arXiv 1502.03167, mention no heads).
Scale:    Fashion-MNIST at 28 pixels, an eighth of the width, 3,000 steps.
          The published network is GoogLeNet on ImageNet.
Room:     models
Config:   configs/inception.py:study=auxiliary,steps=3000,seeds=3
Command:  python -m experiments.auxiliary_heads --seeds=3
Cost:     half an hour for the 18 runs of three seeds, on two cores of an AMD
          EPYC.
Result:   experiments/results/auxiliary_heads_*.{png,svg,json}

Inception is trained for `--steps`, BN-x5 for a third of them, as in Figure 2.
Training the heads in turn is another way to use them: each step makes three
passes over its batch, each through the whole network, and three updates.
Accuracy is measured after the last step.
"""

import sys
from collections.abc import Sequence

from bnresearch import command
from bnresearch.reports import claims
from experiments import _inception, _study
from experiments._inception import CURVES

NOTES = """
Auxiliary heads do not reliably help either network. With all three losses
added, one of three Inceptions stays at chance.
"""

_WAYS = {
  'none': 'none',
  'total': 'total loss',
  'alternating': 'in turn',
}


@command.line()
def main(argv: Sequence[str] | None = None) -> int:
  """Runs or reuses the runs, draws, judges; returns the exit status."""
  args = _inception.parse('auxiliary_heads', __doc__, argv, steps=3000)
  return _inception.conduct_both(args, 'auxiliary', judge, draw)


table = _inception.variants


def judge(found: _inception.Accuracies) -> list[claims.Claim]:
  """Returns whether heads help, and help a network with BN less."""
  result = []
  for way in ('total', 'alternating'):
    gained = {
      network: by_way[way] - by_way['none'] for network, by_way in found.items()
    }
    points = {
      network: f'{_study.plus_minus(100 * gained_R, "+.2f")} points'
      for network, gained_R in gained.items()
    }
    result += [
      claims.Claim(
        f'heads, {_WAYS[way]}',
        'Inception has a higher accuracy than without',
        'no number; GoogLeNet with 0.3 of each loss: about 0.5 points',
        points['inception'],
        tuple((gained['inception'] > 0).tolist()),
      ),
      claims.Claim(
        f'heads, {_WAYS[way]}',
        'BN-x5 gains less than Inception',
        'no number',
        f'{points["bn_x5"]}, Inception {points["inception"]}',
        tuple((gained['bn_x5'] < gained['inception']).tolist()),
      ),
    ]
  return result


def draw(found: _inception.Accuracies, args) -> None:
  """Writes the accuracies as bars, with a dot for each seed."""
  figure, panels = _study.canvas(1, len(found), (7, 3.4), sharey=True)
  for panel, (network, by_way) in zip(panels[0], found.items()):
    for x, values in enumerate(by_way.values()):
      panel.bar(x, values.mean(), 0.6, color=CURVES[network].color, alpha=0.7)
      panel.plot([x] * len(values), values, 'k.', markersize=5)
    panel.set_xticks(range(len(by_way)), [_WAYS[way] for way in by_way])
    panel.set(title=CURVES[network].title, xlabel='auxiliary heads')
    panel.yaxis.set_major_formatter(lambda y, _: f'{y:.0%}')
  panels[0, 0].set(ylabel='test accuracy')
  figure.suptitle(
    f'Auxiliary heads, {args.data}, scale {args.scale} '
    f'({_study.seeds(args.seeds)})'
  )
  _study.save(figure, args.output)


if __name__ == '__main__':
  sys.exit(main())
