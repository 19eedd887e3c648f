"""MobileNet of Keras."""

from bnresearch.models import mobilenet_v1
from bnresearch.pretrained import Names, SourceLayer

OPTIONS = {'keras': {'model.activation': 'relu6', 'norm.epsilon': 1e-3}}


def keras(model: mobilenet_v1.Model) -> Names:
  """Returns Keras's names of `MobileNet`; it numbers units consecutively."""
  names = {
    'stem': SourceLayer('conv1', 'conv1_bn'),
    'logits': SourceLayer('conv_preds'),
  }
  units = mobilenet_v1.units(mobilenet_v1.STAGES, model.blocks)
  for at, (ours, *_) in enumerate(units, start=1):
    for layer, theirs in (('depthwise', 'dw'), ('pointwise', 'pw')):
      theirs = f'conv_{theirs}_{at}'
      names[f'{ours}/{layer}'] = SourceLayer(theirs, f'{theirs}_bn')
  return names
