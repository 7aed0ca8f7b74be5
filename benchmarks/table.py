"""What the benchmarks share: timing, the name of the machine, one table on the screen and in a JSON file."""

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

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # torch, where it is the peer, needs memory as well

import jax  # noqa: E402


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
  """One figure beside that of a peer, measured on the same machine."""

  name: str
  value: float
  unit: str  # "us/view": less is better; "views/s" and whatever ends in /s, and "%": more is better
  peer: str
  peer_value: float

  @property
  def ratio(self) -> float:
    """How many times better than the peer; above 1: faster."""
    return self.value / self.peer_value if self.unit.endswith(("/s", "%")) else self.peer_value / self.value


def seconds(run: Callable[[], Any], rounds: int = 30) -> float:
  """Times `run` and whatever jax arrays it returns: the median of some rounds, after one that is not counted."""
  taken = []
  for _ in range(rounds + 1):
    start = time.perf_counter()
    jax.block_until_ready(run())
    taken.append(time.perf_counter() - start)
  return statistics.median(taken[1:])


def machine() -> str:
  """Names the processor, its cores, and the accelerator where there is one."""
  info = pathlib.Path("/proc/cpuinfo")
  lines = info.read_text().splitlines() if info.exists() else []
  models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
  device = jax.devices()[0]
  name = f"{models[0] if models else platform.machine()}, {os.cpu_count()} cores"
  return name if device.platform == "cpu" else f"{name}, {len(jax.devices())} x {device.device_kind}"


def main(rows: Callable[[], Iterable[Row]]) -> None:
  """Measures, prints the table, and writes it where --json FILE says."""
  parser = argparse.ArgumentParser(description=rows.__doc__)
  parser.add_argument("--json", metavar="FILE", type=pathlib.Path, help="write the rows here as well")
  arguments = parser.parse_args()
  print(f"{machine()}; jax {jax.__version__}")
  print(f"{'':<64}{'ours':>10}{'peer':>10}  {'unit':<10}{'ratio':>6}  peer")
  found = []
  for row in rows():
    print(f"{row.name:<64}{row.value:>10.4g}{row.peer_value:>10.4g}  {row.unit:<10}{row.ratio:>6.3g}  {row.peer}", flush=True)
    found.append({**dataclasses.asdict(row), "ratio": row.ratio, "machine": machine()})
  if arguments.json:
    arguments.json.write_text(json.dumps(found, indent=2) + "\n")
