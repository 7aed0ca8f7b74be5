"""Formats plans as text, with one column per machine and batch size."""

from collections.abc import Callable, Sequence

from jaxssl.config.schema import Config
from jaxssl.plan import host
from jaxssl.plan.advice import Plan
from jaxssl.plan.estimate import MARGIN
from jaxssl.plan.hlo import KINDS
from jaxssl.plan.speed import HALF
from jaxssl.plan.topology import GIB, GPU_SHARE, Topology

NAMES = {
  "parameters": "parameters, statistics",
  "method_state": "method state",
  "bank": "neighbor bank",
  "votes": "vote window",
  "images": "resident images",
  "batch": "images of a batch",
  "activations": "activations, temporaries",
}
MISSING = "-"
SOURCES = f"""
counted: operations of the matrix products and convolutions in the traced step; arrays, from their shapes.
compiled: padding, activations and traffic are the compiler's figures for the step that trains; traffic assumes ring algorithms.
estimated: activations without a compiler are the peak of the live values in the traced step, and a run fits if {MARGIN:g} times
  that fits; traffic and latency are those of the gradients alone, in train.precision.
extrapolated: the changes that make a run fit scale the activations as the traced step's do."""


def table(plans: Sequence[Plan]) -> list[str]:
  """Returns the lines of the table, columns aligned; rows without any value are left out."""
  cells = [_cells(plan) for plan in plans]
  rows = [[label, *(column[label] for column in cells)] for label in cells[0]]
  rows = [[MISSING if cell is None else cell for cell in row] for row in rows if any(cell is not None for cell in row[1:])]
  first, *others = [max(map(len, column)) for column in zip(*(row for row in rows if row[1]), strict=True)]
  return [f"{label:{first}}{''.join(f'  {c:>{w}}' for c, w in zip(row, others, strict=True))}".rstrip() for label, *row in rows]


def _cells(plan: Plan) -> dict[str, str | None]:
  """Returns a column by label; headings are empty, and what is unknown or does not occur is None."""
  e, c, traffic = plan.estimate, plan.cost, plan.estimate.traffic or {}
  return {
    "": e.topology,
    "batch size": str(e.batch_size),
    "  accumulated over": str(e.accumulate) if e.accumulate > 1 else None,
    "chips": str(e.chips),
    "hosts": str(e.hosts),
    "memory is": "compiled" if e.compiled else "estimated",
    "memory per chip, GiB": "",
    **{f"  {NAMES.get(part, part)}": _gib(size) if size else None for part, size in e.memory.items()},
    "  total": _gib(e.total),
    "  available": MISSING if e.available is None else _gib(e.available),
    "  fits": {True: "yes", False: "NO", None: "?"}[e.fits],
    "operations": "",
    "  TFLOP per step": _short(e.flops / 1e12),
    "  GFLOP per image": _short(e.flops / e.batch_size / 1e9),
    "sent by each chip per step, MB": None if e.traffic is None else "",
    **{f"  {kind}": _short(traffic[kind]["sent"] / 1e6) if kind in traffic else None for kind in KINDS},
    "at the assumed speed": None if c.step_seconds is None else "",
    "  share of the peak": None if c.step_seconds is None else f"{c.utilization:.1%}",
    "  ms per step to compute": _short(c.computing_seconds and 1e3 * c.computing_seconds),
    "  ms per step to send": _short(c.sending_seconds and 1e3 * c.sending_seconds),
    "  ms per step of latency": _short(c.latency_seconds and 1e3 * c.latency_seconds),
    "  ms per step to read": _short(c.reading_seconds and 1e3 * c.reading_seconds),
    "  ms per step": _short(c.step_seconds and 1e3 * c.step_seconds),
    "  which is": c.bound and f"{c.bound}-bound",
    "  images/s per host": _short(c.images_per_second_and_host),
    "  images/s that it can read": _short(c.host_images_per_second),
    "  hours": _short(c.hours),
    "  dollars": _short(c.dollars),
  }


def changes(plan: Plan) -> list[str]:
  """Returns lines with the changes that would make a run fit; none if it fits or that is unknown."""
  e = plan.estimate
  if e.fits is not False or e.available is None:
    return []
  head = f"\n{e.topology}, batch size {e.batch_size}: needs {_gib(e.total)} GiB of {_gib(e.available)} GiB available."
  if not plan.changes:
    part, size = max(e.memory.items(), key=lambda item: item[1])
    return [f"{head} No single change makes it fit; the largest part is {NAMES.get(part, part)}, {_gib(size)} GiB"]
  changes = [f"  {change}: {_gib(total)} GiB" for change, total in plan.changes.items()]
  return [f"{head} Any of these changes should make it fit:", *changes]


def sources(config: Config, targets: Sequence[Topology], utilization: float) -> list[str]:
  """Returns lines that list which numbers are counted, compiled, estimated, extrapolated, measured and assumed."""
  lines = [SOURCES]
  if peaks := _values(targets, lambda target: target.peak and target.peak / 1e12):
    reached = f"assumed: a step reaches {utilization:.0%} (--utilization) of a chip's peak"
    falls = f"with n images per chip at a time, n / (n + {HALF}) of it"
    lines.append(f"{reached}, {falls}; TFLOP/s (--peak): {peaks}.")
  if links := _values(targets, lambda target: target.link and target.link / 1e9):
    lines.append(f"assumed: a chip sends on all its links at full speed while it computes; GB/s: {links}.")
  if latencies := _values(targets, lambda target: target.latency and target.latency * 1e6, lambda target: target.name):
    lines.append(f"assumed: each collective delays the step, an all-reduce twice; µs: {latencies}.")
  if cores := _values(targets, lambda target: target.cores):
    seconds = host.seconds_per_image(config, None)
    photos = "packed images" if config.data.source == "packed" else f"photos of about {host.PHOTO:,} pixels"
    measured = f"a core takes {1e3 * seconds:.2g} ms to read {photos} and cut their views" if seconds else "images are resident"
    lines.append(f"measured on an AMD EPYC: {measured}; assumed: cores per host (--cores): {cores}.")
  if any(target.kind == "gpu" for target in targets):
    share = f"{GPU_SHARE:.0%} of a GPU's memory (--memory, 80 GB)"
    lines.append(f"assumed: a program can use {share}, the default of JAX's allocator.")
  return lines


def _gib(size: float) -> str:
  return f"{size / GIB:.2f}" if size >= 0.1 * GIB else f"{size / GIB:.2g}"


def _short(value: float | None) -> str | None:
  return None if value is None else f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _values(
  targets: Sequence[Topology], value: Callable[[Topology], float | None], name: Callable[[Topology], str] = lambda t: t.kind
) -> str:
  """Lists what is known of the targets, such as "v5e 197, v5p 459"."""
  return ", ".join(dict.fromkeys(f"{name(target)} {known:g}" for target in targets if (known := value(target))))
