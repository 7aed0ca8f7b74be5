"""Checkpoints of the whole train state, through orbax."""

import contextlib
import functools
import logging
import pathlib
import sys
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

from jaxssl.core import LOG, Unavailable, UserError, paths, retry, storage_errors
from jaxssl.core.retry import RERUN
from jaxssl.core.storage_errors import Kind
from jaxssl.core.types import PyTree, Variables

T = TypeVar("T")


class _Manager(ocp.CheckpointManager):
  def reached_preemption(self, step: int) -> bool:
    """Returns False: the service counts calls, and the run makes them itself (`parallel.preemption`)."""
    return False


class Checkpoints:
  """The newest `keep` checkpoints of a run. A save is written in the background and appears when complete."""

  def __init__(self, folder: pathlib.Path, keep: int):
    for name in ("asyncio", "absl"):  # they log tracebacks of failed reads and writes, which are raised here anyway
      logging.getLogger(name).setLevel(logging.CRITICAL)
    policy = ocp.checkpoint_managers.LatestN(keep)
    options = ocp.CheckpointManagerOptions(preservation_policy=policy, enable_background_delete=False)
    folder = folder.absolute() if paths.is_local(folder) else folder
    self._folder, self._options = folder, options
    self._manager = self._retried("opening", self._open)
    self._newest: tuple[int, PyTree] | None = None  # the step and the state that were given last
    self._unraisable: Callable[[Any], None] | None = None  # the hook that is replaced while saves may fail

  def latest(self) -> int | None:
    """Returns the step of the newest complete checkpoint, or None."""
    return self._manager.latest_step()

  def save(self, step: int, state: PyTree) -> None:
    """Saves the state after `step` steps, once the save before is complete; this one replaces it if it failed temporarily.

    Raises UserError if writing fails, and Unavailable if the storage does not respond. Earlier checkpoints remain.
    """
    if not self._unraisable:
      self._unraisable, sys.unraisablehook = sys.unraisablehook, self._report
    with self._written():
      try:
        self._manager.wait_until_finished()
      except Exception as error:
        self._reopen(error)
        reason = storage_errors.message(error)
        LOG.warning("a checkpoint could not be written (%s); that of step %d is written in its place", reason, step)
      self._newest = step, state
      self._retried("writing a checkpoint to", self._start)

  def _start(self) -> None:
    """Starts to save the newest state, unless that has been done."""
    assert self._newest
    step, state = self._newest
    try:
      if step in self._manager.all_steps():
        return
      if any(x.is_deleted() for x in jax.tree.leaves(state) if isinstance(x, jax.Array)):
        raise Unavailable(f"writing a checkpoint to {self._folder}: it failed, and training has continued. {RERUN}")
      self._manager.save(step, args=ocp.args.StandardSave(state))
    except Exception as error:
      self._reopen(error)
      raise

  def _complete(self) -> None:
    """Waits for the save of the newest state; a repetition saves it again."""
    self._start()
    try:
      self._manager.wait_until_finished()
    except Exception as error:
      self._reopen(error)
      raise

  def _reopen(self, error: Exception) -> None:
    """Opens the manager anew, whose own state is undefined after a failed save. Raises the error unless it is transient.

    It is raised also if there are other processes, which would have to do the same.
    """
    if jax.process_count() > 1 or not storage_errors.is_transient(error):
      raise error
    with contextlib.suppress(Exception):
      self._manager.close()  # waits for other writes of that save
    self._manager = self._retried("opening", self._open)

  def _open(self) -> _Manager:
    return _Manager(self._folder, options=self._options)

  def _retried(self, doing: str, operation: Callable[[], T]) -> T:
    """Retries an operation. Of several processes, which wait for each other in it, none could repeat it alone."""
    if jax.process_count() == 1:
      return retry.call(f"{doing} {self._folder}", operation)
    try:
      return operation()
    except Exception as error:
      if not storage_errors.is_transient(error):
        raise
      raise retry.unavailable(f"{doing} {self._folder}", error) from error

  @contextlib.contextmanager
  def _written(self) -> Iterator[None]:
    try:
      yield
    except Unavailable:
      raise
    except Exception as error:  # tensorstore's and the operating system's errors have no common type
      kind = storage_errors.kind_of(error)
      if kind is Kind.TRANSIENT or (kind is Kind.OTHER and not paths.is_local(self._folder)):
        raise retry.unavailable(f"writing a checkpoint to {self._folder}", error) from error
      if jax.process_count() == 1:
        self._manager.reload()  # a failed save drops those that it would have deleted from its list
      remedy = "Free some space" if kind in (Kind.FULL, Kind.OTHER) else "Make it writable"
      raise UserError(
        f"a checkpoint cannot be written to {self._folder}: {_first_line(error)}. {remedy}, then rerun "
        f"the same command to resume from step {self.latest() or 0}"
      ) from error

  def restore(self, like: PyTree, like_at: Callable[[int], PyTree] | None = None) -> tuple[PyTree, int] | None:
    """Returns the newest readable state and its step, sharded as `like` (shapes with shardings); None without checkpoints.

    `like_at`: returns the shapes of the checkpoint of a step, if they depend on it.
    An unreadable checkpoint is logged and renamed, and the one before it is used. Raises UserError if none is readable.
    """
    steps = sorted(self._manager.all_steps(), reverse=True)
    for step in steps:
      state, problem, wanted = None, "", like_at(step) if like_at else like
      try:
        state = self._retried("reading", functools.partial(self._read, step, wanted))
      except Unavailable:
        raise  # the checkpoint may be fine
      except Exception as error:  # tensorstore, json and file errors have no common type
        if storage_errors.kind_of(error) is Kind.REFUSED:
          raise UserError(f"checkpoint {step} in {self._folder} cannot be read: {_first_line(error)}") from error
        problem = _first_line(error)
      if not np.all(multihost_utils.process_allgather(np.array(not problem))):  # all processes must use the same checkpoint
        LOG.warning("checkpoint %d cannot be read (%s); trying the one before", step, problem or "by another process")
        continue
      for unreadable in (s for s in steps if s > step and jax.process_index() == 0):  # its step will be saved again
        aside = self._manager.directory / f"{unreadable}.unreadable"
        if aside.exists():  # it has been unreadable before
          aside.rmtree()
        (self._manager.directory / str(unreadable)).rename(aside)
      ocp.multihost.sync_global_processes("jaxssl: unreadable checkpoints are set aside")
      self._manager.reload()
      return state, step
    if steps:
      raise UserError(f"none of the checkpoints {steps} in {self._manager.directory} can be read; use another --workdir")
    return None

  def _read(self, step: int, like: PyTree) -> PyTree:
    arguments = ocp.args.StandardRestore(like, strict=not self._padding_differs(step, like))
    return jax.block_until_ready(self._manager.restore(step, args=arguments))

  def _padding_differs(self, step: int, like: PyTree) -> bool:
    """Returns whether the neighbor bank was saved with another number of rows, which depends on that of the devices.

    The rows of its images are the same; those behind them are padding.
    """
    metadata: Any = ocp.PyTreeCheckpointer().metadata(self._manager.directory / str(step) / "default").item_metadata
    if metadata is None:  # damaged, or the save is not complete, for which a read waits
      return False
    return _shapes(metadata.tree) != _shapes(like) and _shapes(metadata.tree, rows=False) == _shapes(like, rows=False)

  def weights(self, step: int | None = None) -> tuple[Variables, Variables | None, int]:
    """Returns the weights of the student and of the teacher, if any, and their step; does not need the run's images.

    Raises UserError if there is no such checkpoint, or it is unreadable, and Unavailable if storage does not respond.
    """
    steps = sorted(self._manager.all_steps())
    if not steps or (step is not None and step not in steps):
      which = f" of step {step}: {steps}" if steps else "; resume the run to write one"
      raise UserError(f"{self._manager.directory} holds no checkpoint{which}")
    step = step or steps[-1]
    folder = self._manager.directory / str(step) / "default"
    here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    reader = ocp.PyTreeCheckpointer()
    try:
      metadata: Any = self._retried("reading", lambda: reader.metadata(folder)).item_metadata
      if metadata is None:
        raise ValueError("its metadata is damaged")
      networks = {name: dict(metadata.tree[name]) for name in ("student", "teacher") if metadata.tree.get(name)}
      if "student" not in networks:
        raise ValueError("it holds no network")
      like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=here), networks)
      placed = ocp.checkpoint_utils.construct_restore_args(like)
      arguments = ocp.args.PyTreeRestore(item=like, restore_args=placed, partial_restore=True)
      restored = self._retried("reading", lambda: reader.restore(folder, args=arguments))
    except Unavailable:
      raise
    except Exception as error:  # as above
      raise UserError(f"checkpoint {step} in {folder.parent.parent} cannot be read: {_first_line(error)}") from error
    weights = {name: Variables(params=x.get("params") or {}, stats=x.get("stats") or {}) for name, x in restored.items()}
    return weights["student"], weights.get("teacher"), step

  def close(self) -> None:
    """Waits for saves and closes the folder. Raises UserError if writing fails, and Unavailable if storage does not respond."""
    try:
      with self._written():
        if self._newest:
          self._retried("writing a checkpoint to", self._complete)
        self._manager.close()
    finally:
      self._newest = None  # frees the state
      if self._unraisable:
        sys.unraisablehook, self._unraisable = self._unraisable, None

  def _report(self, unraisable: Any) -> None:
    """Leaves out what the other writes of a failed save cannot report; its first error is raised."""
    if self._unraisable and str(unraisable.exc_value) != "Event loop is closed":
      self._unraisable(unraisable)


def _shapes(state: PyTree, rows: bool = True) -> list[tuple[bool, tuple[int, ...]]]:
  """Returns whether each leaf belongs to the neighbor bank, and its shape, sorted; without the rows of those that do."""
  leaves = jax.tree_util.tree_leaves_with_path(state)
  of_bank = [("neighbor_bank" in jax.tree_util.keystr(path), leaf.shape) for path, leaf in leaves]
  return sorted((bank, shape if rows or not bank else shape[1:]) for bank, shape in of_bank)


def _first_line(error: Exception) -> str:
  return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
