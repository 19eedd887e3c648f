"""MobileNetV2 of torchvision and Keras."""

from bnresearch.models import mobilenet_v2
from bnresearch.models.mobilenet_v1 import units
from bnresearch.pretrained import Names, SourceLayer

_ACTIVATION = {'model.activation': ('own', 'relu6')}
OPTIONS = {
  'torchvision': {**_ACTIVATION, 'model.padding': 'symmetric'},
  'keras': {**_ACTIVATION, 'norm.epsilon': 1e-3},
}


def torchvision(model: mobilenet_v2.Model) -> Names:
  """Returns torchvision's names of `mobilenet_v2`."""
  names = {'stem': SourceLayer('features.0.0', 'features.0.1')}
  for at, (ours, widened) in enumerate(_units(model), start=1):
    inside = f'features.{at}.conv'
    for n, layer in enumerate(('expand', 'depthwise')[not widened :]):
      names[f'{ours}/{layer}'] = SourceLayer(
        f'{inside}.{n}.0', f'{inside}.{n}.1'
      )
    names[f'{ours}/project'] = SourceLayer(
      f'{inside}.{1 + widened}', f'{inside}.{2 + widened}'
    )
  names['head'] = SourceLayer(f'features.{at + 1}.0', f'features.{at + 1}.1')
  names['logits'] = SourceLayer('classifier.1')
  return names


def keras(model: mobilenet_v2.Model) -> Names:
  """Returns Keras's names of `MobileNetV2`.

  For its narrower and wider networks, set `width` to their `alpha`, and
  `min_width` to 8.
  """
  names = {
    'stem': SourceLayer('Conv1', 'bn_Conv1'),
    'head': SourceLayer('Conv_1', 'Conv_1_bn'),
    'logits': SourceLayer('predictions'),
  }
  for at, (ours, _) in enumerate(_units(model)):
    inside = f'block_{at}' if at else 'expanded_conv'
    for layer in ('expand', 'depthwise', 'project'):
      theirs = f'{inside}_{layer}'
      names[f'{ours}/{layer}'] = SourceLayer(theirs, f'{theirs}_BN')
  return names


def _units(model):
  """Yields the name of each unit, and whether it has an 'expand' layer."""
  for name, (expansion, *_), _ in units(mobilenet_v2.STAGES, model.blocks):
    yield name, expansion > 1
