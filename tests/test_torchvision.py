"""The networks of torchvision and timm themselves, beside ours.

`tests/torchvision_network.py` runs them, in the Python that
BNRESEARCH_TORCHVISION names, or in this one. That needs their packages, and
neither JAX nor this project:

  python -m venv torchvision && torchvision/bin/pip install \
      torch==2.14.1 torchvision==0.29.1 timm
  BNRESEARCH_TORCHVISION=torchvision/bin/python pytest tests/test_torchvision.py
"""

import functools
import json
import os
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest

from bnresearch import models, pretrained, zoo
from bnresearch.models import measure
from tests import test_pretrained
from tests.daily import some
from tests.published import assert_logits, names_of

PYTHON = os.environ.get('BNRESEARCH_TORCHVISION', sys.executable)
SCRIPT = pathlib.Path(__file__).with_name('torchvision_network.py')

# Their name, our architecture and its options besides those that it needs.
NETWORKS = {
  'alexnet': ('alexnet', {}),
  'vgg11': ('vgg', {'norm': 'none', 'variant': '11'}),
  'vgg16_bn': ('vgg', {}),
  'googlenet': ('googlenet', {'auxiliary_heads': True}),
  'inception_v3': ('inception_v3', {'auxiliary_heads': True}),
  'resnet18': ('resnet', {'variant': '18'}),
  'resnet50': ('resnet', {}),
  'densenet121': ('densenet', {}),
  'mobilenet_v2': ('mobilenet_v2', {}),
  'inception_v4': ('inception_v4', {}),
}
SIZES = {'inception_v3': 299, 'inception_v4': 299}


@functools.cache
def why_not(library):
  """Returns why a library's networks cannot be made, or ''."""
  code = f'import torch, {library}'
  try:
    found = subprocess.run(
      [PYTHON, '-c', code], capture_output=True, text=True, check=False
    )
  except OSError as error:
    return f'BNRESEARCH_TORCHVISION={PYTHON}: {error.strerror}'
  if found.returncode:
    error = found.stderr.strip().splitlines()[-1]
    return f'{PYTHON} has no {library}; see BNRESEARCH_TORCHVISION: {error}'
  return ''


def answer(library, *args):
  """Returns what the script prints; skips the test where it cannot run."""
  if why := why_not(library):
    pytest.skip(why)
  command = [PYTHON, str(SCRIPT), *map(str, args)]
  return subprocess.run(
    command, capture_output=True, text=True, check=True
  ).stdout


@pytest.mark.foreign
@pytest.mark.parametrize('name', NETWORKS)
def test_a_file_of_theirs_gives_our_network_their_logits(tmp_path, name):
  """Also proves that the options which `pretrained` demands are right."""
  architecture, options = NETWORKS[name]
  source = 'timm' if architecture == 'inception_v4' else 'torchvision'
  size = SIZES.get(name, 224)
  answer(source, source, name, size, tmp_path)
  right = test_pretrained.RIGHT[architecture, source]
  model = test_pretrained.of_options(architecture, **right | options)
  variables = pretrained.load(tmp_path / 'weights.pth', source, model, size)
  with np.load(tmp_path / 'logits.npz') as found, jax.enable_x64(True):
    wide = jax.tree.map(lambda x: x.astype(np.float64), variables)
    x_NHWC = found['x_NHWC'].astype(np.float64)
    for train in (False, True):
      assert_logits(model, wide, x_NHWC, found[str(train)], train, rtol=1e-6)


STATED = {
  'alexnet': 'alexnet',
  'vgg_11': 'vgg11',
  'vgg_13': 'vgg13',
  'vgg_16': 'vgg16',
  'vgg_16_bn': 'vgg16_bn',
  'vgg_19': 'vgg19',
  'googlenet_torchvision': 'googlenet',
  'inception_v3_head': 'inception_v3',
  'resnet_18': 'resnet18',
  'resnet_34': 'resnet34',
  'resnet_50': 'resnet50',
  'resnet_101': 'resnet101',
  'resnet_152': 'resnet152',
  'densenet_121': 'densenet121',
  'densenet_169': 'densenet169',
  'densenet_201': 'densenet201',
  'mobilenet_v2': 'mobilenet_v2',
}


@pytest.fixture(scope='module')
def facts():
  return json.loads(answer('torchvision', 'facts', *STATED.values()))


def test_what_the_zoo_says_of_torchvision_torchvision_states(facts):
  of_torchvision = {
    name
    for name, found in zoo.PUBLISHED.items()
    if 'torchvision' in (found.counted_by, found.measured_by)
  }
  assert of_torchvision <= set(STATED)
  for name, theirs in STATED.items():
    found = zoo.published(name)
    assert found.parameters == facts[theirs]['parameters'], name
    if found.measured_by == 'torchvision':
      accuracies = facts[theirs]['acc@1'], facts[theirs]['acc@5']
      assert (found.top_1, found.top_5) == pytest.approx(accuracies, abs=0.05)


@pytest.mark.parametrize(
  'name', some(STATED, 'resnet_18', 'googlenet_torchvision', 'vgg_16')
)
def test_multiply_adds_are_those_that_torchvision_states(facts, name):
  found = zoo.published(name)
  macs = measure(zoo.network(name), found.size, found.channels).macs
  assert macs / 1e9 == pytest.approx(facts[STATED[name]]['gmacs'], abs=2e-3)


@pytest.mark.foreign
@pytest.mark.parametrize('name', STATED)
def test_each_variable_of_theirs_is_one_of_ours(facts, name):
  """Without logits: those of one network of each kind are compared above."""
  model = zoo.network(name)
  if name == 'googlenet_torchvision':
    model = model.clone(auxiliary_heads=True)
  one = np.float32(1)
  shapes = facts[STATED[name]]['shapes']
  found = pretrained.convert(
    {key: np.broadcast_to(one, shape) for key, shape in shapes.items()},
    pretrained.SOURCES['torchvision'],
    names_of('torchvision', model),
    models.shapes(model, zoo.published(name).size),
  )
  assert all((leaf == 1).all() for leaf in jax.tree.leaves(found))
