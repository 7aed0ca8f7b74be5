"""Reads the golden vectors: the folder named by JAXSSL_GOLDEN_DIR, else tests/golden."""

import os
import pathlib
import re

import numpy as np

FOLDER = pathlib.Path(os.environ.get("JAXSSL_GOLDEN_DIR") or pathlib.Path(__file__).parent / "golden")


def cases(file: str) -> dict[str, dict[str, np.ndarray]]:
  """Returns the arrays of a file: case -> name -> array."""
  with np.load(FOLDER / f"{file}.npz", allow_pickle=False) as data:
    arrays: dict[str, dict[str, np.ndarray]] = {}
    for key in data.files:
      case, name = key.split("__", 1)
      arrays.setdefault(case, {})[name] = data[key]
  return arrays


def split(file: str, *patterns: str) -> list[list[str]]:
  """Returns the case names of a file that match each pattern.

  Fails if a pattern matches no case, or if a case matches no pattern, so that every case is tested.
  """
  names = list(cases(file))
  groups = [[name for name in names if re.fullmatch(pattern, name)] for pattern in patterns]
  unread = sorted(set(names) - {name for group in groups for name in group})
  assert not unread, f"{file}.npz holds cases that no test reads: {unread}"
  assert all(groups), f"{file}.npz holds no case for one of {patterns}"
  return groups


def tensors(case: dict[str, np.ndarray], prefix: str, names: str = "names") -> dict[str, np.ndarray]:
  """Returns the arrays `prefix{i}` of a case by name."""
  family = {int(key[len(prefix) :]): value for key, value in case.items() if re.fullmatch(re.escape(prefix) + r"\d+", key)}
  return {str(case[names][i]): value for i, value in family.items()}
