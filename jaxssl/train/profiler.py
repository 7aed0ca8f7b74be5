"""Traces ten training steps and sums their time by part of the step."""

import collections
import itertools
import pathlib
import re
import time
import warnings
from collections.abc import Mapping
from typing import Any

import jax

from jaxssl.config.schema import Config
from jaxssl.core import LOG, UserError, paths
from jaxssl.train.setup import Experiment
from jaxssl.workdir.workdir import Workdir

STEPS, BEFORE = 10, 3  # steps that are traced, and steps before them that are not
PARTS = {  # the named scopes of jaxssl.train.step and their descriptions
  "views": "views: crops, flips, color, blur",
  "teacher": "teacher: forward pass",
  "student": "student: forward pass",
  "loss": "loss",
  "gradient": "gradient: backward pass",
  "update": "update: optimizer, teacher's EMA",
  "method_state": "method state: queue, center, ...",
  "neighbors": "neighbors: search and update of the neighbor bank",
  "diagnostics": "diagnostics: what health looks at",
  "other": "other: several parts, or none",
}
SCOPE = re.compile(rf"[/(]({'|'.join(name for name in PARTS if name not in ('gradient', 'other'))})[/)]")
NESTED = ("while", "conditional", "call")  # their time includes operations inside, which are counted themselves


def profile(config: Config, workdir: pathlib.Path) -> str:
  """Traces STEPS training steps to `workdir`/trace and returns a table of where their time goes. Raises UserError."""
  if not paths.is_local(workdir):
    raise UserError(f"--workdir={workdir}: a trace is written to a local disk; expected a local folder")
  folder = Workdir(workdir).trace
  try:
    folder.mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise UserError(f"--workdir={workdir}: cannot be created: {error.strerror or error}") from error
  run = Experiment(config, workdir)
  state = run.start_epoch(run.init(), 0)
  batches = itertools.chain.from_iterable(run.batches(state, epoch, 0) for epoch in itertools.count())
  rows = next(batches)
  began = time.monotonic()
  step = run.compile_step(rows)
  LOG.info("compiled in %.1f s", time.monotonic() - began)
  for _ in range(BEFORE):
    state, logs = step(state, rows, run.train.resident)
    rows = next(batches)
  jax.block_until_ready(logs)
  waited = 0.0
  with jax.profiler.trace(str(folder)):
    began = time.monotonic()
    for _ in range(STEPS):
      asked_at = time.monotonic()
      rows = next(batches)
      waited += time.monotonic() - asked_at
      state, logs = step(state, rows, run.train.resident)
    jax.block_until_ready(logs)
    elapsed = time.monotonic() - began
  newest = max(folder.glob("plugins/profile/*/*.xplane.pb"), key=lambda path: path.stat().st_mtime)
  busy = seconds_of_parts(jax.profiler.ProfileData.from_file(str(newest)), parts_of(step.as_text() or ""))
  batch, total = run.config.train.batch_size, busy.total() or 1.0
  lines = [
    f"{STEPS} steps of {batch}: {1e3 * elapsed / STEPS:.1f} ms each, {batch * STEPS / elapsed:.0f} images/s",
    f"{waited / elapsed:6.1%}  of that time the host waited for data; the devices' time by part:",
    *(f"{seconds / total:6.1%}  {PARTS[part]}" for part, seconds in busy.most_common()),
    f"trace, for xprof, TensorBoard or ui.perfetto.dev: {newest.parent}",
  ]
  return "\n".join(lines)


def part_of(name: str) -> str:
  """Returns the part of a step that an operation belongs to by its scopes: jit(step)/transpose(jvp(student))/dot_general."""
  if "transpose(" in name and "jvp" in name:
    return "gradient"
  scope = SCOPE.search(name)
  return scope[1] if scope else "other"


def parts_of(text: str) -> dict[str, str]:
  """Maps each instruction of a compiled step's text to its part of the step; a fusion to that of most of its operations."""
  inside: dict[str, collections.Counter] = collections.defaultdict(collections.Counter)  # of each computation
  own, calls, computation = {}, {}, ""
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
  return {name: inside[callee].most_common(1)[0][0] for name, callee in calls.items() if inside[callee]} | own


def seconds_of_parts(trace: Any, parts: Mapping[str, str]) -> collections.Counter:
  """Sums the time of a trace's operations by part of the step: those of the accelerators, or of the host if there are none."""
  busy = collections.Counter()
  planes = list(trace.planes)
  planes = [plane for plane in planes if plane.name.startswith("/device:")] or planes
  lines = [line for plane in planes for line in [x for x in plane.lines if x.name == "XLA Ops"] or plane.lines]
  for event in itertools.chain.from_iterable(line.events for line in lines):
    with warnings.catch_warnings():
      # From Python 3.12 on, jaxlib's event_stats type warns of a missing __module__; turned into an error, that aborts Python.
      warnings.simplefilter("ignore", DeprecationWarning)
      stats = dict(event.stats)
    name = str(stats.get("hlo_op", event.name)).split(" = ")[0].lstrip("%")
    if name in parts and not name.startswith(NESTED):
      busy[parts[name]] += event.duration_ns / 1e9
  return busy
