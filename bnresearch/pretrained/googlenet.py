"""GoogLeNet of torchvision."""

from bnresearch.models import googlenet
from bnresearch.pretrained import Names, SourceLayer, basic_conv

OPTIONS = {
  'torchvision': {
    'model.variant': 'torchvision',
    'model.five_by_five': ('own', '3x3'),
    'model.lrn': (None, False),
    'norm.epsilon': 1e-3,
  }
}

# This makes all maps that a 3x3 pools even. Odd maps we pad on both sides,
# while PyTorch does not pad them.
SIZES = {'torchvision': 16}


def torchvision(model: googlenet.Model) -> Names:
  """Returns torchvision's names of `googlenet`.

  Its weights are for pixels from -1 to 1; its network converts to that range
  from images normalized as for its other networks (`transform_input`). Its file
  includes auxiliary heads, which are untrained and average over windows of 4x4,
  while ours average over 5x5.
  """
  names = {'logits': SourceLayer('fc')}
  for n in (1, 2, 3):
    names[f'stem_{n}'] = basic_conv(f'conv{n}')
  for module in googlenet.ROWS:
    ours, theirs = f'inception_{module}', f'inception{module}'
    names[f'{ours}/branch_1/conv_1'] = basic_conv(f'{theirs}.branch1')
    for branch in (2, 3):
      for n in (1, 2):
        layer = f'{theirs}.branch{branch}.{n - 1}'
        names[f'{ours}/branch_{branch}/conv_{n}'] = basic_conv(layer)
    names[f'{ours}/branch_4/conv_2'] = basic_conv(f'{theirs}.branch4.1')
  for n in (1, 2):
    ours, theirs = f'auxiliary_{n}', f'aux{n}'
    names[f'{ours}/conv'] = basic_conv(f'{theirs}.conv')
    names[f'{ours}/hidden'] = SourceLayer(f'{theirs}.fc1', maps=(128, 4, 4))
    names[f'{ours}/logits'] = SourceLayer(f'{theirs}.fc2')
  return names
