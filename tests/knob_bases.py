"""The configs whose knobs are changed, and new values: see test_knobs.py."""

from bnresearch import lookup
from tests.traits import says

# Other values of knobs that neither are flags nor have choices.
OTHERS = {
  'seed': 1,
  'sweep': ({'seed': 3},),
  'data.binarize_threshold': 0.25,
  'data.mean': (0.5,),
  'data.std': (0.25,),
  'data.whitening_epsilon': 0.1,
  'data.examples': 500,
  'data.folder': 'elsewhere',
  'data.held_out': 0.25,
  'data.train_examples': 9,
  'data.validation': 0.5,
  'data.split_seed': 1,
  'data.tfds_name': 'other',
  'data.image_size': 20,
  'data.shards': 4,
  'augment.padding': 2,
  'augment.area': (0.5, 1.0),
  'augment.aspect': (1.0, 1.0),
  'augment.shift': 0.2,
  'augment.rotate': 10.0,
  'augment.scale': 0.1,
  'augment.photometric': 0.5,
  'augment.brightness': 0.25,
  'augment.contrast': 0.25,
  'augment.saturation': 0.25,
  'augment.hue': 0.1,
  'augment.cutout': 3,
  'augment.mixup': 0.3,
  'model.variant': ('torchvision', 'cifar_20', 'none such'),
  'model.features': (24,),
  'model.units': 6,
  'model.recurrent_scale': 0.2,
  'model.forget_bias': 2.0,
  'model.blocks': ((0, 2, 0), (2, 1)),
  'model.width': 0.5,
  'model.min_width': 12,
  'model.init_std': 0.02,
  'model.init_sites': (('*hidden*=normal:0.02',), ('*=orthogonal',)),
  'model.init_gain': 2.0,
  'model.dropout_rate': 0.25,
  'model.input_dropout_rate': 0.2,
  'model.growth': 4,
  'model.compression': 1.0,
  'model.expansion': 2,
  'model.pool_projection': 96,
  'norm.sites': (('*_1*=affine',), ('cell/input=affine',)),
  'norm.momentum': 0.5,
  'norm.epsilon': 1e-3,
  'norm.group_size': 2,
  'norm.per_activation': (('*',),),
  'norm.initial_scale': 0.5,
  'norm.r_max': 2.0,
  'norm.d_max': 2.0,
  'norm.renorm_start': 5,
  'norm.r_max_at': 20,
  'norm.d_max_at': 20,
  'norm.channel_groups': 2,
  'norm.whitened_channels': 4,
  'norm.whitening_iterations': 3,
  'norm.noise_shift': 0.25,
  'norm.noise_scale': 0.125,
  'norm.noise_jitter': 0.2,
  'objective.auxiliary_weight': 0.5,
  'objective.label_smoothing': 0.1,
  'train.steps': 80,
  'train.batch_size': 4,
  'train.log_every': 5,
  'train.microbatches': 2,
  'train.average': 0.9,
  'optim.learning_rate': 0.01,
  'optim.momentum': 0.5,
  'optim.weight_decay': 0.01,
  'optim.l2': 0.01,
  'optim.clip_norm': 1.0,
  'optim.clip_adaptive': 0.01,
  'optim.trained': ('*scale', '*bias'),
  'optim.warmup_steps': 10,
  'optim.decay_rate': 0.5,
  'optim.decay_steps': 15,
  'start.path': 'a run',
  'slurm.partition': 'short',
  'slurm.minutes': 60,
  'slurm.signal_delay': 60,
  'slurm.cpus': 2,
  'slurm.gpus': 1,
  'slurm.memory': 16,
  'slurm.array_parallelism': 4,
  'slurm.options': ('exclusive',),
  'parallel.devices': 2,
  'eval.every': 10,
  'eval.batch_size': 4,
  'eval.crop_fraction': 0.5,
  'eval.population_batches': 7,
  'probes.names': ('saturation',),
  'probes.every': 40,
  'probes.steps': (3, 17),
  'probes.examples': 4,
  'probes.percentiles': (50.0,),
  'probes.saturation_threshold': 2.0,
  'probes.active_slope': 0.1,
  'probes.bins': 7,
  'probes.correlated_channels': 5,
  'probes.near_zero': 0.1,
  'probes.step_lengths': (1.0,),
  'probes.noise_parts': 2,
  'probes.lanczos_steps': 3,
  'probes.lanczos_starts': 2,
  'probes.sharpness_radius': 0.1,
  'probes.adaptive_radius': 0.25,
  'probes.slice_points': 5,
  'probes.plane_points': 3,
  'probes.slice_radius': 0.5,
  'probes.slice_seed': 1,
  'probes.jacobian_examples': 4,
  'log.mirrors': ('tensorboard',),
  'checkpoint.every': 40,
}

TINY = {
  'data.name': 'synthetic',
  'train.steps': 40,
  'train.batch_size': 8,
  'train.log_every': 10,
  'eval.every': 20,
  'eval.batch_size': 8,
  'checkpoint.every': 20,
}
PROBES = {
  'probes.names': (
    'activation_histogram',
    'activation_moments',
    'activation_percentiles',
    'affine',
    'channel_correlation',
    'dead_units',
    'saturation',
  ),
  'probes.every': 20,
  'probes.examples': 8,
}
MLP = TINY | {'model.features': (20,)}
LENET = TINY | {'model.name': 'lenet', 'model.stem': 'small'}
NARROW = {'model.stem': 'small', 'model.width': 0.125, 'model.min_width': 8}
MAPS = (
  TINY
  | NARROW
  | {
    'model.name': 'resnet',
    'model.variant': '18',
    'model.blocks': (1,),
  }
)
PHOTOGRAPHS = TINY | {
  'data.name': 'image_folder',
  'data.folder': 'photographs',
  'data.image_size': 16,
  'eval.batch_size': 6,
}
CUT = {'augment.crop': 'resized', 'augment.photometric': 1.0}

# {name: (config, beginnings of the keys that are changed from it)}.
BASES = {
  'mlp': (MLP, ('',)),
  'lstm': (
    TINY
    | {
      'model.name': 'lstm',
      'model.units': 8,
      'norm.name': 'layer',
      'optim.name': 'adam',
      'optim.schedule': 'step',
      'optim.decay_steps': 10,
    },
    ('',),
  ),
  'lstm_of_batches': (
    TINY | {'model.name': 'lstm', 'model.units': 8},
    ('model.step_statistics',),
  ),
  'lenet': (
    LENET
    | {
      'augment.crop': 'padded',
      'augment.photometric': 1.0,
      'data.shuffle': 'within_shard',
      'norm.group_size': 4,
      'optim.momentum': 0.9,
    },
    ('',),
  ),
  'resnet': (
    TINY
    | NARROW
    | {
      'data.binarize': True,
      'model.name': 'resnet',
      'model.variant': '18',
      'model.blocks': (1, 1),
      'optim.name': 'adamw',
      'parallel.devices': 2,
    },
    ('',),
  ),
  'googlenet': (
    PHOTOGRAPHS
    | NARROW
    | CUT
    | {
      'model.name': 'googlenet',
      'model.blocks': (0, 1, 0),
      'model.auxiliary_heads': True,
      'optim.name': 'adam',
      'optim.schedule': 'exponential',
      'optim.decay_steps': 10,
    },
    # Normalizers and what is alike for all networks are those of the others.
    ('data.', 'augment.', 'model.', 'objective.', 'optim.', 'eval.'),
  ),
  'inception_v2': (
    TINY | NARROW | {'model.name': 'inception_v2', 'model.blocks': (0, 3, 0)},
    (
      'model.pool_projection',
      'model.separable_stem',
      'model.normalized_stem',
      'model.reduction',
      'model.count_padding',
    ),
  ),
  'inception_v3': (
    TINY | NARROW | {'model.name': 'inception_v3', 'model.blocks': (0, 1, 0)},
    ('model.asymmetric',),
  ),
  'mobilenet_v2': (
    TINY
    | {
      'model.name': 'mobilenet_v2',
      'model.blocks': (1, 1),
      'model.width': 0.125,
    },
    ('model.padding', 'model.expansion', 'model.linear_projection'),
  ),
  'densenet': (
    TINY | NARROW | {'model.name': 'densenet', 'model.blocks': (1, 1)},
    ('model.growth', 'model.compression'),
  ),
  'deep': (MLP | {'model.features': (20, 20)}, ('model.residual',)),
  'probed': (MLP | PROBES, ('probes.',)),
  'walked': (
    MLP
    | {
      'train.batch_size': 24,
      'probes.names': (
        'gradient_landscape',
        'gradient_noise',
        'hessian_spectrum',
        'layer_jacobian',
        'loss_slices',
        'sharpness',
      ),
      'probes.every': 20,
      'probes.examples': 8,
    },
    ('probes.',),
  ),
  'frozen': (MLP | {'norm.frozen_statistics': True}, ('norm.',)),
  'stopped': (MLP | {'norm.stop_gradient': True}, ('norm.',)),
  'unscaled': (
    MLP | {'norm.use_scale': False, 'norm.use_bias': False},
    ('norm.',),
  ),
  'whitened': (MLP | {'data.whitening': 'zca'}, ('data.whitening',)),
  'one_device': (LENET | {'parallel.devices': 1}, ('parallel.',)),
  'norms_only': (
    MLP | {'probes.names': ('parameter_norm',), 'probes.every': 20},
    ('probes.',),
  ),
  'gradients': (
    MLP | {'probes.names': ('gradient_norm',), 'probes.every': 20},
    ('probes.',),
  ),
  'unfolded': (PHOTOGRAPHS | {'data.folder': 'unfolded'}, ('data.',)),
  'damaged': (PHOTOGRAPHS | {'data.folder': 'damaged'}, ('data.skip_bad',)),
  'linked': (PHOTOGRAPHS | {'data.folder': 'linked'}, ('data.follow_links',)),
  'tfds': (
    TINY | {'data.name': 'tfds', 'data.tfds_name': 'one'},
    ('data.tfds_name',),
  ),
  'imagenet': (TINY | {'data.name': 'imagenet2012'}, ('data.subset',)),
  'started': (
    TINY
    | NARROW
    | {
      'start.path': 'empty',
      'model.name': 'resnet',
      'model.variant': '18',
      'model.blocks': (1,),
      'optim.momentum': 0.9,
    },
    ('start.', 'optim.nesterov'),
  ),
}
for _name in lookup.names('norms'):
  _positions = says(_name, 'needs_positions')
  BASES[f'mlp, {_name}'] = (
    (MAPS if _positions else MLP) | {'norm.name': _name},
    ('norm.', 'eval.statistics', 'eval.population'),
  )
