"""Compares the images of a run with those that it was trained on, and carries the neighbor bank over to others if accepted."""

import dataclasses
from collections.abc import Sequence

from jaxssl.config.absolute import DATA_PATHS, DATA_SOURCE
from jaxssl.core import LOG, UserError, json_io, paths, retry
from jaxssl.core.types import TrainState
from jaxssl.data import sampler
from jaxssl.data.datasets import Datasets
from jaxssl.data.identity import manifests, own_counted
from jaxssl.train.config_changes import ConfigChanges
from jaxssl.train.setup import Experiment
from jaxssl.workdir import manifest
from jaxssl.workdir.checkpoint import Checkpoints
from jaxssl.workdir.image_changes import ImageChanges, changes_since, moved
from jaxssl.workdir.manifest import Manifest, Version
from jaxssl.workdir.workdir import Workdir


class RunImages:
  """The images of a run. `accept`: they may differ from those that it was trained on so far.

  `original`: the workdir as the user named it, for messages; `local`: where its files are read and written.
  `changes`: of the config. Raises UserError if there is nothing at a path that differs.
  """

  def __init__(self, original: Workdir, local: Workdir, changes: ConfigChanges, accept: bool):
    self._original, self._local, self._config, self._accept = original, local, changes.config, accept
    self._versions: list[Version] = manifest.read(local)
    self._new: Manifest  # of the images as they are now
    self._others: dict[str, Manifest]  # the test set, and the k-NN reference if it is another set
    self._config_changes = changes
    self._paths = [change for change in changes if change.field in (*DATA_PATHS, DATA_SOURCE)]
    if any(change.field == DATA_SOURCE for change in self._paths):
      return  # another kind of source states by itself what is missing
    if not all(paths.path_of(change.after).exists() for change in self._paths if change.after):
      self._refuse_paths()
    if self._versions and not self._paths and changes.config.data.source in ("folder", "packed"):
      for path in filter(None, (changes.config.data.path, changes.config.data.test_path)):
        retry.call(f"looking for {path}", _require_mounted, path)

  def check(self, opened: Datasets) -> Datasets:
    """Compares the images with those of the run, before anything that takes minutes. Raises UserError if they differ.

    Returns the datasets with the number of test images that are trained on.
    """
    self._new, self._others = manifests(opened)
    self._compare()
    return own_counted(opened, self._new, self._others)

  def _compare(self) -> None:
    if not self._versions or not (self._new.names is not None or self._new.is_versioned):
      self._refuse_paths()  # nothing shows that another path holds the same images
    if not self._versions:
      return
    where, step, last = f"--workdir {self._original.folder}", self._newest_step(), self._versions[-1]
    trained = last if step is None else manifest.at(self._versions, step)
    changes = self._changes(last) and self._changes(trained)  # those of `last` were accepted, perhaps without a step since
    if not changes:
      self._check_other_sets(where, trained)
      return
    text = "; ".join(map(str, [changes, *self._paths]))
    if step is None and not self._paths:
      LOG.warning("%s: the training images have changed: %s; training starts again, since nothing was saved", where, text)
      return
    if not self._accept:
      remedy = "Restore them, use another --workdir, or resume with the images as they are by --accept-changes"
      raise UserError(f"{where}: the training images have changed: {text}. {remedy}")
    if step is not None and self._epoch(trained, step) >= self._config.train.epochs:
      raise UserError(f"{where}: the training images have changed ({text}), but the run is complete; use another --workdir")
    if problem := self._config.evals.holdout and self._moved(
      trained, changes
    ):  # images that were trained on would be tested on
      raise UserError(f"{where}: the training images have changed ({text}): {problem}; use another --workdir")
    if step is not None and not changes.are_matched and self._config.bootstrap.policy != "off":
      raise UserError(
        f"{where}: the training images have changed ({text}), and without names the neighbor bank cannot be carried over; "
        "use another --workdir"
      )
    LOG.warning("%s: accepted that the training images have changed: %s", where, text)

  def restore(self, run: Experiment, checkpoints: Checkpoints) -> tuple[TrainState, int] | None:
    """Returns the newest readable state, carried over to the images as they are now, and its step; None without checkpoints.

    Writes the manifest. After a change of images in mid-epoch, the epoch starts again.
    """
    versions = self._versions
    if not versions:
      restored = checkpoints.restore(run.state_shapes)
      if restored:
        LOG.warning("there is no %s: the training images are taken to be those of the run", self._local.images.name)
      self._write([self._version(0, 0)])
      return restored
    restored = checkpoints.restore(run.state_shapes, lambda step: run.shapes_for(manifest.at(versions, step).images))
    if restored is None:
      if self._changes(versions[-1]):
        self._local.results.unlink(missing_ok=True)  # baselines on the images before
        json_io.truncate_lines(self._local.metrics, -1)
        versions = []
      self._write(versions[:1] or [self._version(0, 0)])
      return None
    (state, step), restored = restored, None  # no second reference, so that the bank before can be freed
    trained = manifest.at(versions, step)
    versions = versions[: versions.index(trained) + 1]
    if changes := self._changes(trained):
      state = run.carry_over(state, changes.before)
      versions.append(self._version(step, self._epoch(trained, step), changes))
      json_io.truncate_lines(self._local.neighbors, -1)  # they number the images before
    elif self._accept:
      now = self._version(0, 0)
      versions[-1] = dataclasses.replace(trained, other_sets=now.other_sets, held_out=now.held_out)
    run.start_epoch_at(versions[-1].step, versions[-1].epoch)
    self._write(versions)
    return state, step

  def _check_other_sets(self, where: str, version: Version) -> None:
    """Logs that a path has moved, or that other sets differ. Raises UserError if they differ at another path."""
    others = self._version(0, 0).other_sets
    differing = [name for name in sorted({*others, *version.other_sets}) if others.get(name) != version.other_sets.get(name)]
    if differing and not self._accept:
      self._refuse_paths()
    for change in self._paths:
      LOG.info("%s: the same training images at another place: %s", where, change)
    for name in differing:
      LOG.warning("%s: the images of the %s set have changed: measurements before and after are not comparable", where, name)

  def _moved(self, version: Version, changes: ImageChanges) -> str:
    """Describes images that would move between the training images and the held-out ones; empty if there are none."""
    draw = f"the test set that evals.holdout={self._config.evals.holdout:g} draws"
    if not changes.are_matched or not version.held_out:
      return f"{draw} cannot be compared"
    names = moved((changes.old, manifest.load(self._local, version, held_out=True)), (changes.new, self._others["test"]))
    return f"{len(names)} would move between them and {draw} (first: {names[0]})" if names else ""

  def _refuse_paths(self) -> None:
    """Raises UserError if the config names other paths than the run has."""
    if self._paths:
      raise self._config_changes.refused(self._paths, "Use another --workdir, or the same values")

  def _changes(self, version: Version) -> ImageChanges | None:
    return changes_since(self._local, version, self._new)

  def _version(self, step: int, epoch: int, changes: ImageChanges | None = None) -> Version:
    held_out = self._others["test"].count if self._config.evals.holdout else 0
    return manifest.version(self._new, self._others, step, epoch, held_out=held_out, **(changes.counts if changes else {}))

  def _epoch(self, version: Version, step: int) -> int:
    """Returns the epoch that was under way, or follows, after `step` steps on the images of a version."""
    return version.epoch + (step - version.step) // sampler.steps(version.images, self._config.train.batch_size)

  def _newest_step(self) -> int | None:
    checkpoints = Checkpoints(self._local.checkpoints, self._config.train.max_to_keep)
    step = checkpoints.latest()
    checkpoints.close()
    return step

  def _write(self, versions: Sequence[Version]) -> None:
    held_out = [self._others["test"]] if self._config.evals.holdout else []
    manifest.write(self._local, versions, self._new, *held_out)


def _require_mounted(path: str) -> None:
  """Raises TimeoutError, which is temporary, if images that a run was trained on are not there at all."""
  where = paths.path_of(path)
  if not where.exists() or (where.is_dir() and next(iter(where.iterdir()), None) is None):
    raise TimeoutError(f"{path} is gone or empty; is its disk mounted?")
