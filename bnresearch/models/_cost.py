"""What a network costs: parameters, multiply-adds, depth, layer by layer."""

import math
from typing import NamedTuple

import flax.linen as nn
import jax
from jax.ad_checkpoint import checkpoint_name

from bnresearch.models._size import images, shapes
from bnresearch.ops import programs

_MARK = 'layer '


class Layer(NamedTuple):
  """A layer with a kernel, and the normalizer inside it.

  Attributes:
    path: the layer's path.
    kernel: the kernel's shape.
    output: the output's shape, without the example axis.
    parameters: their count, including the normalizer's.
    macs: multiply-adds per example.
  """

  path: str
  kernel: tuple[int, ...]
  output: tuple[int, ...]
  parameters: int
  macs: int


class Cost(NamedTuple):
  """What a network costs per image.

  Attributes:
    layers: the layers in call order.
    parameters: their count, including gamma and beta.
    macs: multiply-adds of convolutions and dense layers; nothing else counts.
    depth: layers with kernels on the longest path from image to logits; a loop
      counts one iteration.
  """

  layers: tuple[Layer, ...]
  parameters: int
  macs: int
  depth: int

  @property
  def dense_share(self) -> float:
    """The share of dense layers, logits included, in the parameters."""
    dense = sum(x.parameters for x in self.layers if len(x.kernel) == 2)
    return dense / self.parameters


def measure(model: nn.Module, size: int, channels: int = 3) -> Cost:
  """Measures a network by shapes alone, without running or compiling it.

  Args:
    model: the network. Its auxiliary heads count as parameters and layers, but
      not as multiply-adds or depth, as only training uses them.
    size: height and width of the images, in pixels.
    channels: channels of the images.
  """
  x, variables = images(model, size, channels), shapes(model, size, channels)
  seen = {}

  def mark(layer, args, kwargs, context):
    y = layer(*args, **kwargs)
    module = context.module
    if context.method_name != '__call__':
      return y
    if not isinstance(module, (nn.Conv, nn.Dense)):
      return y
    params = module.variables['params']
    kernel, output = params['kernel'].shape, y.shape[1:]
    positions = math.prod(output[:-1])
    macs = positions * math.prod(kernel)
    path = '/'.join(module.path)
    seen[path] = Layer(path, kernel, output, _size(params), macs)
    return checkpoint_name(y, f'{_MARK}{path}')

  def logits(variables, x):
    with nn.intercept_methods(mark):
      return model.apply(variables, x, train=False)[0]

  program = jax.make_jaxpr(logits)(variables, x).jaxpr
  macs, depth = _follow(_needed(program), seen)
  return Cost(tuple(seen.values()), _size(variables['params']), macs, depth)


def _size(tree):
  return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


def _needed(program):
  """Returns the equations that a program's results depend on."""
  wanted = {id(var) for var in program.outvars}
  kept = []
  for equation in reversed(program.eqns):
    if any(id(var) in wanted for var in equation.outvars):
      kept.append(equation)
      wanted |= {id(var) for var in equation.invars}
  return kept[::-1]


def _follow(equations, layers):
  """Returns the multiply-adds and the depth of a program."""
  macs, depth_of = 0, {}
  for equation in equations:
    depth = max((depth_of.get(id(v), 0) for v in equation.invars), default=0)
    name = str(equation.params.get('name', ''))
    if equation.primitive.name == 'name' and name.startswith(_MARK):
      macs += layers[name.removeprefix(_MARK)].macs
      depth += 1
    for inner in programs.inside(equation):
      inner_macs, inner_depth = _follow(_needed(inner), layers)
      macs += inner_macs * equation.params.get('length', 1)
      depth += inner_depth
    depth_of |= {id(var): depth for var in equation.outvars}
  return macs, max(depth_of.values(), default=0)
