"""Evaluates several runs as an ensemble on a whole split.

import bnresearch as bnr

runs = [bnr.open_run(path) for path in paths]
networks = [(run, run.restore()) for run in runs]
found = bnr.evaluate_together(networks, crop_count=10)
found.ensemble.top1, [alone.top1 for alone in found.members]
found.ensemble.reliability.error  # the expected calibration error

As in Ioffe & Szegedy 2015, section 4.2.3 and Figure 4, it averages
probabilities, not logits: over the crops of each network, then over networks.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from bnresearch.evaluation.scores import Scores, Summary
from bnresearch.inference.predict import Network, of_networks
from bnresearch.runs import config_file
from bnresearch.runs.run_directory import Refused

_CHUNK = 2048  # examples whose probabilities are in memory at a time

Keep = Callable[[np.ndarray, np.ndarray], None]


class EnsembleScores(NamedTuple):
  """The scores of an ensemble and its members.

  Attributes:
    members: scores of each network alone, in the given order.
    ensemble: scores of their mean.
  """

  members: tuple[Summary, ...]
  ensemble: Summary


def evaluate_together(
  networks: Sequence[Network],
  crop_count: int = 1,
  split: str = 'test',
  *,
  progress: Callable[[Iterable], Iterable] = iter,
  keep: Keep | None = None,
) -> EnsembleScores:
  """Evaluates networks and their ensemble on a whole split, exactly.

  The networks may have any architectures and image sizes. Only some images and
  probabilities are in memory at a time. The ensemble does not depend on the
  order of the networks, bit for bit, and the ensemble of one is that network.

  Args:
    networks: M pairs of a run and its state, from `run.restore`. The state's
      statistics normalize; `run.with_statistics` sets others.
    crop_count: 1, each run's own; 10 or 144, see `Images.crop`.
    split: 'train', 'validation' or 'test'.
    progress: wraps the examples, to show progress.
    keep: called with the ensemble's probabilities (N, K) and the labels (N,) of
      successive chunks of examples.

  Raises:
    Refused: the runs differ in classes or examples, or one has probabilities
      that are not finite; the message names the run and the fault.
    ValueError: there is no network, or a run cannot make so many crops.
  """
  if not networks:
    raise ValueError('networks = []: needs at least one (run, state).')
  sources = [run.source(split) for run, _ in networks]
  _compare(networks, sources)
  K = len(sources[0].class_names)
  alone, ensemble = [Scores(K) for _ in networks], Scores(K)
  examples = iter(progress(_examples(networks, sources, crop_count)))
  while chunk := list(itertools.islice(examples, _CHUNK)):
    labels_N = np.asarray([label for _, label in chunk])
    members_MNK = np.stack([found_MK for found_MK, _ in chunk], axis=1)
    _check_finite(networks, members_MNK)
    mean_NK = _mean(members_MNK)
    for scores, found_NK in zip(alone, members_MNK):
      scores.add(found_NK, labels_N)
    ensemble.add(mean_NK, labels_N)
    if keep:
      keep(mean_NK, labels_N)
  found = EnsembleScores(tuple(s.result() for s in alone), ensemble.result())
  count, N = found.ensemble.examples, len(sources[0])
  assert count == N, f'{count} of {N}'
  return found


def _mean(members_MNK):
  """Returns the mean of the members; sorts first, as sums depend on order."""
  mean_NK = np.sort(members_MNK, axis=0).mean(axis=0, dtype=np.float64)
  return mean_NK.astype(members_MNK.dtype)


def _examples(networks, sources, crop_count) -> Iterator[tuple]:
  """Yields (probabilities (M, K), label) of each example."""
  alike = {}
  for m, (run, _) in enumerate(networks):
    alike.setdefault(_sight(run.config), []).append(m)
  groups = list(alike.values())
  made = []
  for group in groups:
    config, source = networks[group[0]][0].config, sources[group[0]]
    made.append(
      of_networks(
        [networks[m] for m in group],
        source,
        networks[group[0]][0].parts.images.crop(crop_count),
        crop_count,
        min(_at_a_time(config), len(source) * crop_count),
      )
    )
  back = np.argsort(np.concatenate(groups))
  for n, found in enumerate(zip(*made, strict=True)):
    labels = [label for _, label in found]
    for group, label in zip(groups, labels):
      if label != labels[0]:
        raise Refused(
          f'{networks[group[0]][0].path}: its example {n} has label {label}, '
          f'that of {networks[0][0].path} has label {labels[0]}. The runs of '
          'an ensemble need the same examples in the same order.'
        )
    yield np.concatenate([found_MK for found_MK, _ in found])[back], labels[0]


def _sight(config):
  """Returns what determines a network's images, and how many it gets at a time.

  Networks with the same value share reading and cropping.
  """
  trained, how = config.augment, config.eval
  return (
    config_file.to_json(config.data),
    (trained.crop, trained.padding, trained.flip),
    (how.crop, how.crop_fraction, _at_a_time(config)),
  )


def _at_a_time(config):
  """Returns how many crops a network gets at a time: those of a microbatch."""
  return -(-config.eval.batch_size // config.train.microbatches)


def _compare(networks, sources):
  """Raises Refused if a run's classes or examples differ from the first's.

  Labels are compared later, as they come.
  """
  first, path = sources[0], networks[0][0].path
  for (run, _), source in zip(networks, sources):
    if source.class_names != first.class_names:
      what = _first_difference(source.class_names, first.class_names)
    elif len(source) != len(first):
      what = f'it has {len(source):,} examples, not {len(first):,}'
    elif source.notes.get('digest') != first.notes.get('digest'):
      what = 'its images are not the same files'
    else:
      continue
    raise Refused(
      f'{run.path}: {what} as {path}. The runs of an ensemble need the same '
      'classes and examples in the same order.'
    )


def _first_difference(names, others):
  if len(names) != len(others):
    return f'it has {len(names)} classes, not {len(others)}'
  k = next(k for k, name in enumerate(names) if name != others[k])
  return f'its class {k} is {names[k]!r}, not {others[k]!r}'


def _check_finite(networks, members_MNK):
  for (run, state), found_NK in zip(networks, members_MNK):
    if not np.isfinite(found_NK).all():
      raise Refused(
        f'{run.path}: at step {int(state.step)}, its probabilities are not '
        'finite, as the network has diverged. Leave it out, or take another '
        'step.'
      )
