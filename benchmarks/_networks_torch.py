"""Networks in PyTorch, for benchmarks beside it, with the published parameters.

ResNets and MobileNetV2 follow torchvision; Inception V2 follows Figure 5 of its
paper, with the padding of `same` windows on both sides.
"""

import functools
from typing import Any

from bnresearch import lookup
from bnresearch.models import inception_v2, mobilenet_v2, resnet
from bnresearch.zoo import published


def network(name: str) -> Any:
  """Returns a torch.nn.Module by its name in `bnresearch.zoo`.

  Args:
    name: a ResNet, MobileNetV2 or Inception V2.

  Raises:
    ImportError: PyTorch is not installed.
    lookup.Unknown: it is not written in PyTorch here.
    ValueError: it has other parameters than published.
  """
  import torch

  makes = {f'resnet_{variant}': _resnet for variant in resnet.VARIANTS}
  makes |= {'mobilenet_v2': _mobilenet_v2, 'inception_v2': _inception_v2}
  if name not in makes:
    raise lookup.Unknown(f'{name} is not written in PyTorch here')
  result = makes[name](torch, name)
  parameters = sum(p.numel() for p in result.parameters())
  if parameters != (known := published(name).parameters):
    raise ValueError(
      f'{name} has {known:,} parameters, this one {parameters:,}'
    )
  return result


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


def _inception_v2(torch, name):
  layer = functools.partial(_layer, torch)
  relu = torch.nn.ReLU(inplace=True)
  layers = [
    torch.nn.Conv2d(3, 24, 7, 2, 3, groups=3, bias=False),
    layer(24, 64, last=relu),
    torch.nn.MaxPool2d(3, 2, 1),
    layer(64, 64, last=relu),
    layer(64, 192, 3, last=relu),
    torch.nn.MaxPool2d(3, 2, 1),
  ]
  inputs = 192
  for row in inception_v2.ROWS.values():
    one, reduce, three, double_reduce, double, kind, projection = row
    strides = 1 if one else 2
    pool = torch.nn.MaxPool2d if kind == 'max' else torch.nn.AvgPool2d
    branches = [
      [
        layer(inputs, reduce, last=relu),
        layer(reduce, three, 3, strides, last=relu),
      ],
      [
        layer(inputs, double_reduce, last=relu),
        layer(double_reduce, double, 3, last=relu),
        layer(double, double, 3, strides, last=relu),
      ],
      [pool(3, strides, 1)],
    ]
    if one:
      branches.append([layer(inputs, one, last=relu)])
      branches[2].append(layer(inputs, projection, last=relu))
    layers.append(_beside(torch, branches))
    inputs = one + three + double + (projection or inputs)
  return _network(torch, layers, inputs)


def _beside(torch, branches):
  """Returns a module that concatenates the channels of its branches."""

  class Beside(torch.nn.Module):
    def __init__(self):
      super().__init__()
      self.branches = torch.nn.ModuleList(
        torch.nn.Sequential(*branch) for branch in branches
      )

    def forward(self, x):
      return torch.cat([branch(x) for branch in self.branches], 1)

  return Beside()
