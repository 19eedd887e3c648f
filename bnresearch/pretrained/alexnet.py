"""AlexNet of torchvision, the variant 'one_weird_trick' without a norm."""

from bnresearch.models import alexnet
from bnresearch.pretrained import Names, SourceLayer

OPTIONS = {'torchvision': {'model.lrn': (None, False)}}

_CONVS = (0, 3, 6, 8, 10)  # their positions among activations and pooling


def torchvision(model: alexnet.Model) -> Names:
  """Returns torchvision's names of `alexnet`, for images of 224 pixels.

  They are for the dense head.
  """
  names = {
    f'conv_{n}': SourceLayer(f'features.{k}')
    for n, k in enumerate(_CONVS, start=1)
  }
  channels = alexnet.VARIANTS[model.variant].features[-1]
  names['hidden_1'] = SourceLayer('classifier.1', maps=(channels, 6, 6))
  names['hidden_2'] = SourceLayer('classifier.4')
  names['logits'] = SourceLayer('classifier.6')
  return names
