"""Checkpoints of the whole train state, through orbax."""

import logging
import pathlib

import jax
import orbax.checkpoint as ocp

from jaxssl.types import PyTree, UserError

LOG = logging.getLogger("jaxssl")


class Checkpoints:
  """The checkpoints of one workdir, newest `keep` of them. A save is written in the background and appears when complete."""

  def __init__(self, folder: pathlib.Path, keep: int):
    policy = ocp.checkpoint_managers.LatestN(keep)
    options = ocp.CheckpointManagerOptions(preservation_policy=policy, enable_background_delete=False)
    self._manager = ocp.CheckpointManager(folder.absolute(), options=options)

  def latest(self) -> int | None:
    """Gives the step of the newest complete checkpoint, or None."""
    return self._manager.latest_step()

  def save(self, step: int, state: PyTree) -> None:
    """Saves the state after `step` steps; waits for the save before."""
    if step not in self._manager.all_steps():
      self._manager.save(step, args=ocp.args.StandardSave(state))

  def wait(self) -> None:
    """Waits until all saves are on disk."""
    self._manager.wait_until_finished()

  def restore(self, like: PyTree) -> tuple[PyTree, int] | None:
    """Gives the newest readable state and its step, sharded as `like` (shapes with shardings); None if there is none at all.

    An unreadable checkpoint is named in the log and set aside, and the one before it is used. Raises UserError if none is left.
    """
    steps = sorted(self._manager.all_steps(), reverse=True)
    for step in steps:
      try:
        state = self._manager.restore(step, args=ocp.args.StandardRestore(like))
        jax.block_until_ready(state)
      except Exception as error:  # tensorstore, json and file errors have no common type, and any of them means: not readable
        LOG.warning("checkpoint %d cannot be read (%s); trying the one before", step, str(error).strip().splitlines()[0][:200])
        continue
      for unreadable in (s for s in steps if s > step):  # its step will be saved again
        folder = pathlib.Path(self._manager.directory) / str(unreadable)
        folder.rename(folder.with_name(f"{unreadable}.unreadable"))
      self._manager.reload()
      return state, step
    if steps:
      raise UserError(f"none of the checkpoints {steps} in {self._manager.directory} can be read; use another --workdir")
    return None

  def close(self) -> None:
    """Waits for saves and closes the folder."""
    self._manager.close()
