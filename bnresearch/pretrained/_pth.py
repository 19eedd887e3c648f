"""Reads the tensors of PyTorch's `.pth` files, without PyTorch.

`torch.save` writes a pickle, which can name any function for its reader to
call. This reader looks up no name: it has its own stand-ins for the few that
tensors need, and refuses all others before it calls anything (the Python
documentation of `pickle`, "Restricting Globals"; `torch.load` does likewise
with `weights_only=True`). No stand-in can be changed by a pickle, and no array
is larger than its file. A hostile file may still fill the memory, by opcodes
that ask for much of it.
"""

import collections
import io
import math
import os
import pickle
import zipfile
from typing import IO, Any, NamedTuple

import jax.numpy as jnp
import numpy as np

_DTYPES = {
  'BFloat16Storage': jnp.bfloat16,
  'BoolStorage': np.bool_,
  'ByteStorage': np.uint8,
  'CharStorage': np.int8,
  'DoubleStorage': np.float64,
  'FloatStorage': np.float32,
  'HalfStorage': np.float16,
  'IntStorage': np.int32,
  'LongStorage': np.int64,
  'ShortStorage': np.int16,
}
# How a file begins that is no zip, so older than PyTorch 1.6 (2020).
_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001


class Refused(ValueError):
  """A file names something that is neither a tensor nor a container."""


class _Storage(NamedTuple):
  """A block of values, as a pickle names it."""

  kind: str
  key: str
  values: int


class _Tensor(NamedTuple):
  """A view of a block; offset and strides count values."""

  storage: _Storage
  offset: int
  size: tuple[int, ...]
  strides: tuple[int, ...]


class _Rebuild(tuple):
  """Stands in for `torch._utils._rebuild_tensor_v2`.

  It is no function, as a pickle can set a function's attributes.
  """

  __slots__ = ()

  def __call__(self, storage, offset, size, strides, *unused):
    return _Tensor(storage, offset, size, strides)


class _Parameter(tuple):
  """Stands in for `torch._utils._rebuild_parameter`."""

  __slots__ = ()

  def __call__(self, tensor, *unused):
    return tensor


_STAND_INS = {
  ('collections', 'OrderedDict'): collections.OrderedDict,
  ('torch._utils', '_rebuild_tensor_v2'): _Rebuild(),
  ('torch._utils', '_rebuild_parameter'): _Parameter(),
  **{('torch', kind): kind for kind in _DTYPES},
}


class _Unpickler(pickle.Unpickler):
  def find_class(self, module, name):
    if (module, name) in _STAND_INS:
      return _STAND_INS[module, name]
    raise Refused(
      f'names {module}.{name}, which is no tensor. Nothing was run. Save '
      'network.state_dict() alone, where the file was made.'
    )

  def persistent_load(self, pid):
    word, kind, key, _, values, *view = pid
    if word != 'storage' or kind not in _DTYPES or any(view):
      raise Refused(f'names {pid!r}, which is no block of values.')
    return _Storage(kind, str(key), int(values))


def read(path: str | os.PathLike) -> dict[str, np.ndarray]:
  """Returns the arrays of a state dict by name.

  Args:
    path: a file that `torch.save(network.state_dict(), path)` wrote, in the
      format of today (zip) or in that before PyTorch 1.6.

  Raises:
    ValueError: the file is damaged, holds something else or more, or was
      written on a big-endian machine.
  """
  with open(path, 'rb') as file:
    try:
      if zipfile.is_zipfile(file):
        state, storages = _from_zip(file)
      else:
        file.seek(0)
        state, storages = _from_stream(file)
      return _arrays(state, storages)
    except Refused as error:
      raise ValueError(f'{path}: {error}') from error
    except OSError:
      raise
    except Exception as error:  # a damaged pickle may raise anything
      raise ValueError(
        f'{path}: holds no state dict of PyTorch that can be read: {error!r}'
      ) from error


def _from_zip(file):
  with zipfile.ZipFile(file) as archive:
    (table,) = (n for n in archive.namelist() if n.endswith('/data.pkl'))
    root = table.removesuffix('data.pkl')
    if f'{root}byteorder' in archive.namelist():
      _check_order(archive.read(f'{root}byteorder') == b'little')

    def content(name):
      if archive.getinfo(name).compress_type != zipfile.ZIP_STORED:
        raise Refused('is compressed, which PyTorch does not do.')
      return archive.read(name)

    state = _Unpickler(io.BytesIO(content(table))).load()
    storages = {
      storage: content(f'{root}data/{storage.key}')
      for storage in {t.storage for t in _tensors(state).values()}
    }
  return state, storages


def _from_stream(file: IO[bytes]):
  head = [_Unpickler(file).load() for _ in range(3)]
  magic, protocol, system = head
  if (magic, protocol) != (_MAGIC, _PROTOCOL):
    raise Refused('does not begin as a file of PyTorch does.')
  _check_order(system['little_endian'])
  state = _Unpickler(file).load()
  named = {t.storage.key: t.storage for t in _tensors(state).values()}
  storages = {}
  for key in _Unpickler(file).load():
    storage = named[key]
    values = int.from_bytes(file.read(8), 'little')
    storages[storage] = file.read(
      values * np.dtype(_DTYPES[storage.kind]).itemsize
    )
  return state, storages


def _check_order(little):
  if not little:
    raise Refused('was written on a big-endian machine, which is not read.')


def _tensors(state: Any) -> dict[str, _Tensor]:
  """Returns the tensors of a state dict, and refuses everything else."""
  if not isinstance(state, dict):
    raise Refused(f'holds no dict but a {type(state).__name__}.')
  # The dict's own items: a pickle can give an OrderedDict attributes.
  found = dict(dict.items(state))
  for name, value in found.items():
    if not isinstance(value, _Tensor) or not isinstance(
      value.storage, _Storage
    ):
      raise Refused(
        f'holds a {type(value).__name__} at {name!r}. It needs tensors alone: '
        'save network.state_dict() without anything around it.'
      )
  return found


def _arrays(state, storages):
  found = {}
  for name, (storage, offset, size, strides) in _tensors(state).items():
    dtype = np.dtype(_DTYPES[storage.kind])
    if math.prod(size) > storage.values:
      raise Refused(f'{name}: {size} is more than its {storage.values} values.')
    found[name] = np.ndarray(
      size,
      dtype,
      storages[storage],  # too short or out of bounds raises
      offset * dtype.itemsize,
      [step * dtype.itemsize for step in strides],
    )
  return found
