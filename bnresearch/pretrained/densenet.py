"""DenseNets of torchvision and Keras, for ImageNet."""

from bnresearch.models import densenet
from bnresearch.pretrained import Names, SourceLayer

OPTIONS = {'keras': {'norm.epsilon': 1.001e-5}}


def torchvision(model: densenet.Model) -> Names:
  """Returns torchvision's names of `densenet121`, `169` and `201`.

  They are the names of the module's `state_dict()`. Torchvision's published
  files have `norm.1` for `norm1`, and so on, which it renames on loading.
  """
  blocks = _blocks(model)
  names = {
    'stem': SourceLayer('features.conv0', 'features.norm0'),
    'head': SourceLayer(norm=f'features.norm{len(blocks) + 1}'),
    'logits': SourceLayer('classifier'),
  }
  for block, count in enumerate(blocks, start=1):
    for n in range(1, count + 1):
      ours = f'block_{block}_{n}'
      theirs = f'features.denseblock{block}.denselayer{n}'
      names[f'{ours}/pre'] = SourceLayer(norm=f'{theirs}.norm1')
      names[f'{ours}/conv_1'] = SourceLayer(
        f'{theirs}.conv1', f'{theirs}.norm2'
      )
      names[f'{ours}/conv_2'] = SourceLayer(f'{theirs}.conv2')
    ours, theirs = f'transition_{block}', f'features.transition{block}'
    names[f'{ours}/pre'] = SourceLayer(norm=f'{theirs}.norm')
    names[f'{ours}/conv'] = SourceLayer(f'{theirs}.conv')
  return names


def keras(model: densenet.Model) -> Names:
  """Returns Keras's names of `DenseNet121`, `169` and `201`."""
  names = {
    'stem': SourceLayer('conv1_conv', 'conv1_bn'),
    'head': SourceLayer(norm='bn'),
    'logits': SourceLayer('predictions'),
  }
  for block, count in enumerate(_blocks(model), start=1):
    for n in range(1, count + 1):
      ours, theirs = f'block_{block}_{n}', f'conv{block + 1}_block{n}'
      names[f'{ours}/pre'] = SourceLayer(norm=f'{theirs}_0_bn')
      names[f'{ours}/conv_1'] = SourceLayer(
        f'{theirs}_1_conv', f'{theirs}_1_bn'
      )
      names[f'{ours}/conv_2'] = SourceLayer(f'{theirs}_2_conv')
    ours, theirs = f'transition_{block}', f'pool{block + 1}'
    names[f'{ours}/pre'] = SourceLayer(norm=f'{theirs}_bn')
    names[f'{ours}/conv'] = SourceLayer(f'{theirs}_conv')
  return names


def _blocks(model):
  return model.blocks or densenet.VARIANTS[model.variant][0]
