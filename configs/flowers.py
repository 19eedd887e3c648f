"""Photographs of flowers: BN-GoogLeNet and Inception V2, with and without BN.

Command:  python -m bnresearch.main --config=configs/flowers.py \\
              --config.data.folder=FOLDER
Expected: see experiments/flowers.py, which plots it.
Time:     with scale=small, on one CPU core, 15 to 20 minutes a point.

FOLDER has a folder of photographs per class, or train/ and val/ with such
folders. To train one network on your own photographs, in runs/mine:

  python -m bnresearch.main --workdir=runs/mine --config.data.folder=FOLDER \\
      --config=configs/flowers.py:models=googlenet,norms=batch

After a colon, comma-separated:
  scale=small            96 pixels, half the channels, 1,400 steps; or
  scale=full             224 pixels, all channels, 3,120 steps
  models=all             googlenet or inception_v2
  norms=batch+none
  recipe=ours            or documents, googlenet alone
  seeds=1                runs seeds 0 ... seeds-1 of each point

The recipe is that of the source documents' BN-GoogLeNet in PyTorch: Adam at
0.0015, a tenth of it after 1,500 of 3,120 iterations, batches of 32, kernels by
He et al., pixels from -1 to 1, random-resized crops and flips, two auxiliary
heads at 0.3, each 5x5 as two 3x3; evaluation on the whole image, squeezed to a
square. Ours has four things otherwise, and recipe=documents has them as they
are there:

                         ours                      documents
  He's fan               in, truncated             out, not truncated
  dense kernels          He's                      deviation 0.01
  biases before BN       left out                  kept, though BN cancels them
  dropout of the heads   70% after hidden layer    50% before it and after it

With 1,000 classes and both heads it has their 13,680,536 parameters; with five,
10,620,911. What is otherwise with either: an epoch ends with a whole batch, so
its last 10 photographs come with the next one; and the photographs held out are
drawn by another generator.
"""

from configs import default

SCALES = {
  'small': {
    'data.image_size': 96,
    'model.width': 0.5,
    'train.steps': 1400,
    'train.log_every': 20,
    'eval.every': 100,
    'checkpoint.every': 100,
    'optim.decay_steps': 673,  # of 1,400, like 1,500 of 3,120
  },
  'full': {
    'data.image_size': 224,
    'model.width': 1.0,
    'train.steps': 3120,
    'train.log_every': 26,
    'eval.every': 104,  # an epoch of 3,306 photographs
    'checkpoint.every': 104,
    'optim.decay_steps': 1500,
  },
}
MODELS = {
  'googlenet': {'model.five_by_five': 'two_3x3', 'model.lrn': 'no'},
  'inception_v2': {},
}
RECIPES = {
  'ours': {'model.initializer': 'kaiming'},
  'documents': {'model.variant': 'bn_googlenet', 'model.keep_bias': True},
}


def get_config(arg: str = ''):
  """Returns the sweep over networks, norms and seeds."""
  chosen = default.parse(
    arg,
    scale=tuple(SCALES),
    models='all',
    norms='batch+none',
    recipe=tuple(RECIPES),
    seeds=1,
  )
  models, documents = chosen['models'].split('+'), chosen['recipe'] != 'ours'
  if models == ['all']:
    models = ['googlenet'] if documents else list(MODELS)
  for model in models:
    if model not in MODELS:
      raise ValueError(
        f'models={model} after the colon: needs one of {", ".join(MODELS)}.'
      )
  if documents and models != ['googlenet']:
    raise ValueError(
      f'models={chosen["models"]} after the colon: recipe=documents is of '
      'googlenet alone.'
    )
  config = default.get_config()
  config.data.name = 'image_folder'
  config.data.mean = config.data.std = (0.5,)
  config.augment.crop = 'resized'
  config.augment.flip = True
  config.model.auxiliary_heads = True
  if 'batch' in chosen['norms'].split('+'):
    config.norm.momentum = 0.9
  config.train.batch_size = 32
  config.optim.name = 'adam'
  config.optim.learning_rate = 0.0015
  config.optim.schedule = 'step'
  config.eval.crop = 'whole'
  config.eval.batch_size = 92
  config.checkpoint.keep = 1
  sweep = tuple(
    {'model.name': model, 'norm.name': norm, 'seed': seed}
    | ({} if documents else MODELS[model])
    for seed in range(chosen['seeds'])
    for model in models
    for norm in chosen['norms'].split('+')
  )
  # A single run uses the directory itself.
  single = sweep[0] if len(sweep) == 1 else {}
  config.sweep = () if single else sweep
  recipe = RECIPES[chosen['recipe']]
  config.update_from_flattened_dict(SCALES[chosen['scale']] | recipe | single)
  return config
