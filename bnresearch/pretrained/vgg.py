"""VGG of torchvision, also with BN, and Keras."""

from bnresearch.models import vgg
from bnresearch.norms import none
from bnresearch.pretrained import Names, SourceLayer


def torchvision(model: vgg.Model) -> Names:
  """Returns torchvision's names of `vgg11` to `vgg19_bn`, for 224 pixels.

  They need the dense head, and with BN `keep_bias`. They number convolutions,
  norms, activations and pooling in one sequence, from 0.
  """
  names, at = {}, 0
  for block, windows in enumerate(vgg.VARIANTS[model.variant], start=1):
    for n in range(1, len(windows) + 1):
      layer = f'block_{block}/conv_{n}'
      normalized = _is_normalized(model, layer)
      norm = f'features.{at + 1}' if normalized else None
      names[layer] = SourceLayer(f'features.{at}', norm)
      at += 3 if normalized else 2
    at += 1
  names['hidden_1'] = SourceLayer('classifier.0', maps=(vgg.FEATURES[-1], 7, 7))
  names['hidden_2'] = SourceLayer('classifier.3')
  names['logits'] = SourceLayer('classifier.6')
  return names


def keras(model: vgg.Model) -> Names:
  """Returns Keras's names of `VGG16` and `VGG19`.

  They need the dense head, and no norm.
  """
  names = {
    f'block_{block}/conv_{n}': SourceLayer(f'block{block}_conv{n}')
    for block, windows in enumerate(vgg.VARIANTS[model.variant], start=1)
    for n in range(1, len(windows) + 1)
  }
  names['hidden_1'], names['hidden_2'] = SourceLayer('fc1'), SourceLayer('fc2')
  names['logits'] = SourceLayer('predictions')
  return names


def _is_normalized(model, layer):
  make = model.layers.norm(layer)
  return getattr(make, 'func', make) is not none.Norm
