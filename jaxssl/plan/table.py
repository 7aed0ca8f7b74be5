"""A plan as text: one column a machine and batch size."""

from collections.abc import Iterator, Sequence

from jaxssl.plan.advice import Change
from jaxssl.plan.cost import Assumptions, Cost
from jaxssl.plan.estimate import MARGIN, PARTS, Estimate
from jaxssl.plan.topology import GIB, GPU_SHARE, Topology

NAMES = {
  "parameters": "parameters, statistics",
  "method_state": "method state",
  "bank": "neighbor bank",
  "votes": "neighbor window",
  "images": "stored images",
  "batch": "images of a batch",
  "padding": "padding in memory",
  "activations": "activations, temporaries",
}
MISSING = "-"


def table(found: Sequence[tuple[Estimate, Cost, int | None]]) -> list[str]:
  """Lines of figures; `found`: of each column, with the largest batch that fits."""
  rows = [[label, *cells] for label, cells in _rows(found)]
  widths = [max(len(row[k]) for row in rows if len(row) > 1) for k in range(len(found) + 1)]
  return [
    "  ".join(cell.ljust(w) if k == 0 else cell.rjust(w) for k, (cell, w) in enumerate(zip(row, widths, strict=False))).rstrip()
    for row in rows
  ]


def _rows(found: Sequence[tuple[Estimate, Cost, int | None]]) -> Iterator[tuple[str, list[str]]]:
  estimates, spent = [one for one, _, _ in found], [one for _, one, _ in found]
  yield "", [one.topology for one in estimates]
  yield "batch size", [str(one.batch_size) for one in estimates]
  if any(one.accumulate > 1 for one in estimates):
    yield "  in parts", [str(one.accumulate) for one in estimates]
  yield "chips", [str(one.chips) for one in estimates]
  yield "hosts", [str(one.hosts) for one in estimates]
  yield "memory is", ["compiled" if one.compiled else "estimated" for one in estimates]
  yield "memory of a chip, GiB", []
  for part in PARTS:
    if any(one.memory[part] for one in estimates):
      yield f"  {NAMES.get(part, part)}", [_gib(one.memory[part]) for one in estimates]
  yield "  together", [_gib(one.total) for one in estimates]
  yield "  there is", [MISSING if one.available is None else _gib(one.available) for one in estimates]
  yield "  fits", [{True: "yes", False: "NO", None: "?"}[one.fits] for one in estimates]
  yield "  largest batch", [MISSING if most is None else str(most) for _, _, most in found]
  yield "operations", []
  yield "  a step, TFLOP", [_short(one.flops / 1e12) for one in estimates]
  yield "  an image, GFLOP", [_short(one.flops / one.batch_size / 1e9) for one in estimates]
  kinds = sorted({kind for one in estimates for kind in one.traffic or ()})
  yield "sent by a chip in a step, MB", [MISSING if one.traffic is None else "" for one in estimates]
  for kind in kinds:
    yield f"  {kind}", [_sent(one, kind) for one in estimates]
  if any(one.step_seconds is not None for one in spent):
    yield "at the assumed speed", []
    if any(one.sending_seconds for one in spent):
      yield "  sending alone, ms", [_or(one.sending_seconds and 1e3 * one.sending_seconds) for one in spent]
    yield "  a step, ms", [_or(one.step_seconds and 1e3 * one.step_seconds) for one in spent]
    yield "  images/s a host", [_or(one.images_per_second_and_host) for one in spent]
    yield "  the run, hours", [_or(one.hours) for one in spent]
    if any(one.dollars is not None for one in spent):
      yield "  the run, dollars", [_or(one.dollars) for one in spent]


def advice(found: Estimate, changes: Sequence[Change]) -> list[str]:
  """Lines that say what would make a run fit that does not."""
  if found.fits is not False or found.available is None:
    return []
  head = f"\n{found.topology}, batch {found.batch_size}, takes {_gib(found.total)} of {_gib(found.available)} GiB."
  if not changes:
    most = max(found.memory, key=lambda part: found.memory[part])
    return [f"{head} No single change makes it fit; the most is {NAMES.get(most, most)}, {_gib(found.memory[most])} GiB"]
  return [f"{head} By calculation, any of these makes it fit:", *(f"  {c}: {_gib(c.total)} GiB" for c in changes)]


def sources(found: Sequence[tuple[Estimate, Cost, int | None]], targets: Sequence[Topology], assumed: Assumptions) -> list[str]:
  """Lines that say which numbers are compiled, which counted and which assumed."""
  lines = ["", "counted: operations of the matrix products and convolutions of the step as traced; arrays, from their shapes."]
  if any(one.compiled for one, _, _ in found):
    lines.append(
      "compiled: padding, activations and what is sent, by the compiler's own figures for the very step that trains; "
      "what is sent assumes rings."
    )
  if any(not one.compiled for one, _, _ in found):
    lines.append(
      "estimated: activations where nothing was compiled, as the values that live at once; "
      f"it counts as fitting where {MARGIN:g} times as much does. Sent: the gradients alone, in train.precision."
    )
  lines.append(
    "calculated: the largest batch and what makes a run fit, activations being taken to change as the estimated ones do."
  )
  if assumed.step_seconds is not None:
    lines.append(f"assumed: {assumed.step_seconds:g} s a step, as --step-seconds says.")
  elif peaks := {target.kind: target.peak for target in targets if target.peak}:
    of = ", ".join(f"{kind} {peak / 1e12:g}" for kind, peak in peaks.items())
    lines.append(
      f"assumed: a step reaches {assumed.utilization:.0%} (--utilization) of a chip's peak; TFLOP/s (--peak): {of}; "
      "it is never shorter than sending alone."
    )
  if links := {target.kind: target.link for target in targets if target.link}:
    of = ", ".join(f"{kind} {link / 1e9:g}" for kind, link in links.items())
    lines.append(f"assumed: all links of a chip are used at full speed in sending; GB/s: {of}.")
  if any(target.kind == "gpu" for target in targets):
    lines.append(f"assumed: a GPU's program can have {GPU_SHARE:.0%} of its memory (--memory, 80 GB), as JAX's allocator does.")
  return lines


def _gib(size: float) -> str:
  return f"{size / GIB:.2f}" if size >= 0.1 * GIB else f"{size / GIB:.2g}"


def _short(value: float) -> str:
  return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _or(value: float | None) -> str:
  return MISSING if value is None else _short(value)


def _sent(one: Estimate, kind: str) -> str:
  if one.traffic is None:
    return MISSING
  return _short(one.traffic[kind].sent / 1e6) if kind in one.traffic else "0"
