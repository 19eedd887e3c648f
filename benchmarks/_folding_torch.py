"""PyTorch's part in `benchmarks.folding`: networks, with BN and fused."""

from collections.abc import Callable

import numpy as np

from benchmarks import _networks_torch


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
  model = _networks_torch.network(name).eval()
  last = {'memory_format': torch.channels_last}
  x_NCHW = torch.from_numpy(x_NHWC).permute(0, 3, 1, 2).contiguous(**last)

  def call(model):
    model = model.to(**last)

    def play():
      with torch.inference_mode():
        return model(x_NCHW)

    return play

  found = {'PyTorch': call(model)}
  fused = _networks_torch.network(name).eval()
  for module in fused.modules():
    if isinstance(module, torch.nn.Sequential) and len(module) > 1:
      conv, norm = module[0], module[1]
      if isinstance(norm, torch.nn.BatchNorm2d):
        module[0] = fusion.fuse_conv_bn_eval(conv, norm)
        module[1] = torch.nn.Identity()
  return found | {'PyTorch, fused': call(fused)}
