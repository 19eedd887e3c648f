"""The flags of the command line: refused wherever they have no effect."""

import sys

import pytest

from bnresearch import flags
from bnresearch.flags.table import FLAGS, MODES
from bnresearch.sweeps.launch import LAUNCHERS

LIMITED = [flag for flag in FLAGS if flag.modes != MODES]
ONLY = [flag for flag in FLAGS if flag.launcher]
names = pytest.mark.parametrize('flag', LIMITED, ids=lambda flag: flag.key)


def given(flag, folder):
  """Returns a flag as it is typed, with a value that is in order."""
  options = flag.options
  if options.get('action') == 'store_true':
    return flag.name
  if flag.endings:
    return f'{flag.name}={folder}/file{flag.endings[0]}'
  words = {'--target': 'test/loss=1', '--step': 'latest'}
  value = words.get(flag.name) or options.get('choices', (flag.least,))[0]
  return f'{flag.name}={value}'


def problems_of(*argv):
  return list(flags.problems(flags.parser().parse_args(argv)))


@names
@pytest.mark.parametrize('mode', MODES)
def test_a_flag_is_refused_in_the_modes_that_do_not_have_it(
  flag, mode, tmp_path
):
  asked = [f'--launcher={flag.launcher}'] if flag.launcher else []
  found = problems_of(f'--mode={mode}', *asked, given(flag, tmp_path))
  needed = ' and '.join(f'--mode={name}' for name in flag.modes)
  problem = f'{flag.name}: only for {needed}.'
  assert (problem in found) == (mode not in flag.modes)


@pytest.mark.parametrize('flag', ONLY, ids=lambda flag: flag.key)
@pytest.mark.parametrize('launcher', LAUNCHERS)
def test_a_flag_of_one_launcher_is_refused_by_the_others(flag, launcher):
  found = problems_of(f'--launcher={launcher}', given(flag, ''))
  problem = f'{flag.name}: only with --launcher={flag.launcher}.'
  assert found == ([] if launcher == flag.launcher else [problem])


@names
def test_a_dry_run_does_without_the_flags_of_training_alone(flag, tmp_path):
  argv = (given(flag, tmp_path), '--launcher=slurm')
  args = flags.parser().parse_args(argv)
  found = [p.partition(':')[0] for p in flags.problems_of_a_dry_run(args)]
  expected = (
    {'--launcher', flag.name} if 'train' in flag.modes else {'--launcher'}
  )
  assert set(found) == expected


@pytest.mark.parametrize(
  ('called', 'prog'),
  [
    ('/home/me/.venv/bin/bnresearch', 'bnresearch'),
    ('/src/bnresearch/main.py', 'python -m bnresearch.main'),
    ('notebook', 'python -m bnresearch.main'),
  ],
)
def test_help_names_the_command_that_was_typed(called, prog, monkeypatch):
  monkeypatch.setattr(sys, 'argv', [called])
  text = flags.parser().format_help()
  assert text.startswith(f'usage: {prog} ')
  examples = [line for line in text.splitlines() if line.startswith('  pyt')]
  examples += [line for line in text.splitlines() if line.startswith('  bnr')]
  assert len(examples) > 10
  assert all(line.startswith(f'  {prog} --') for line in examples)


def test_every_flag_has_a_name_of_its_own_and_help():
  assert len({flag.name for flag in FLAGS}) == len(FLAGS)
  for flag in FLAGS:
    assert set(flag.modes) <= set(MODES)
    assert flag.launcher in ('', *LAUNCHERS)
    assert flag.options.get('help') or flag.name == '--mode'
