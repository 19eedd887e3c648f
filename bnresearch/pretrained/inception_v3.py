"""Inception V3 of torchvision and Keras."""

from collections.abc import Mapping

from bnresearch.models import _rows, inception_v3
from bnresearch.pretrained import Names, SourceLayer, basic_conv

OPTIONS = {
  'torchvision': {'model.count_padding': True, 'norm.epsilon': 1e-3},
  'keras': {'norm.epsilon': 1e-3, 'norm.use_scale': False},
}

# torchvision's names of the layers in each kind of row, in our order.
_STEM = (
  'Conv2d_1a_3x3',
  'Conv2d_2a_3x3',
  'Conv2d_2b_3x3',
  'Conv2d_3b_1x1',
  'Conv2d_4a_3x3',
)
_5 = (
  'branch1x1',
  *(f'branch5x5_{n}' for n in (1, 2)),
  *(f'branch3x3dbl_{n}' for n in (1, 2, 3)),
  'branch_pool',
)
_6A = ('branch3x3', *(f'branch3x3dbl_{n}' for n in (1, 2, 3)))
_6 = (
  'branch1x1',
  *(f'branch7x7_{n}' for n in (1, 2, 3)),
  *(f'branch7x7dbl_{n}' for n in (1, 2, 3, 4, 5)),
  'branch_pool',
)
_7A = (
  *(f'branch3x3_{n}' for n in (1, 2)),
  *(f'branch7x7x3_{n}' for n in (1, 2, 3, 4)),
)
_7 = (
  'branch1x1',
  *(f'branch3x3_{n}' for n in ('1', '2a', '2b')),
  *(f'branch3x3dbl_{n}' for n in ('1', '2', '3a', '3b')),
  'branch_pool',
)


def torchvision(model: inception_v3.Model) -> Names:
  """Returns torchvision's names of `inception_v3`.

  Its weights include an auxiliary head, and are for pixels from -1 to 1.
  """
  names = {
    'auxiliary_1/conv_1': basic_conv('AuxLogits.conv0'),
    'auxiliary_1/conv_2': basic_conv('AuxLogits.conv1'),
    'auxiliary_1/logits': SourceLayer('AuxLogits.fc'),
    'logits': SourceLayer('fc'),
  }
  special = {'stem': _STEM, 'mixed_6a': _6A, 'mixed_7a': _7A}
  groups = {'mixed_5': _5, 'mixed_6': _6, 'mixed_7': _7}
  for name, row in inception_v3.rows(model).items():
    layers = special.get(name) or groups[name[:-1]]
    inside = '' if name == 'stem' else f'{name.capitalize()}.'
    paths = [path for path, _ in _rows.convolutions(row)]
    for path, layer in zip(paths, layers, strict=True):
      names[f'{name}/{path}'] = basic_conv(f'{inside}{layer}')
  return names


def keras(model: inception_v3.Model) -> Names:
  """Returns Keras's names of `InceptionV3`, see `numbered`."""
  names = numbered(inception_v3.rows(model))
  return names | {'logits': SourceLayer('predictions')}


def numbered(table: Mapping[str, str | _rows.Branches]) -> Names:
  """Returns the names that Keras gives to unnamed layers, in their order.

  They hold for the first network of a session, or the first one after
  `keras.utils.clear_session()`.

  Args:
    table: the rows of the network by name.
  """
  paths = (
    f'{name}/{path}'
    for name, row in table.items()
    for path, _ in _rows.convolutions(row)
  )
  return {
    path: SourceLayer(f'conv2d{number}', f'batch_normalization{number}')
    for n, path in enumerate(paths)
    for number in [f'_{n}' if n else '']
  }
