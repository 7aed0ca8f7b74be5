"""Keeps classifiers in a run's workdir, each in one file with the encoder that it belongs to, and reads them again."""

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import safetensors
import safetensors.numpy

from jaxssl.config.eval_schema import LinearConfig
from jaxssl.config.parse import read
from jaxssl.core import LOG, VERSION, Unavailable, UserError, atomic, json_io, paths, retry, unknown_name
from jaxssl.core.metric import Measurement
from jaxssl.evals import classifier, linear
from jaxssl.evals.features import FeatureExtractor
from jaxssl.evals.load_run import LoadedRun
from jaxssl.evals.preprocessing import Preprocessing
from jaxssl.models.network import named, with_classifier
from jaxssl.parallel import processes
from jaxssl.parallel.mesh import to_host
from jaxssl.workdir.workdir import Workdir

META = "jaxssl"  # the entry of a file's metadata with its KeptClassifier as JSON


@dataclasses.dataclass(frozen=True, kw_only=True)
class KeptClassifier:
  """Describes a classifier in a workdir: what it distinguishes, how it was fitted, and how its images are prepared."""

  name: str  # that of the metric of its accuracy, such as linear_lbfgs
  title: str
  fine_tuned: bool  # whether its encoder was trained with labels as well
  classes: tuple[str, ...]
  accuracy: float  # percent of the test set that `protocol` names
  protocol: Mapping[str, Any]
  chosen: Mapping[str, Any]
  step: int  # of the checkpoint with the encoder, before it was fine-tuned
  network: Literal["teacher", "student"]
  preprocessing: Preprocessing
  jaxssl: str = VERSION


def require_fits(names: Sequence[str], config: LinearConfig) -> None:
  """Raises UserError for an evaluation that fits no classifier, and for a linear one that cannot be kept."""
  for name in names:
    if name not in classifier.FITS:
      expected = " or ".join(sorted(classifier.FITS, reverse=True))
      raise UserError(f"--keep: {name} fits no classifier that could be kept; expected {expected}")
  if "linear" in names:
    linear.require_foldable(config)


def keeping(run: LoadedRun) -> Callable[[FeatureExtractor, Sequence[str]], list[Measurement]]:
  """Returns a function that measures as `Evaluator.measure` does, and keeps each classifier in the run's workdir."""

  def measure(extractor: FeatureExtractor, names: Sequence[str]) -> list[Measurement]:
    measurements = []
    for name in names:
      for fitted, measured in classifier.measured(extractor, classifier.FITS[name]):
        _keep(run, extractor, fitted, measured[0])
        measurements += [dataclasses.replace(m, evaluation=name) for m in measured]
    return measurements

  return measure


def _keep(run: LoadedRun, extractor: FeatureExtractor, fitted: classifier.Fitted, measured: Measurement) -> None:
  variables = fitted.classifier.variables or extractor.variables
  assert variables is not None and extractor.subject in ("teacher", "student")
  tensors = named(to_host(extractor.mesh, with_classifier(variables, fitted.classifier.kernel)))
  if wrong := sum(not np.isfinite(x).all() for x in tensors.values()):
    raise UserError(f"{measured.name}: {wrong} tensors of the classifier are not finite; it is not kept")
  about = KeptClassifier(
    name=measured.name,
    title=measured.metric.title,
    fine_tuned=fitted.classifier.variables is not None,
    classes=fitted.classifier.classes,
    accuracy=measured.value,
    protocol=measured.protocol,
    chosen=measured.chosen,
    step=run.step,
    network=extractor.subject,
    preprocessing=extractor.preprocessing,
  )
  if processes.is_primary():
    write(run.workdir, about, tensors)


def write(workdir: Workdir, about: KeptClassifier, tensors: Mapping[str, np.ndarray]) -> None:
  """Writes a classifier in place of an earlier one of its name. Raises UserError if that fails."""
  path, meta = workdir.classifier(about.name), {META: json.dumps(dataclasses.asdict(about))}
  replaced = " (in place of an earlier one)" if path.exists() else ""
  try:
    workdir.classifiers.mkdir(parents=True, exist_ok=True)
    with paths.uploaded(path) as local, atomic.replacing(local) as temporary:
      safetensors.numpy.save_file({name: np.ascontiguousarray(x) for name, x in tensors.items()}, temporary, meta)
      temporary.chmod(0o644)  # safetensors makes files that only their owner can read
  except (OSError, safetensors.SafetensorError) as error:
    raise retry.failure(f"--keep: {path} cannot be written", error) from error
  LOG.info("%s: a classifier of %d classes is kept in %s%s", about.name, len(about.classes), path, replaced)


def load(workdir: Workdir, name: str = "") -> tuple[KeptClassifier, dict[str, np.ndarray]]:
  """Reads a classifier, by default the only one: its description, and its tensors and those of its encoder by name.

  Raises UserError if there is no such classifier, several to choose from, or a damaged file.
  """
  kept = workdir.kept_classifiers()
  if not kept:
    command = f"jaxssl evaluate linear --keep --workdir {workdir.folder}"
    raise UserError(f"--classifier: {workdir.folder} has no classifier; `{command}` fits and keeps one")
  if name and name not in kept:
    raise unknown_name(f"--classifier={name}: not in {workdir.classifiers}", name, kept)
  if not name and len(kept) > 1:
    raise UserError(f"--classifier: {workdir.folder} has {len(kept)} classifiers; expected one of {', '.join(kept)}")
  path = workdir.classifier(name or kept[0])
  try:
    with paths.local_copy(path) as local:
      with safetensors.safe_open(local, "np") as file:
        meta = json_io.parse((file.metadata() or {})[META])
      tensors = safetensors.numpy.load_file(local)
    about = read(KeptClassifier, meta)
    about.preprocessing.check()
    return dataclasses.replace(about, name=path.stem), tensors
  except Unavailable:
    raise
  except Exception as error:  # safetensors raises errors of its own and of NumPy
    raise UserError(f"{path}: damaged, or of another version of jaxssl: {error}; keep the classifier again") from error


def described(about: KeptClassifier) -> dict[str, Any]:
  """Returns what config.json of an export says about the classifier beside its classes."""
  return {name: getattr(about, name) for name in ("name", "title", "fine_tuned", "accuracy", "protocol", "chosen")}
