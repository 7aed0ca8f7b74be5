"""Extractors with given features."""

import types
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxssl.config.parse import read
from jaxssl.config.schema import Config
from jaxssl.evals.features import Features
from jaxssl.parallel.mesh import make_mesh


def extractor(
  reference: np.ndarray,
  reference_labels: Sequence[int] | np.ndarray,
  test: np.ndarray | None = None,
  test_labels: Sequence[int] | np.ndarray | None = None,
  *,
  groups: dict[str, np.ndarray] | None = None,
  mesh: Any = None,
  seed: int = 0,
  **evals: Any,
) -> Any:
  """Returns the part of a FeatureExtractor that evaluations of features alone use; fields of `evals` as in a config."""
  classes = tuple(f"class {c}" for c in range(1 + max(*reference_labels, *([] if test_labels is None else test_labels))))
  return types.SimpleNamespace(
    config=read(Config, {"evals": evals, "train": {"seed": seed}}),
    mesh=mesh or make_mesh(),
    datasets=types.SimpleNamespace(class_groups=groups or {}),
    variables=None,
    reference=features(reference, reference_labels, "reference"),
    test=None if test is None or test_labels is None else features(test, test_labels, "test"),
    classes=classes,
    subject="teacher",
  )


def features(x: np.ndarray, labels: Sequence[int] | np.ndarray, role: str) -> Features:
  """Returns features of a dataset called "images"."""
  protocol = {role: "images", f"{role}_images": len(x)}
  return Features(np.asarray(x, np.float32), np.asarray(labels, np.int32), protocol)
