"""Times functions, names the machine, and writes the table of results as text and JSON."""

import argparse
import dataclasses
import json
import os
import pathlib
import platform
import statistics
import time
from collections.abc import Callable, Iterable
from typing import Any

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # leaves memory for torch if it is the peer

import jax  # noqa: E402


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
  """A measurement and the measurement of a peer on the same machine."""

  name: str
  value: float
  unit: str  # higher is better if it ends in "/s" or "%", otherwise lower
  peer: str
  peer_value: float

  @property
  def ratio(self) -> float:
    """How many times better than the peer; above 1 is better."""
    return self.value / self.peer_value if self.unit.endswith(("/s", "%")) else self.peer_value / self.value


def seconds(run: Callable[[], Any], rounds: int = 30) -> float:
  """Returns the median seconds of `run` over `rounds`, after a warm-up round; waits for the JAX arrays that it returns."""
  times = []
  for _ in range(rounds + 1):
    start = time.perf_counter()
    jax.block_until_ready(run())
    times.append(time.perf_counter() - start)
  return statistics.median(times[1:])


def machine() -> str:
  """Returns the name of the processor, its cores, and the accelerator if there is one."""
  info = pathlib.Path("/proc/cpuinfo")
  lines = info.read_text().splitlines() if info.exists() else []
  models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
  device = jax.devices()[0]
  name = f"{models[0] if models else platform.machine()}, {os.cpu_count()} cores"
  return name if device.platform == "cpu" else f"{name}, {len(jax.devices())} x {device.device_kind}"


def main(rows: Callable[[], Iterable[Row]]) -> None:
  """Measures and prints the rows, and writes them to the file of --json."""
  parser = argparse.ArgumentParser(description=rows.__doc__)
  parser.add_argument("--json", metavar="FILE", type=pathlib.Path, help="also write the rows to FILE")
  arguments = parser.parse_args()
  print(f"{machine()}; jax {jax.__version__}")
  print(f"{'':<64}{'ours':>10}{'peer':>10}  {'unit':<10}{'ratio':>6}  peer")
  results = []
  for row in rows():
    print(f"{row.name:<64}{row.value:>10.4g}{row.peer_value:>10.4g}  {row.unit:<10}{row.ratio:>6.3g}  {row.peer}", flush=True)
    results.append({**dataclasses.asdict(row), "ratio": row.ratio, "machine": machine()})
  if arguments.json:
    arguments.json.write_text(json.dumps(results, indent=2) + "\n")
