"""The data set of a run: what it holds, and its splits, each loaded once."""

import functools
import math
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp

from bnresearch import data, lookup
from bnresearch.data import Arrays, Source, Spec, _whitening, synthetic
from bnresearch.data._whitening import Whitening
from bnresearch.knobs import Config

_DRY = 40  # synthetic images of each split of a dry run
_FITTED = 10_000  # images that are converted at once


class DataSet:
  """The data set of `config.data`, or synthetic images like it in a dry run.

  Attributes:
    splits: the names of a run's splits.
    chooses: the split whose highest accuracy chooses the best checkpoint.
  """

  def __init__(
    self,
    group: Config,
    *,
    dry_run: bool = False,
    read_spec: Callable[[], Spec] | None = None,
    sources: Mapping[str, Arrays] | None = None,
    check: Callable[[str, Source], None] = lambda split, source: None,
  ):
    """Loads nothing yet.

    Args:
      group: `config.data`.
      dry_run: whether this is one.
      read_spec: returns the spec, in place of the data set itself.
      sources: splits to take instead of its own, by name.
      check: gets each split that is loaded, and raises what is wrong with it.
    """
    self._group, self._dry_run, self._given = group, dry_run, sources or {}
    self._read_spec, self._check = read_spec or self._spec_of_entry, check
    self._load = functools.cache(self._load_split)
    self.splits = data.splits(group.held_out)
    self.chooses = data.choosing_split(group.held_out)

  def is_of(self, config: Config) -> bool:
    """Says whether it is the data set of a config."""
    return (self._group, self._dry_run) == (config.data, config.dry_run)

  @functools.cached_property
  def spec(self) -> Spec:
    """The shape of the network's images, and the classes that it tells apart.

    A dry run needs no data: where there is none, it has ten classes.

    Raises:
      MissingData, DamagedData: the spec needs the data itself, which is absent
        or damaged.
    """
    return self._read_spec()

  def source(self, split: str) -> Source:
    """Returns one of `splits`.

    Raises:
      ValueError: there is no such split.
      MissingData: its files are not here.
    """
    if split not in self.splits:
      known = ', '.join(self.splits)
      raise ValueError(f'split = {split!r}: needs one of {known}.')
    return self._load(split)

  @property
  def sources(self) -> dict[str, Source]:
    """All splits by name."""
    return {split: self.source(split) for split in self.splits}

  @functools.cached_property
  def whitening(self) -> Whitening | None:
    """What whitens the network's inputs, fitted to the training split.

    None if `data.whitening` is 'none'.

    Raises:
      ValueError: the images are too large, or not in memory.
      MissingData: the training split is not here.
    """
    own = self._group
    if own.whitening == 'none':
      return None
    source, why = self.source('train'), ''
    if not isinstance(source, Arrays):
      why = f'those of data.name = {own.name!r} are not in memory, of one size'
    elif (D := math.prod(source.images_NHWC.shape[1:])) > _whitening.MOST:
      why = f'these have {D:,}'
    if why:
      raise ValueError(
        f'data.whitening = {own.whitening!r}: needs images of at most '
        f"{_whitening.MOST:,} values, and {why}. Use 'none'."
      )
    options = lookup.keywords(data.pixels, own)
    images = source.images_NHWC
    with jax.ensure_compile_time_eval():  # also where a step is traced
      parts = (
        data.pixels(jnp.asarray(images[k : k + _FITTED]), **options)
        for k in range(0, len(images), _FITTED)
      )
      return _whitening.fit(parts, own.whitening, own.whitening_epsilon)

  def _spec_of_entry(self):
    for source in self._given.values():
      return Spec(source.images_NHWC.shape[1:], source.class_names)
    entry = lookup.find('data', self._group.name)
    try:
      return entry.spec(**lookup.keywords(entry.spec, self._group))
    except data.MissingData:
      if not self._dry_run:
        raise
      size = self._group.image_size
      return Spec((size, size, 3), tuple('0123456789'))

  def _load_split(self, split):
    if split in self._given:
      return self._given[split]
    stored = 'test' if split == 'test' else 'train'
    if self._dry_run:
      found = synthetic.like(self.spec, stored, _DRY)
    else:
      load = lookup.find('data', self._group.name).load
      found = load(stored, **lookup.keywords(load, self._group))
    part = lookup.keywords(data.held_out, self._group)
    result = data.held_out(found, split, **part)
    self._check(split, result)
    return result
