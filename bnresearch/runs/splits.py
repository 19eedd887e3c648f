"""Which splits a run has, and which one chooses its best checkpoint.

Who chooses by the test split reports its maximum over the checkpoints, which is
too good. `config.data.held_out` sets a part of the training split aside, the
validation split; then that chooses. Both are evaluated each time, as the best
step is known at the end only.
"""

from bnresearch.knobs.tree import Config


def of(config: Config) -> tuple[str, ...]:
  """Returns 'train', 'validation' where a part is held out, and 'test'."""
  if _held_out(config):
    return 'train', 'validation', 'test'
  return 'train', 'test'


def chooses(config: Config) -> str:
  """Returns the split whose highest accuracy makes a checkpoint the best."""
  return 'validation' if _held_out(config) else 'test'


def _held_out(config):
  # Runs from before this knob have none.
  return config.get('data', {}).get('held_out', 0.0)
