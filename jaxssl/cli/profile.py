"""`profile`: a trace of ten training steps, and where their time goes."""

import collections
import itertools
import re
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax

from jaxssl.config import flags
from jaxssl.core import log as runlog
from jaxssl.core import paths
from jaxssl.core.errors import UserError
from jaxssl.train.setup import Experiment
from jaxssl.workdir.workdir import Workdir

STEPS, BEFORE = 10, 3  # steps that are traced, and steps before them that are not
PARTS = {  # the scopes of jaxssl.train.step, and what they are
  "views": "views: crops, flips, color, blur",
  "teacher": "teacher: its pass",
  "student": "student: its pass",
  "loss": "loss",
  "gradient": "gradient: the way back",
  "update": "update: optimizer, teacher's average",
  "memory": "memory: the method's queue, center, ...",
  "neighbors": "neighbors: search and write of AdaSim's bank",
  "vitals": "vitals: what health looks at",
  "other": "other: what belongs to several, or to none",
}
SCOPE = re.compile(rf"[/(]({'|'.join(name for name in PARTS if name not in ('gradient', 'other'))})[/)]")
NESTED = ("while", "conditional", "call")  # they last as long as what they hold, which is counted


def profile(argv: Sequence[str]) -> int:
  """Runs `profile --config FILE[:RECIPE] [--workdir DIR] [--config.FIELD=VALUE ...]`."""
  config, workdir = flags.parse(argv)
  if not paths.is_local(workdir):
    raise UserError(f"--workdir {workdir} is not allowed; a trace is written to this machine")
  folder = Workdir(workdir).trace
  try:
    folder.mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise UserError(f"--workdir {workdir} cannot be used: {error}") from error
  runlog.start(None)
  run = Experiment(config, workdir)
  state = run.open_epoch(run.init(), 0)
  batches = itertools.chain.from_iterable(run.rows(state, epoch, 0) for epoch in itertools.count())
  rows = next(batches)
  began = time.monotonic()
  step = run.compiled(rows)
  runlog.LOG.info("compiled in %.1f s", time.monotonic() - began)
  for _ in range(BEFORE):
    state, logs = step(state, rows, run.train.store)
    rows = next(batches)
  jax.block_until_ready(logs)
  waited = 0.0
  with jax.profiler.trace(str(folder)):
    began = time.monotonic()
    for _ in range(STEPS):
      asked = time.monotonic()
      rows = next(batches)
      waited += time.monotonic() - asked
      state, logs = step(state, rows, run.train.store)
    jax.block_until_ready(logs)
    taken = time.monotonic() - began
  newest = max(folder.glob("plugins/profile/*/*.xplane.pb"), key=lambda path: path.stat().st_mtime)
  busy = seconds_of_parts(jax.profiler.ProfileData.from_file(str(newest)), parts_of(step.as_text() or ""))
  batch = config.train.batch_size
  print(f"{STEPS} steps of {batch}: {1e3 * taken / STEPS:.1f} ms each, {batch * STEPS / taken:.0f} images/s")
  print(f"{waited / taken:6.1%}  of that time the host waited for data; the devices were busy with:")
  total = sum(busy.values()) or 1.0
  for part, seconds in sorted(busy.items(), key=lambda item: -item[1]):
    print(f"{seconds / total:6.1%}  {PARTS[part]}")
  print(f"the trace, for xprof, TensorBoard or ui.perfetto.dev: {newest.parent}")
  return 0


def part_of(name: str) -> str:
  """Names the part of a step that an operation belongs to, by its scopes: jit(step)/transpose(jvp(student))/dot_general."""
  if "transpose(" in name and "jvp" in name:
    return "gradient"
  found = SCOPE.search(name)
  return found[1] if found else "other"


def parts_of(text: str) -> dict[str, str]:
  """Reads from a compiled step's text which part of a step each instruction belongs to; a fusion to most of what it holds."""
  inside: dict[str, collections.Counter] = collections.defaultdict(collections.Counter)
  own: dict[str, str] = {}
  calls: dict[str, str] = {}
  computation = ""
  for line in text.splitlines():
    if head := re.match(r"(?:ENTRY )?%?([\w.\-]+) .*\{$", line):
      computation = head[1]
    elif instruction := re.match(r"\s+(?:ROOT )?%?([\w.\-]+) = ", line):
      name = instruction[1]
      if scope := re.search(r'op_name="([^"]*)"', line):
        own[name] = part_of(scope[1])
        inside[computation][own[name]] += 1
      if called := re.search(r"calls=%?([\w.\-]+)", line):
        calls[name] = called[1]
  held = {name: inside[of].most_common(1)[0][0] for name, of in calls.items() if name not in own and inside[of]}
  return own | held


def seconds_of_parts(trace: Any, parts: Mapping[str, str]) -> dict[str, float]:
  """Sums the time of a trace's operations by the part of a step that they belong to."""
  busy = dict.fromkeys(PARTS, 0.0)
  for event in operations(trace):
    with warnings.catch_warnings():
      # From Python 3.12 on, jaxlib's event_stats type warns of a missing __module__; turned into an error, that aborts Python.
      warnings.simplefilter("ignore", DeprecationWarning)
      stats = dict(event.stats)
    name = str(stats.get("hlo_op", event.name)).split(" = ")[0].lstrip("%")
    if name in parts and not name.startswith(NESTED):
      busy[parts[name]] += event.duration_ns / 1e9
  return {part: seconds for part, seconds in busy.items() if seconds}


def operations(trace: Any) -> Iterator[Any]:
  """Gives the events of the accelerators, or of the host where there is none."""
  planes = list(trace.planes)
  devices = [plane for plane in planes if plane.name.startswith("/device:")]
  for plane in devices or planes:
    lines = list(plane.lines)
    for line in [line for line in lines if line.name == "XLA Ops"] or lines:
      yield from line.events
