"""Inception-ResNet-v2 of Keras."""

from bnresearch.models import inception_resnet_v2
from bnresearch.pretrained import Names, SourceLayer
from bnresearch.pretrained.inception_v3 import numbered

OPTIONS = {'keras': {'norm.epsilon': 1e-3, 'norm.use_scale': False}}


def keras(model: inception_resnet_v2.Model) -> Names:
  """Returns Keras's names of `InceptionResNetV2`, see `numbered`."""
  table = inception_resnet_v2.rows(model)
  return {
    **numbered(table),
    **{
      f'{name}/linear': SourceLayer(f'{name}_conv')
      for name in table
      if name.startswith('block')
    },
    'conv_7b': SourceLayer('conv_7b', 'conv_7b_bn'),
    'logits': SourceLayer('predictions'),
  }
