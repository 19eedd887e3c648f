"""What each optimizer takes of `config.optim`: no other knob is passed on.

Optax has more of them by name, such as `nesterov` in `nadam`, which is Adam
once that is False (Dozat 2016), and in `adam`, which is NAdam once it is True.
"""

# What `configs/default.py` says of each knob: 'momentum' is of sgd and rmsprop.
OPTIONS = {
  'sgd': ('momentum', 'nesterov'),
  'adam': (),
  'adamw': ('weight_decay',),
  'adagrad': (),
  'lamb': ('weight_decay',),
  'lion': ('weight_decay',),
  'nadam': (),
  'rmsprop': ('momentum', 'nesterov'),
}
