"""A config's parts: the only place that turns its names into things.

The options of a room's entry get their values from the knobs of its group by
name, so a new file needs no line here. Training and evaluation get objects and
numbers from here.
"""

from collections.abc import Mapping

from bnresearch.assembly.data_set import DataSet
from bnresearch.assembly.evaluation import Evaluation
from bnresearch.assembly.images import Images
from bnresearch.assembly.network import Network
from bnresearch.assembly.training import Training
from bnresearch.data import Arrays
from bnresearch.knobs import Config


def assemble(
  config: Config,
  like: 'Parts | None' = None,
  sources: Mapping[str, Arrays] | None = None,
) -> 'Parts':
  """Returns the parts of a run.

  Args:
    config: complete.
    like: parts of another config, whose data set is shared if it is the same.
    sources: {split: images} in place of those of `config.data`.
  """
  if like and not sources and like.data.is_of(config):
    return Parts(config, like.data)
  data = DataSet(config.data, dry_run=config.dry_run, sources=sources)
  return Parts(config, data)


class Parts:
  """What a run is made of; each part is made once, when first asked for.

  Attributes:
    config: the run's.
    data: its data set.
    images: how images become the network's input.
    network: the network, for training and for evaluation.
    training: how it is trained.
    evaluation: how it is evaluated, and how its statistics are estimated.
  """

  def __init__(self, config: Config, data: DataSet):
    self.config, self.data = config, data
    self.images = Images(config, data)
    self.network = Network(config, data)
    self.training = Training(config, data, self.images, self.network)
    self.evaluation = Evaluation(
      config, data, self.images, self.network, self.training
    )
