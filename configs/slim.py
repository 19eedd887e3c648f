"""TF-Slim's Inception V2 and V3, by the settings of their argument scopes.

Command:  python -m bnresearch.main --config=configs/slim.py
Expected: not run. Slim states 73.9% top-1 of V2 and 78.0% of V3 on ImageNet,
          trained by other means than here, see below.
Time:     on ImageNet, days on an accelerator; on Fashion-MNIST minutes.

After a colon, comma-separated:
  scope=inception_v2     or inception_v3
  data=imagenet2012      or a set of small images, with the stem for these and
                         an eighth of the width: fashion_mnist, cifar10, ...
  seeds=1                runs seeds 0 ... seeds-1

Of the scopes themselves (tf_slim/nets, google-research/tf-slim):

  both           L2 4e-5 on kernels; BN with decay 0.9997, epsilon 0.001 and no
                 gamma (slim's `scale=False`); ReLU; keep_prob 0.8
  inception_v2   `inception_v2_arg_scope`: kernels by variance scaling, but
                 trunc_normal(1.0) in the separable stem, 0.1 in stem_2 and in
                 1x1 after pooling, 0.09 in 1x1 before 3x3; no BN in the stem;
                 96 channels after the pooling of 4c and 4d
  inception_v3   `inception_v3_arg_scope` of the source documents: trunc_normal
                 of stddev=0.1, and 0.01 and 0.001 in the auxiliary head

Our defaults are otherwise: decay 0.99, epsilon 1e-5, gamma, no L2; of V2, as
its paper has it, BN in the stem, 128 of those channels and no dropout.

With 1,000 classes and without heads, V2 has slim's 11,178,336 parameters and V3
23,817,352. What is otherwise here: slim has no L2 on the separable stem.

The scopes say nothing of training. We assume what the paper of V3 has, as far
as there is a knob for it: batches of 32, a learning rate of 0.045 that decays
by 6% every two epochs, label smoothing of 0.1, gradients clipped at 2.0; but
with momentum 0.9 instead of RMSProp. With decay 0.9997 the running statistics
need 15,348 updates to forget their beginning: a shorter run is warned.
"""

from configs import default

_SCOPES = {
  'inception_v2': {
    'model.pool_projection': 96,
    'model.normalized_stem': False,
    # Our branches are numbered from 1, and a pooling is a step of its own.
    'model.init_sites': (
      'stem_1*=truncated_normal:1.0',
      'stem_2=truncated_normal:0.1',
      'inception_*/branch_[23]/conv_1=truncated_normal:0.09',
      'inception_3c/branch_1/conv_1=truncated_normal:0.09',
      'inception_4e/branch_1/conv_1=truncated_normal:0.09',
      'inception_*/branch_4/conv_2=truncated_normal:0.1',
    ),
  },
  # Its trunc_normal is the architecture's own here.
  'inception_v3': {'model.auxiliary_heads': True},
}
_SIZES = {'inception_v2': 224, 'inception_v3': 299}


def get_config(arg: str = ''):
  """Returns a network of slim, for each seed."""
  chosen = default.parse(
    arg, scope=tuple(_SCOPES), data='imagenet2012', seeds=1
  )
  config = default.get_config()
  scope, data = chosen['scope'], chosen['data']
  config.model.name = scope
  config.update_from_flattened_dict(_SCOPES[scope])
  config.model.dropout_rate = 0.2
  config.norm.momentum = 0.9997
  config.norm.epsilon = 1e-3
  config.norm.use_scale = False
  config.optim.l2 = 4e-5
  config.optim.momentum = 0.9
  config.optim.clip_norm = 2.0
  config.optim.schedule = 'exponential'
  config.optim.decay_rate = 0.94
  config.objective.label_smoothing = 0.1
  config.data.name = data
  config.data.mean = config.data.std = (0.5,)
  config.train.batch_size = 32
  config.checkpoint.keep = 1
  if data == 'imagenet2012':
    config.data.image_size = _SIZES[scope]
    config.augment.crop = 'resized'
    config.augment.flip = True
    config.augment.photometric = 1.0
    config.train.steps = 4_000_000  # the paper's 100 epochs
    config.train.log_every = 1000
    config.eval.every = config.checkpoint.every = 100_000
    config.optim.learning_rate = 0.045
    config.optim.decay_steps = 2 * 1_281_167 // 32
  else:
    config.model.stem = 'small'
    config.model.width = 0.125
    config.model.min_width = 8
    config.train.steps = 9000
    config.train.log_every = 100
    config.eval.every = config.checkpoint.every = 300
    config.optim.learning_rate = 0.02
    config.optim.decay_steps = 240
  config.sweep = tuple({'seed': seed} for seed in range(chosen['seeds']))
  return config
