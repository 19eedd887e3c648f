"""Every knob, with the value it has unless a config file says otherwise.

Command:  python -m bnresearch.main --config=configs/default.py
Expected: 98.6% test accuracy on the embedded digits.
Time:     about 5 s on one CPU core.

A config file is `get_config(arg)`: it takes these defaults, changes some and,
for a study, adds a sweep, a tuple of overrides made by comprehension:

  config.sweep = tuple({'seed': s} for s in range(5))

Any knob can be set on the command line, `--config.optim.learning_rate=0.5`.
"""

import ml_collections


def get_config(arg: str = '') -> ml_collections.ConfigDict:
  """Returns the defaults; takes no argument after the colon."""
  parse(arg)
  config = ml_collections.ConfigDict()
  config.seed = 0  # initial weights, order of the examples, dropout
  config.dry_run = False  # two steps on tiny synthetic data, kept nowhere
  config.sweep = ()  # tuple of {'dotted.key': value}; () is a single run
  config.label = ''  # what a point of a sweep is called, instead of its values

  config.data = ml_collections.ConfigDict()
  config.data.name = 'digits'  # a file of bnresearch/data
  config.data.binarize = False  # pixels 0 or 1, the paper's MNIST input
  config.data.binarize_threshold = 0.5  # fraction of white; not in the paper
  config.data.mean = (0.0,)  # of pixels in [0, 1]; of each channel, or of all
  config.data.std = (1.0,)  # what they are divided by, less the mean
  config.data.examples = 600  # size of each split, data set synthetic only
  config.data.folder = ''  # image_folder: a folder with one of each class
  config.data.held_out = 0.0  # of train, to choose best by; 0: test chooses
  config.data.validation = 0.1  # image_folder without val/: of it, to test on
  config.data.split_seed = 0  # of these two, the same for all seeds
  config.data.skip_bad = False  # image_folder: go on without bad files
  config.data.follow_links = False  # image_folder: also out of the folder
  config.data.tfds_name = ''  # tfds: as 'oxford_flowers102' or 'name/config'
  config.data.subset = 'all'  # imagenet2012: all, 10pct or 1pct of train
  config.data.image_size = 224  # pixels, where images have sizes of their own
  config.data.shuffle = 'full'  # each epoch: full, within_shard, none
  config.data.shards = 16  # within_shard: the paper has no number
  config.data.on_device = 'auto'  # the training images: auto, always, never
  config.data.workers = 0  # processes that decode; 0 for threads of this one

  # Of training images. 0 is off.
  config.augment = ml_collections.ConfigDict()
  config.augment.crop = 'none'  # or padded, resized
  config.augment.padding = 4  # padded: pixels on each side, zeros
  config.augment.area = (0.08, 1.0)  # resized: of the image; GoogLeNet's
  config.augment.aspect = (0.75, 1.3333333)  # resized: width over height
  config.augment.flip = False  # left to right, every second image
  config.augment.shift = 0.0  # at most, as a fraction of the side
  config.augment.rotate = 0.0  # at most, in degrees
  config.augment.scale = 0.0  # at most: 0.1 for sizes of 90% to 110%
  config.augment.photometric = 0.0  # strength of all four: 1 is slim's
  config.augment.brightness = 0.125  # added, at most; slim's 32/255
  config.augment.contrast = 0.5  # factor 1 +- at most this
  config.augment.saturation = 0.5  # factor 1 +- at most this
  config.augment.hue = 0.2  # turned, at most, as a fraction of the circle
  config.augment.photometric_mode = 'four'  # or fast, brightness, saturation
  config.augment.cutout = 0  # side of a square of zeros, in pixels
  config.augment.mixup = 0.0  # alpha of the Beta distribution

  # 'own' and -1 leave a knob to what the architecture was published with.
  config.model = ml_collections.ConfigDict()
  config.model.name = 'mlp'  # a file of bnresearch/models
  config.model.variant = 'own'  # one of VARIANTS in that file
  config.model.features = (100, 100, 100)  # mlp: units of the hidden layers
  config.model.units = 100  # lstm: of the state; the paper's
  config.model.recurrent_scale = 0.1  # lstm: instead of norm.initial_scale
  config.model.forget_bias = 1.0  # lstm: of the forget gate, before training
  config.model.blocks = ()  # units of each stage; () for the variant's
  config.model.stem = 'paper'  # or small, for small images; medium: see model
  config.model.head = 'own'  # alexnet, lenet, vgg: dense or convolutional
  config.model.width = 1.0  # factor on the channels of every layer
  config.model.min_width = 16  # channels that `width` leaves; slim's
  config.model.activation = 'own'  # own, or a name of models/_activations.py
  config.model.initializer = 'own'  # or a name of models/_initializers.py
  config.model.init_std = 0.1  # of mlp, normal, truncated_normal; not in paper
  config.model.init_gain = 1.0  # factor on the first kernels of convolutions
  config.model.norm_position = 'before'  # or after the activation
  config.model.keep_bias = False  # also where the norm cancels it
  config.model.weight_standardization = 'none'  # none, standard, scaled
  config.model.dropout_rate = -1.0  # where the architecture has dropout
  config.model.auxiliary_heads = False  # googlenet, inception_v2 and later
  config.model.lrn = 'own'  # alexnet, googlenet, inception_v2: own, yes, no
  config.model.count_padding = False  # as zeros, in average pooling
  config.model.zero_init = False  # resnet: branches begin closed
  config.model.version = 'own'  # resnet: v1, v1.5 or v2, pre-activation
  config.model.strides_at = 'first'  # resnet: or last, unit of a stage; slim's
  config.model.padding = 'own'  # mobilenet_v2, resnet: same or symmetric
  config.model.five_by_five = 'own'  # googlenet: 5x5, two_3x3 or 3x3
  config.model.pool_projection = 128  # inception_v2: or 96, in 4c and 4d
  config.model.separable_stem = True  # inception_v2: depth multiplier 8
  config.model.normalized_stem = True  # inception_v2: slim has no norm there
  config.model.reduction = 'strided'  # inception_v2: or pooled, 3c and 4e
  config.model.asymmetric = True  # inception_v3: 1x7 and 7x1 instead of 7x7

  config.norm = ml_collections.ConfigDict()
  config.norm.name = 'batch'  # a file of bnresearch/norms
  config.norm.sites = ()  # other norms by path, as ('stem*=none',)
  config.norm.momentum = 0.99  # weight of the old running statistics
  config.norm.epsilon = 1e-5  # added to the variance; not in the paper
  config.norm.running_variance = 'unbiased'  # m/(m-1), the paper's; or biased
  config.norm.debias = False  # running averages forget their initial 0 and 1
  config.norm.group_size = 0  # examples that share statistics; 0 for all
  config.norm.group_variance = 'within'  # of groups, at evaluation; or pooled
  config.norm.variance = 'two_pass'  # or one_pass, inaccurate, an ablation
  config.norm.per_activation = ()  # by path, statistics of each position apart
  config.norm.stop_gradient = False  # statistics as constants, section 2
  config.norm.frozen_statistics = False  # train by the running statistics
  config.norm.frozen_affine = False  # train neither gamma nor beta
  config.norm.use_scale = True  # learn gamma
  config.norm.use_bias = True  # learn beta
  config.norm.initial_scale = 1.0  # gamma before training
  config.norm.backward = 'equations'  # the paper's six; or autodiff
  config.norm.r_max = 3.0  # batch_renorm: most that r becomes, from 1
  config.norm.d_max = 5.0  # batch_renorm: most that d becomes, from 0
  config.norm.renorm_start = 5000  # batch_renorm: updates of plain BN before
  config.norm.r_max_at = 40_000  # batch_renorm: update that reaches r_max
  config.norm.d_max_at = 25_000  # batch_renorm: update that reaches d_max
  config.norm.channel_groups = 32  # group, evonorm_s0: at most so many
  config.norm.whitened_channels = 64  # iterative_whitening: at most together
  config.norm.whitening_iterations = 5  # iterative_whitening: Newton's
  config.norm.learn_epsilon = False  # filter_response
  config.norm.order = 'l1'  # lp: l1, l2 or linf
  config.norm.noise_shift = 0.5  # noisy_batch: mean of the noise, at most
  config.norm.noise_scale = 0.25  # noisy_batch: its deviation over 1, at most
  config.norm.noise_jitter = 0.1  # noisy_batch: spread between examples

  config.objective = ml_collections.ConfigDict()
  config.objective.auxiliary = 'weighted'  # heads: none, weighted, alternating
  config.objective.auxiliary_weight = 0.3  # GoogLeNet's; of each head's loss
  config.objective.label_smoothing = 0.0  # probability spread over all classes

  config.train = ml_collections.ConfigDict()
  config.train.steps = 5000  # updates
  config.train.batch_size = 60  # examples of one update; the paper's
  config.train.log_every = 100  # steps in one call and one row of the log
  config.train.scan = 'auto'  # lax.scan over the call: auto, always, never
  config.train.microbatches = 1  # parts of a batch, one after another
  config.train.dtype = 'float32'  # or bfloat16, what layers compute in
  config.train.remat = 'none'  # linear, blocks: what is kept for the way back
  config.train.average = 0.0  # decay of the average of the parameters

  config.optim = ml_collections.ConfigDict()
  config.optim.name = 'sgd'  # its name in optax
  config.optim.learning_rate = 0.1  # peak of the schedule; not in the paper
  config.optim.momentum = 0.0  # sgd, rmsprop: 0 keeps no velocity
  config.optim.nesterov = False  # sgd, rmsprop
  config.optim.weight_decay = 0.0  # decoupled, kernels: adamw, lamb, lion
  config.optim.l2 = 0.0  # gradient of l2/2 |w|^2, on kernels only
  config.optim.clip_norm = 0.0  # most that the norm of the gradient may be
  config.optim.clip_adaptive = 0.0  # of a unit's, over that of its weights
  config.optim.schedule = 'constant'  # constant, cosine, exponential, step
  config.optim.warmup_steps = 0  # linear from 0, before the schedule
  config.optim.decay_rate = 0.1  # exponential, step: factor per decay_steps
  config.optim.decay_steps = 1000  # exponential, step

  # Trained weights to begin with, instead of random ones.
  config.start = ml_collections.ConfigDict()
  config.start.path = ''  # a run directory, or a file of pretrained/
  config.start.source = 'run'  # of a file: keras, timm or torchvision
  config.start.checkpoint = 'best'  # of a run: best, latest or a step
  config.start.exclude = ()  # layers that stay random, as ('*logits',)

  # A job of --launcher=slurm, which is one point; it changes no result.
  config.slurm = ml_collections.ConfigDict()
  config.slurm.partition = ''  # '' for the cluster's default
  config.slurm.minutes = 240  # after these a job saves itself and queues again
  config.slurm.requeues = 100  # times that it does so at most
  config.slurm.signal_delay = 120  # seconds it has for that before the end
  config.slurm.cpus = 1  # cores; without a GPU, devices that share a batch
  config.slurm.gpus = 0  # of its one node
  config.slurm.memory = 8  # GB; 0 for the partition's default
  config.slurm.array_parallelism = 100  # jobs that run at a time, at most
  config.slurm.options = ()  # others of sbatch, as ('account=x', 'exclusive')

  # How a step is spread; it changes no result beyond rounding.
  config.parallel = ml_collections.ConfigDict()
  config.parallel.backend = 'jit'  # jit, shard_map or pmap
  config.parallel.devices = 0  # that share a batch; 0 for as many as fit

  config.eval = ml_collections.ConfigDict()
  config.eval.every = 500  # steps; the whole test split, exactly
  config.eval.batch_size = 1000  # examples of one call
  config.eval.statistics = 'ema'  # that normalize: ema or batch
  config.eval.crop = 'centre'  # of images of all sizes: centre, or whole
  config.eval.crop_fraction = 0.875  # centre: of the shorter side
  config.eval.population_batches = 100  # of Algorithm 2, in --mode=eval

  config.probes = ml_collections.ConfigDict()
  config.probes.names = ()  # files of bnresearch/probes
  config.probes.every = 500  # steps
  config.probes.examples = 1000  # first test images, the fixed probe batch
  config.probes.statistics = 'ema'  # that normalize: ema or batch
  config.probes.percentiles = (15.0, 50.0, 85.0)  # Figure 1's
  config.probes.saturation_threshold = 4.0  # |input| whose sigmoid is flat

  config.checkpoint = ml_collections.ConfigDict()
  config.checkpoint.every = 5000  # steps; also at the end and on SIGTERM
  config.checkpoint.keep = 2  # latest ones; the best one is kept besides
  return config.lock()


def parse(arg: str, **defaults: str | int) -> dict[str, str | int]:
  """Reads what follows the colon of `--config=FILE:key=value,key=value`.

  Args:
    arg: the text after the colon.
    **defaults: the keys that this config knows; a value takes its default's
      type, and a number is at least 1.

  Raises:
    ValueError: a key is unknown, a value has the wrong type or is too small.
  """
  values = dict(defaults)
  for item in filter(None, arg.split(',')):
    key, equals, text = item.partition('=')
    if not equals or key not in defaults:
      takes = ', '.join(f'{k}={v}' for k, v in defaults.items()) or 'nothing'
      raise ValueError(f'{item!r} after the colon: this config takes {takes}.')
    try:
      values[key] = type(defaults[key])(text)
    except ValueError:
      kind = type(defaults[key]).__name__
      raise ValueError(f'{item!r} after the colon: needs {kind}.') from None
    if isinstance(values[key], int) and values[key] < 1:
      raise ValueError(f'{item} after the colon: needs 1 or more.')
  return values
