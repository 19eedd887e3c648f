"""ResNets of torchvision and Keras; we count from 1, torchvision from 0."""

from bnresearch.models import resnet
from bnresearch.pretrained import Names, SourceLayer

# The shape of its kernel shows a small stem.
_STEM = {'model.stem': ('paper', 'small')}
OPTIONS = {
  'torchvision': {**_STEM, 'model.version': 'v1.5'},
  'keras': {
    **_STEM,
    'model.version': ('v1', 'v2'),
    'model.strides_at': lambda model: (
      'last' if model.version == 'v2' else 'first'
    ),
    'norm.epsilon': 1.001e-5,
  },
}


def torchvision(model: resnet.Model) -> Names:
  """Returns torchvision's names of `resnet18` to `resnet152`."""
  names = {'stem': SourceLayer('conv1', 'bn1'), 'logits': SourceLayer('fc')}
  for stage, block, count in _units(model):
    ours, theirs = f'stage_{stage}_block_{block}', f'layer{stage}.{block - 1}'
    for k in range(1, count + 1):
      layer = f'{ours}/conv_{k}' if k < count else f'{ours}/conv_last'
      names[layer] = SourceLayer(f'{theirs}.conv{k}', f'{theirs}.bn{k}')
    names[f'{ours}/shortcut'] = SourceLayer(
      f'{theirs}.downsample.0', f'{theirs}.downsample.1'
    )
  return names


def keras(model: resnet.Model) -> Names:
  """Returns Keras's names of `ResNet50` to `ResNet152V2`.

  They need `keep_bias`, though V2 has no bias in the first two layers of a
  unit.
  """
  names = {
    'stem': SourceLayer('conv1_conv', 'conv1_bn'),
    'head': SourceLayer(norm='post_bn'),
    'logits': SourceLayer('predictions'),
  }
  for stage, block, count in _units(model):
    ours = f'stage_{stage}_block_{block}'
    theirs = f'conv{stage + 1}_block{block}'
    for k in range(1, count + 1):
      layer = f'{ours}/conv_{k}' if k < count else f'{ours}/conv_last'
      names[layer] = SourceLayer(
        f'{theirs}_{k}_conv',
        f'{theirs}_{k}_bn',
        has_bias=model.version != 'v2' or k == count,
      )
    names[f'{ours}/shortcut'] = SourceLayer(
      f'{theirs}_0_conv', f'{theirs}_0_bn'
    )
    names[f'{ours}/pre'] = SourceLayer(norm=f'{theirs}_preact_bn')
  return names


def _units(model):
  """Yields stage and block, both from 1, and the number of convolutions."""
  blocks, bottleneck = resnet.VARIANTS[model.variant]
  for stage, count in enumerate(model.blocks or blocks, start=1):
    for block in range(1, count + 1):
      yield stage, block, 3 if bottleneck else 2
