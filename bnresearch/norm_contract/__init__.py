"""What every normalizer promises, checked on any class, from a file or not.

from bnresearch import norm_contract
norm_contract.table(Norm)  # in a notebook; or `check(Norm)`, a dictionary

`bnresearch/norms/__init__.py` says the promises in words. They are checked on
inputs (N, C) and (N, H, W, C) whose channels and examples have means of their
own, with statistics that are no longer the initial ones.
"""

from typing import Any

import flax.linen as nn
from rich import box
from rich.table import Table

from bnresearch.norm_contract.promises import PROMISES
from bnresearch.norm_contract.subject import Subject


def check(cls: type[nn.Module], **options: Any) -> dict[str, str]:
  """Returns {promise: what is wrong, '' where it is kept}.

  It compiles about a dozen small programs. On one device nothing is said of
  several; `jax.config.update('jax_num_cpu_devices', 4)` before JAX starts makes
  four of a CPU.

  Args:
    cls: the normalizer's class.
    **options: its fields.
  """
  subject = Subject(cls(**options))
  found = {}
  for promise, holds in PROMISES.items():
    try:
      found[promise] = holds(subject) or ''
    except Exception as error:  # of the class that is checked
      text = str(error).strip().partition('\n')[0]
      found[promise] = f'{type(error).__name__}: {text}'
  return found


def table(cls: type[nn.Module], **options: Any) -> Table:
  """Returns what `check` found as a table to show."""
  result = Table('', 'promise', 'what is wrong', box=box.SIMPLE_HEAD)
  for promise, wrong in check(cls, **options).items():
    mark = '[red]broken' if wrong else '[green]kept'
    result.add_row(mark, promise, wrong)
  return result
