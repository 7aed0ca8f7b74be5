"""Subjects whose features are given."""

import types
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxssl.config.parse import read
from jaxssl.config.schema import Config
from jaxssl.evals.features import Features
from jaxssl.parallel.mesh import make_mesh


def subject(
  bank: np.ndarray,
  bank_labels: Sequence[int] | np.ndarray,
  queries: np.ndarray | None = None,
  labels: Sequence[int] | np.ndarray | None = None,
  *,
  groups: dict[str, np.ndarray] | None = None,
  mesh: Any = None,
  **evals: Any,
) -> Any:
  """What evaluations of features alone look at; fields of `evals` as in a config."""
  classes = tuple(f"class {c}" for c in range(1 + max(*bank_labels, *([] if labels is None else labels))))
  source = types.SimpleNamespace(classes=classes, name="images")
  return types.SimpleNamespace(
    config=read(Config, {"evals": evals}),
    mesh=mesh or make_mesh(),
    splits=types.SimpleNamespace(reference=types.SimpleNamespace(source=source), test=None, class_groups=groups or {}),
    variables=None,
    bank=Features(np.asarray(bank, np.float32), np.asarray(bank_labels, np.int32), "the bank"),
    queries=None if queries is None else Features(np.asarray(queries, np.float32), np.asarray(labels, np.int32), "queries"),
    num_classes=len(classes),
    says="given features",
  )
