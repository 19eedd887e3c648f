"""Networks of torchvision and timm, answering in a Python of their own.

  python tests/torchvision_network.py torchvision resnet18 224 FOLDER
  python tests/torchvision_network.py facts resnet18 vgg16

The first leaves in FOLDER `weights.pth`, with random weights, and
`logits.npz`: images NHWC, and their logits under running statistics, 'False',
and under those of the batch, 'True', in float64. The second prints as JSON what
torchvision states of its networks, and the shapes of their variables. Nothing
is downloaded, and nothing of this project is imported.
"""

import json
import math
import pathlib
import sys

import numpy as np
import torch

_UNUSED = {  # initial weights that take long to draw
  'googlenet': {'init_weights': False},
  'inception_v3': {'init_weights': False},
}


def main(library, *args):
  """Does what the module's docstring says."""
  if library == 'facts':
    print(json.dumps({name: facts(name) for name in args}))
    return
  name, size, folder = args
  network = made(library, name)
  shake(network)
  folder = pathlib.Path(folder)
  torch.save(network.state_dict(), folder / 'weights.pth')
  x_NHWC = np.random.RandomState(1).normal(0.3, 1, (2, int(size), int(size), 3))
  x_NHWC = x_NHWC.astype(np.float32)
  x_NCHW = torch.from_numpy(x_NHWC.transpose(0, 3, 1, 2).copy()).double()
  logits = {}
  for train in (False, True):
    network.double().train(train)
    with torch.no_grad():
      found = network(x_NCHW)
    # In training, networks with auxiliary heads return their logits too.
    logits[str(train)] = getattr(found, 'logits', found).numpy()
  np.savez(folder / 'logits.npz', x_NHWC=x_NHWC, **logits)


def made(library, name):
  """Returns a network without dropout."""
  if library == 'timm':
    import timm

    network = timm.create_model(name)
  else:
    import torchvision

    make = torchvision.models.get_model_builder(name)
    network = make(weights=None, **_UNUSED.get(name, {}))
  for module in network.modules():
    if isinstance(module, torch.nn.Dropout):
      module.p = 0.0
  return network


def shake(network):
  """Gives every variable a value that it nowhere begins with."""
  random = np.random.RandomState(0)
  for module in network.modules():
    norm = isinstance(module, torch.nn.BatchNorm2d)
    for name, value in module.state_dict(keep_vars=True).items():
      if '.' in name or name == 'num_batches_tracked':
        continue
      if norm and name in ('weight', 'running_var'):
        new = random.uniform(0.5, 1.5, value.shape)
      elif value.ndim > 1:
        std = math.sqrt(2 / math.prod(value.shape[1:]))
        new = random.normal(0, std, value.shape)
      else:
        new = random.normal(0, 0.1, value.shape)
      value.data.copy_(torch.from_numpy(new))


def facts(name):
  """Returns what the metadata of its first weights says, and its variables."""
  import torchvision

  weights = torchvision.models.get_model_weights(name).IMAGENET1K_V1.meta
  with torch.device('meta'):
    state = made('torchvision', name).state_dict()
  return {
    'parameters': weights['num_params'],
    'gmacs': weights['_ops'],
    **weights['_metrics']['ImageNet-1K'],
    'shapes': {key: [*value.shape] for key, value in state.items()},
  }


if __name__ == '__main__':
  main(*sys.argv[1:])
