"""From LeNet to AlexNet: consecutive convolutions, dropout, augmentation.

Command:  python -m bnresearch.main --config=configs/lenet_to_alexnet.py
Expected: on Fashion-MNIST, 82% test accuracy with none of the three, 74% with
          all; see experiments/lenet_to_alexnet.py.
Time:     about 8 s a point on one core of an AMD EPYC.

After a colon, comma-separated:
  data=fashion_mnist     or mnist, digits, cifar10, ...
  seeds=1                runs seeds 0 ... seeds-1 of each point
  steps=400              of 32 images
  examples=1000          drawn from the training images; few, to overfit

The points are all combinations of the three. The network is AlexNet an eighth
as wide, for small images, as published without BN; where it lacks consecutive
convolutions, it pools after each, as LeNet does.
"""

from configs import default

_NOT_TO_MIRROR = ('digits', 'mnist', 'svhn')  # a mirrored 2 is not a 2


def parts(data: str) -> dict[str, dict]:
  """Returns what AlexNet adds, each as overrides.

  Args:
    data: name of the data set, which may be one not to mirror.
  """
  cropped = {'augment.crop': 'padded', 'augment.padding': 2}
  return {
    'convolutions': {'model.blocks': (1, 1, 3)},
    'dropout': {'model.dropout_rate': 0.5},
    'augmentation': cropped | {'augment.flip': data not in _NOT_TO_MIRROR},
  }


def label(chosen: tuple[str, ...]) -> str:
  """Returns the name of a point, from the parts that it has."""
  return '+'.join(chosen) or 'none'


def get_config(arg: str = ''):
  """Returns the sweep over all combinations, and seeds."""
  chosen = default.parse(
    arg, data='fashion_mnist', seeds=1, steps=400, examples=1000
  )
  config = default.get_config()
  config.data.name = chosen['data']
  config.data.train_examples = chosen['examples']
  config.model.name = 'alexnet'
  config.model.stem = 'small'
  config.model.width = 0.125
  config.model.min_width = 8
  config.norm.name = 'none'
  config.train.steps = chosen['steps']
  config.train.log_every = 50
  config.train.batch_size = 32
  config.optim.name = 'adam'
  config.optim.learning_rate = 0.001
  config.optim.schedule = 'cosine'
  config.eval.every = chosen['steps']
  config.checkpoint.every = chosen['steps']
  every = parts(chosen['data'])
  lenets = {'model.blocks': (1, 1, 1), 'model.dropout_rate': 0.0}
  config.sweep = tuple(
    {'label': label(names), 'seed': seed}
    | lenets
    | {key: value for name in names for key, value in every[name].items()}
    for seed in range(chosen['seeds'])
    for names in _combinations(tuple(every))
  )
  return config


def _combinations(names):
  """Returns all subsets of the names, small ones first."""
  found = [()]
  for name in reversed(names):
    found = [(name, *rest) for rest in found] + found
  return sorted(found, key=len)
