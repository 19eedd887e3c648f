"""The data set of a run: what it holds, and its splits, each loaded once."""

import functools
from collections.abc import Callable, Mapping

from bnresearch import data, lookup
from bnresearch.data import Arrays, Source, Spec, synthetic
from bnresearch.knobs import Config

_DRY = 40  # synthetic images of each split of a dry run


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
  ):
    """Loads nothing yet.

    Args:
      group: `config.data`.
      dry_run: whether this is one.
      read_spec: returns the spec, in place of the data set itself.
      sources: splits to take instead of its own, by name.
    """
    self._group, self._dry_run, self._given = group, dry_run, sources or {}
    self._read_spec = read_spec or self._spec_of_entry
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
    return data.held_out(found, split, **part)
