"""Inception V4 of timm."""

from bnresearch.models import _rows, inception_v4
from bnresearch.pretrained import Names, SourceLayer, basic_conv

OPTIONS = {'timm': {'norm.epsilon': 1e-3}}

# timm's names in the rows that it does not number by branch and layer.
_OTHERS = {
  'mixed_3a': ('conv',),
  'mixed_5a': ('conv',),
  'mixed_7': (
    'branch0',
    *(f'branch1_{n}' for n in ('0', '1a', '1b')),
    *(f'branch2_{n}' for n in ('0', '1', '2', '3a', '3b')),
    'branch3.1',
  ),
}


def timm(model: inception_v4.Model) -> Names:
  """Returns timm's names of `inception_v4`: a layer's place in its sequence.

  Its weights are for pixels from -1 to 1.
  """
  names, place = {'logits': SourceLayer('last_linear')}, 0
  for name, row in inception_v4.rows(model).items():
    branches = _rows.parse(row)
    paths = [path for path, _ in _rows.convolutions(branches)]
    if name == 'stem':
      layers = [str(n) for n in range(len(paths))]
    else:
      last = name.startswith('mixed_7') and name != 'mixed_7a'
      inside = _OTHERS.get('mixed_7' if last else name) or _numbered(branches)
      layers = [f'{place}.{layer}' for layer in inside]
    for path, layer in zip(paths, layers, strict=True):
      names[f'{name}/{path}'] = basic_conv(f'features.{layer}')
    place += len(layers) if name == 'stem' else 1
  return names


def _numbered(branches):
  """Returns the names of convolutions by branch and layer, counted from 0.

  The layer of a one-layer branch has the branch's name; pooling counts as a
  layer.
  """
  return [
    f'branch{k}.{n}' if len(branch) > 1 else f'branch{k}'
    for k, branch in enumerate(branches)
    for n, step in enumerate(branch)
    if step.kind == 'conv'
  ]
