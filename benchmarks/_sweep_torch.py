"""PyTorch's part in `benchmarks.sweep`: the same networks, one after the other.

It is what a user of PyTorch would write, and is here as a reference. It does
not import JAX, as a user of PyTorch would not wait for that.

  python -m benchmarks._sweep_torch DATA.npz --rates=0.1,0.2 --steps=500

prints {"train_s": seconds of training, "platform": "cpu" or "cuda"}.
"""

import argparse
import concurrent.futures
import json
import multiprocessing
import time

import numpy as np

# Steps between evaluations; examples per call there; examples per batch.
EVALUATED, PART, N = 500, 1000, 60


def main() -> None:
  parser = argparse.ArgumentParser()
  parser.add_argument('data')
  parser.add_argument('--rates', required=True)
  parser.add_argument('--steps', type=int, required=True)
  parser.add_argument('--processes', type=int, default=1)
  args = parser.parse_args()
  rates = [float(rate) for rate in args.rates.split(',')]
  began = time.monotonic()
  if args.processes == 1:
    for k, rate in enumerate(rates):
      train(args.data, k, rate, args.steps)
  else:
    pool = concurrent.futures.ProcessPoolExecutor(
      args.processes,
      mp_context=multiprocessing.get_context('spawn'),
      initializer=_use_one_thread,
    )
    with pool:
      runs = [
        pool.submit(train, args.data, k, rate, args.steps)
        for k, rate in enumerate(rates)
      ]
      for run in runs:
        run.result()
  seconds = time.monotonic() - began
  print(json.dumps({'train_s': seconds, 'platform': _platform()}))


def train(data: str, seed: int, rate: float, steps: int) -> float:
  """Trains one network; returns its last test accuracy.

  Args:
    data: a file of x, y, test_x, test_y, see `ready` in the contestants.
    seed: seed of weights and order.
    rate: learning rate.
    steps: number of updates.
  """
  import torch

  torch.manual_seed(seed)
  device = _platform()
  with np.load(data) as file:
    x, y, test_x, test_y = (
      torch.from_numpy(file[key]).to(device)
      for key in ('x', 'y', 'test_x', 'test_y')
    )
  net = _network(torch, x.shape[1]).to(device)
  optimizer = torch.optim.SGD(net.parameters(), rate)
  criterion = torch.nn.CrossEntropyLoss()
  accuracy, per_epoch = 0.0, len(x) // N
  for step in range(steps):
    if step % per_epoch == 0:
      order = torch.randperm(len(x), device=device)
    first = step % per_epoch * N
    chosen = order[first : first + N]
    optimizer.zero_grad()
    loss = criterion(net(x[chosen]), y[chosen])
    loss.backward()
    optimizer.step()
    if (step + 1) % EVALUATED == 0:
      loss.item()
      accuracy = _accuracy(torch, net, test_x, test_y)
  return accuracy


def _use_one_thread():
  import torch

  torch.set_num_threads(1)


def _network(torch, width):
  modules = []
  for _ in range(3):
    modules += [torch.nn.Linear(width, 100), torch.nn.BatchNorm1d(100)]
    modules.append(torch.nn.Sigmoid())
    width = 100
  return torch.nn.Sequential(*modules, torch.nn.Linear(100, 10))


def _accuracy(torch, net, x, y):
  net.eval()
  with torch.no_grad():
    correct = sum(
      int((net(x[k : k + PART]).argmax(1) == y[k : k + PART]).sum())
      for k in range(0, len(x), PART)
    )
  net.train()
  return correct / len(x)


def _platform():
  import torch

  return 'cuda' if torch.cuda.is_available() else 'cpu'


if __name__ == '__main__':
  main()
