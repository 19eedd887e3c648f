"""Section 2 of Ioffe & Szegedy 2015: statistics that get no gradient.

Command:  python -m bnresearch.main --config=configs/gradient_through_statistics.py
Expected: with the gradient the biases stay at 0; without it they grow all
          along, and with learning rate 1 the network does not learn.
Time:     about 5 s a point on one CPU core.

After a colon, comma-separated:
  data=digits|mnist|fashion_mnist
  affine=without|with|both   section 2's bare normalization, or gamma and beta
  seeds=1                runs seeds 0 ... seeds-1 of each point
  steps=20000

The network is Figure 1's, but each hidden layer keeps the bias that the mean
subtraction cancels: it is the b of section 2. The paper names no learning
rate; its model "blows up", which depends on it.
"""  # noqa: E501 (the command is one line)

from configs import default

AFFINE = {'without': (False,), 'with': (True,), 'both': (False, True)}


def get_config(arg: str = ''):
  """Returns the sweep over stopped gradients, learning rates and seeds."""
  chosen = default.parse(
    arg, data='digits', affine=tuple(AFFINE), seeds=1, steps=20_000
  )
  config = default.get_config()
  config.data.name = chosen['data']
  config.model.keep_bias = True
  config.train.steps = chosen['steps']
  config.train.log_every = 500
  config.probes.names = ('parameter_norm',)
  config.sweep = tuple(
    {
      'norm.use_scale': affine,
      'norm.use_bias': affine,
      'optim.learning_rate': rate,
      'norm.stop_gradient': stop,
      'seed': seed,
    }
    for seed in range(chosen['seeds'])
    for affine in AFFINE[chosen['affine']]
    for rate in (0.1, 1.0)
    for stop in (False, True)
  )
  return config
