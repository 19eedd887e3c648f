"""The items of `benchmarks.accelerator`, in the order of what they decide."""

from typing import NamedTuple


class Item(NamedTuple):
  """A part of the measurement.

  Attributes:
    name: of the row.
    asks: the question that it answers.
    words: of its command, after `python -m`; {digits} stands for MNIST and
      {clothes} for Fashion-MNIST, or for what is here instead.
    least: seconds that it is expected to need on one GPU, compiling included.
    writes: whether it takes --output, a JSON file.
  """

  name: str
  asks: str
  words: tuple[str, ...]
  least: int
  writes: bool = True


def _sweep(*words):
  return ('benchmarks.sweep', '--data={digits}', *words)


def _networks(contestants):
  return ('benchmarks.networks', f'--contestants={contestants}')


ITEMS = (
  Item(
    'selftest',
    'Does every option of batch norm give here what it gives on a CPU?',
    ('bnresearch.selftest',),
    150,
    writes=False,
  ),
  Item(
    'sweep',
    '32 points: how much faster is the vectorized launcher?',
    _sweep('--steps=2000', '--contestants=vectorized,sequential,torch'),
    150,
  ),
  Item(
    'sweep_486',
    '486 points as one program: how much less does a point take?',
    _sweep('--steps=2000', '--points=486', '--contestants=vectorized'),
    90,
  ),
  Item(
    'bn',
    'BN with ReLU, float32: how far from the bandwidth of a copy?',
    ('benchmarks.norm', '--rounds=10'),
    40,
  ),
  Item(
    'bn_bfloat16',
    'BN with ReLU, bfloat16: how far from the bandwidth of a copy?',
    ('benchmarks.norm', '--rounds=10', '--dtype=bfloat16'),
    40,
  ),
  Item(
    'networks',
    'Networks of ImageNet in bfloat16: how fast does a step train?',
    _networks('bnresearch'),
    180,
  ),
  Item(
    'figure1_points',
    'All points of Figure 1, as published: which launcher is faster?',
    _sweep(
      '--study=figure1',
      '--steps=50000',
      '--contestants=vectorized,sequential,processes',
    ),
    90,
  ),
  Item(
    'networks_torch',
    'The same networks in PyTorch, eager and compiled: who is faster?',
    _networks('torch,torch_compiled'),
    240,
  ),
  Item(
    'figure1',
    "Figure 1's loop: does it wait for the host?",
    ('benchmarks.figure1', '--data={digits}', '--steps=20000'),
    90,
  ),
  Item(
    'input',
    'How many photographs a second can this host crop?',
    ('benchmarks.data', '--rounds=2'),
    60,
  ),
  Item(
    'figure2_small',
    'Figure 2 at the small scale: how long does a seed take?',
    ('benchmarks.inception', '--scale=small'),
    150,
  ),
  Item(
    'figure2_paper',
    'Figure 2 as published, in bfloat16: how long would a seed take?',
    ('benchmarks.inception', '--batch=128', '--dtype=bfloat16'),
    180,
  ),
  Item(
    'largest_batch',
    'Networks of ImageNet in bfloat16: how large a batch fits?',
    _networks('largest'),
    300,
  ),
  Item(
    'folding',
    'Does folding batch norms into kernels pay here?',
    ('benchmarks.folding', '--batch=128', '--size=224'),
    90,
  ),
  Item(
    'figure2_runs',
    'Figure 2 at the small scale, all points of one seed: what comes out?',
    ('experiments.ioffe2015_figure2', '--seeds=1', '--data={clothes}'),
    900,
  ),
)
