"""PyTorch's part in `benchmarks.folding`: the same networks, with BN and fused.

They follow torchvision, and have as many parameters.
"""

import functools
from collections.abc import Callable

import numpy as np

from bnresearch.models import mobilenet_v2, resnet
from bnresearch.zoo import published


def calls(
  name: str, x_NHWC: np.ndarray, cores: int
) -> dict[str, Callable[[], object]]:
  """Returns calls of a network in evaluation, by contestant.

  Returns {} if PyTorch is not installed.

  Args:
    name: a ResNet or MobileNetV2 of `bnresearch.zoo`.
    x_NHWC: images.
    cores: PyTorch's threads.
  """
  try:
    import torch
    from torch.nn.utils import fusion
  except ImportError:
    return {}
  torch.set_num_threads(cores)
  make = _mobilenet_v2 if name == 'mobilenet_v2' else _resnet
  model = make(torch, name).eval()
  parameters = sum(p.numel() for p in model.parameters())
  if parameters != (known := published(name).parameters):
    raise ValueError(
      f'{name} has {known:,} parameters, this one {parameters:,}'
    )
  last = {'memory_format': torch.channels_last}
  x_NCHW = torch.from_numpy(x_NHWC).permute(0, 3, 1, 2).contiguous(**last)

  def call(model):
    model = model.to(**last)

    def play():
      with torch.inference_mode():
        return model(x_NCHW)

    return play

  found = {'PyTorch': call(model)}
  fused = make(torch, name).eval()
  for module in fused.modules():
    if isinstance(module, torch.nn.Sequential) and len(module) > 1:
      conv, norm = module[0], module[1]
      if isinstance(norm, torch.nn.BatchNorm2d):
        module[0] = fusion.fuse_conv_bn_eval(conv, norm)
        module[1] = torch.nn.Identity()
  return found | {'PyTorch, fused': call(fused)}


def _layer(torch, inputs, features, window=1, strides=1, groups=1, last=None):
  """Returns a convolution, BN, and the module `last` if given."""
  return torch.nn.Sequential(
    torch.nn.Conv2d(
      inputs,
      features,
      window,
      strides,
      window // 2,
      groups=groups,
      bias=False,
    ),
    torch.nn.BatchNorm2d(features),
    *([last] if last else []),
  )


def _sum(torch, branch, shortcut, last):
  """Returns a module that adds branch and shortcut, then applies `last`."""

  class Sum(torch.nn.Module):
    def __init__(self):
      super().__init__()
      self.branch, self.shortcut, self.last = branch, shortcut, last

    def forward(self, x):
      return self.last(self.branch(x) + self.shortcut(x))

  return Sum()


def _network(torch, layers, features):
  """Returns the layers, then the average over positions, then logits."""
  return torch.nn.Sequential(
    torch.nn.Sequential(*layers),
    torch.nn.AdaptiveAvgPool2d(1),
    torch.nn.Flatten(),
    torch.nn.Linear(features, 1000),
  )


def _resnet(torch, name):
  blocks, bottleneck = resnet.VARIANTS[name.removeprefix('resnet_')]
  layer, relu = functools.partial(_layer, torch), torch.nn.ReLU(inplace=True)
  layers = [layer(3, 64, 7, 2, last=relu), torch.nn.MaxPool2d(3, 2, 1)]
  inputs = 64
  for stage, count in enumerate(blocks):
    for block in range(count):
      strides = 2 if stage and not block else 1
      C = 64 * 2**stage
      wide = 4 * C if bottleneck else C
      if bottleneck:
        branch = (
          layer(inputs, C, last=relu),
          layer(C, C, 3, strides, last=relu),
          layer(C, wide),
        )
      else:
        branch = layer(inputs, C, 3, strides, last=relu), layer(C, C, 3)
      same = inputs == wide and strides == 1
      shortcut = (
        torch.nn.Identity() if same else layer(inputs, wide, 1, strides)
      )
      branch = torch.nn.Sequential(*branch)
      layers.append(_sum(torch, branch, shortcut, relu))
      inputs = wide
  return _network(torch, layers, inputs)


def _mobilenet_v2(torch, name):
  layer, relu = functools.partial(_layer, torch), torch.nn.ReLU6(inplace=True)
  layers, inputs = [layer(3, 32, 3, 2, last=relu)], 32
  for expansion, C, count, strides in mobilenet_v2.STAGES:
    for block in range(count):
      first, wide = strides if not block else 1, expansion * inputs
      branch = torch.nn.Sequential(
        *([layer(inputs, wide, last=relu)] if expansion > 1 else []),
        layer(wide, wide, 3, first, groups=wide, last=relu),
        layer(wide, C),
      )
      if first == 1 and inputs == C:
        same = torch.nn.Identity()
        branch = _sum(torch, branch, same, torch.nn.Identity())
      layers.append(branch)
      inputs = C
  layers.append(layer(inputs, 1280, last=relu))
  return _network(torch, layers, 1280)
