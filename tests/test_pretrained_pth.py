"""Files of PyTorch are read without it, and without running what they name."""

import os
import pathlib
import pickle
import zipfile

import numpy as np
import pytest

from bnresearch import pretrained
from bnresearch.pretrained import _pth
from tests import test_pretrained

FORMATS = ('zip', 'before 1.6')


def saved(path, state, form='zip'):
  """Returns a file that PyTorch itself saved."""
  torch = pytest.importorskip('torch', reason='PyTorch is not installed')
  new = form == 'zip'
  torch.save(state, path, _use_new_zipfile_serialization=new)
  return path


def tensors():
  """Returns a state dict with every kind of tensor that one may hold."""
  torch = pytest.importorskip('torch', reason='PyTorch is not installed')
  norm = torch.nn.BatchNorm2d(4)
  norm.weight.data.uniform_()
  state = norm.state_dict()  # has an attribute, _metadata
  block = torch.arange(12.0)
  for kind in ('float64', 'float32', 'float16', 'bfloat16', 'int64', 'bool'):
    state[kind] = torch.tensor([0, 1, 3]).to(getattr(torch, kind))
  return state | {
    'transposed': block.reshape(3, 4).T,
    'part': block[5:9],
    'every other': block[::2],
    'empty': torch.zeros(0, 3),
    'parameter': torch.nn.Parameter(torch.ones(2)),
  }


@pytest.mark.parametrize('form', FORMATS)
def test_tensors_are_those_that_pytorch_reads(tmp_path, form):
  torch = pytest.importorskip('torch', reason='PyTorch is not installed')
  file = saved(tmp_path / 'weights.pth', tensors(), form)
  expected = torch.load(file, weights_only=True)
  found = _pth.read(file)
  assert [*found] == [*expected]
  for name, tensor in expected.items():
    assert found[name].shape == tensor.shape
    kind = str(tensor.dtype).removeprefix('torch.')
    assert found[name].dtype.name == kind
    np.testing.assert_array_equal(
      found[name].astype(np.float64), tensor.detach().double().numpy()
    )


@pytest.mark.parametrize('form', FORMATS)
@pytest.mark.parametrize('ending', ['pth', 'pt', 'bin'])
def test_a_file_of_pytorch_becomes_our_variables(tmp_path, ending, form):
  torch = pytest.importorskip('torch', reason='PyTorch is not installed')
  arrays = test_pretrained.theirs()
  state = {name: torch.from_numpy(value) for name, value in arrays.items()}
  load = lambda file: test_pretrained.flat(
    pretrained.load(
      file, 'torchvision', test_pretrained.MODEL, test_pretrained.SIZE
    )
  )
  found = load(saved(tmp_path / f'weights.{ending}', state, form))
  expected = load(test_pretrained.saved(tmp_path / 'weights.npz', arrays))
  assert [*found] == [*expected]
  for name, value in expected.items():
    np.testing.assert_array_equal(found[name], value)


class Calls:
  """Pickled as a call of any function."""

  def __init__(self, function, *args):
    self.call = function, args

  def __reduce__(self):
    return self.call


def malicious(sentinel):
  """Returns pickles that run programs, if they are read as pickles are."""
  make = f'__import__("os").mkdir({str(sentinel)!r})'
  word = str(sentinel).encode()
  return {
    'builtins.eval': pickle.dumps({'w': Calls(eval, make)}),
    'builtins.exec': pickle.dumps({'w': Calls(exec, make)}, protocol=4),
    'posix.system': pickle.dumps({'w': Calls(os.system, f'touch {sentinel}')}),
    # A name in a name, which is looked up in an allowed class.
    'collections.OrderedDict.fromkeys': (
      b'\x80\x04Vcollections\nVOrderedDict.fromkeys\n\x93(Vab\ntR.'
    ),
    # By the opcode INST, which names and calls at once.
    'os.mkdir': b'(S' + repr(sentinel.name).encode() + b'\nios\nmkdir\n.',
    'pathlib.Path': b'cpathlib\nPath\n(V' + word + b'\ntR.',
  }


NAMES = tuple(malicious(pathlib.Path('x')))


def in_zip(path, pickled, **storages):
  with zipfile.ZipFile(path, 'w') as archive:
    archive.writestr('weights/data.pkl', pickled)
    for key, content in storages.items():
      archive.writestr(f'weights/data/{key}', content)
  return path


@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize('form', FORMATS)
def test_a_pickle_that_names_a_program_is_refused_and_runs_nothing(
  tmp_path, monkeypatch, name, form
):
  monkeypatch.chdir(tmp_path)
  sentinel = tmp_path / 'run'
  pickled = malicious(sentinel)[name]
  file = tmp_path / 'weights.pth'
  if form == 'zip':
    in_zip(file, pickled)
  else:
    head = (0x1950A86A20F9469CFC6C, 1001, {'little_endian': True})
    file.write_bytes(b''.join(map(pickle.dumps, head)) + pickled)
  with pytest.raises(ValueError, match=f'names {name}, which is no tensor'):
    _pth.read(file)
  assert not sentinel.exists()


def test_these_pickles_would_run_their_program_elsewhere(tmp_path):
  for name in ('builtins.eval', 'posix.system'):
    sentinel = tmp_path / name
    pickle.loads(malicious(sentinel)[name])
    assert sentinel.exists()


def named(module, name):
  return f'c{module}\n{name}\n'.encode()


@pytest.mark.parametrize(
  'name',
  [k for k, v in _pth._STAND_INS.items() if not isinstance(v, str)],
  ids='.'.join,
)
def test_a_pickle_cannot_change_what_stands_in_for_a_name(tmp_path, name):
  """By BUILD, of an object's attributes: of its dict, or by `setattr`."""
  stand_in = _pth._STAND_INS[name]
  for state in (b'}Vnew\nI1\ns', b'N}Vnew\nI1\ns\x86'):
    file = in_zip(tmp_path / 'weights.pth', named(*name) + state + b'b.')
    with pytest.raises(ValueError, match='holds no state dict of PyTorch'):
      _pth.read(file)
    assert not hasattr(stand_in, 'new')


def of_tensor(kind='FloatStorage', values=4, offset=0, size=(4,), strides=(1,)):
  """Returns a pickle of one tensor with these numbers, right or wrong."""
  row = lambda numbers: b'(' + b''.join(b'I%d\n' % n for n in numbers) + b't'
  block = b'(Vstorage\n' + named('torch', kind) + b'V0\nVcpu\nI%d\ntQ' % values
  view = block + b'I%d\n' % offset + row(size) + row(strides)
  rebuild = named('torch._utils', '_rebuild_tensor_v2')
  return b'}Vw\n' + rebuild + b'(' + view + b'tRs.'


def test_a_tensor_lies_in_its_block(tmp_path):
  block = np.arange(4, dtype=np.float32).tobytes()
  file = tmp_path / 'weights.pth'
  pickled = of_tensor(offset=1, size=(3,))
  found = _pth.read(in_zip(file, pickled, **{'0': block}))
  np.testing.assert_array_equal(found['w'], [1, 2, 3])
  for wrong, message in (
    ({'size': (5,)}, 'more than its 4 values'),
    ({'size': (10**12,), 'strides': (0,)}, 'more than its 4 values'),
    ({'offset': 1}, 'strides is incompatible'),
    ({'offset': -1}, 'strides is incompatible'),
    ({'size': (2,), 'strides': (9,)}, 'strides is incompatible'),
    ({'size': (4,), 'strides': (-1,)}, 'strides is incompatible'),
    ({'values': 8, 'size': (8,)}, 'buffer is too small|incompatible'),
    ({'kind': 'UntypedStorage'}, 'names torch.UntypedStorage'),
  ):
    in_zip(file, of_tensor(**wrong), **{'0': block})
    with pytest.raises(ValueError, match=message):
      _pth.read(file)


def test_an_attribute_of_a_dict_does_not_hide_what_is_in_it(tmp_path):
  hiding = b'}Vitems\n' + named('collections', 'OrderedDict') + b'sb'
  made = named('collections', 'OrderedDict') + b')R' + hiding
  file = in_zip(tmp_path / 'weights.pth', made + b'Vw\nVtext\ns.')
  with pytest.raises(ValueError, match="holds a str at 'w'"):
    _pth.read(file)


def test_a_compressed_file_is_refused_before_it_fills_the_memory(tmp_path):
  file = tmp_path / 'weights.pth'
  with zipfile.ZipFile(file, 'w', zipfile.ZIP_DEFLATED) as archive:
    archive.writestr('w/data.pkl', bytes(10**7))
  assert file.stat().st_size < 20_000
  with pytest.raises(ValueError, match='is compressed, which PyTorch does not'):
    _pth.read(file)


@pytest.mark.parametrize(
  ('pickled', 'message'),
  [
    (pickle.dumps([1]), 'holds no dict but a list'),
    (pickle.dumps({'epoch': 3}), "holds a int at 'epoch'. It needs tensors"),
    (pickle.dumps({'state_dict': {}}), "a dict at 'state_dict'.*state_dict"),
  ],
)
def test_what_is_no_state_dict_is_refused(tmp_path, pickled, message):
  with pytest.raises(ValueError, match=message):
    _pth.read(in_zip(tmp_path / 'weights.pth', pickled))


def test_numbers_of_another_byte_order_are_refused(tmp_path):
  file = in_zip(tmp_path / 'weights.pth', pickle.dumps({}))
  assert _pth.read(file) == {}
  with zipfile.ZipFile(file, 'a') as archive:
    archive.writestr('weights/byteorder', b'big')
  with pytest.raises(ValueError, match='big-endian'):
    _pth.read(file)


@pytest.mark.parametrize('form', FORMATS)
def test_a_damaged_file_gives_a_message_or_its_tensors(tmp_path, form):
  torch = pytest.importorskip('torch', reason='PyTorch is not installed')
  state = {'w': torch.arange(5.0), 'b': torch.ones(2, 3)}
  file = saved(tmp_path / 'weights.pth', state, form)
  whole, random = file.read_bytes(), np.random.RandomState(0)
  refusals = []
  for _ in range(300):
    damaged = bytearray(whole[: random.randint(1, len(whole) + 1)])
    damaged[random.randint(len(damaged))] ^= random.randint(1, 256)
    file.write_bytes(damaged)
    try:
      _pth.read(file)
    except ValueError as error:
      refusals.append(str(error))
  assert len(refusals) > 250
  assert all(text.startswith(f'{file}: ') for text in refusals)
