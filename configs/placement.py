"""Placement of the normalizer: before the activation, after it, or nowhere.

Command:  python -m bnresearch.main --config=configs/placement.py
Expected: for the mlp, test accuracy of about 98% with BN in either place;
          without it, 93% with sigmoids and 97% with the others.
Time:     about 1 s a point on one CPU core; lenet 2 s and vgg 17 s for 1,000
          steps.

After a colon, comma-separated:
  data=digits|mnist|fashion_mnist
  models=mlp             files of bnresearch/models, joined by +; deep ones have
                         the stem for small images and a quarter of their width
  seeds=1                runs seeds 0 ... seeds-1 of each point
  steps=5000

The paper normalizes Wu, before the activation (section 3.2). All points share
learning rate, optimizer and initialization, so these are tuned for no place.
"""

from configs import default

ACTIVATIONS = ('sigmoid', 'relu', 'tanh')
_SMALL = {'model.stem': 'small', 'model.width': 0.25}
OPTIONS = {'mlp': {}, 'vgg': _SMALL | {'model.variant': '11'}}  # others: _SMALL
PLACES = (('none', 'before'), ('batch', 'before'), ('batch', 'after'))


def get_config(arg: str = ''):
  """Returns the sweep over models, activations, places and seeds."""
  chosen = default.parse(arg, data='digits', models='mlp', seeds=1, steps=5000)
  config = default.get_config()
  config.data.name = chosen['data']
  config.train.steps = chosen['steps']
  config.sweep = tuple(
    {
      'model.name': model,
      'model.activation': activation,
      'norm.name': norm,
      'model.norm_position': position,
      'seed': seed,
    }
    | OPTIONS.get(model, _SMALL)
    for seed in range(chosen['seeds'])
    for model in chosen['models'].split('+')
    for activation in ACTIVATIONS
    for norm, position in PLACES
  )
  return config
