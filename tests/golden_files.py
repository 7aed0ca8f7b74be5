"""Reads the golden vectors: the folder named by JAXSSL_GOLDEN_DIR, else tests/golden."""

import os
import pathlib
import re

import numpy as np

FOLDER = pathlib.Path(os.environ.get("JAXSSL_GOLDEN_DIR") or pathlib.Path(__file__).parent / "golden")


def cases(file: str) -> dict[str, dict[str, np.ndarray]]:
  """All cases of one file: case -> name -> array."""
  with np.load(FOLDER / f"{file}.npz", allow_pickle=False) as data:
    found: dict[str, dict[str, np.ndarray]] = {}
    for key in data.files:
      case, name = key.split("__", 1)
      found.setdefault(case, {})[name] = data[key]
  return found


def split(file: str, *patterns: str) -> list[list[str]]:
  """Case names of a file, sorted into one list a pattern.

  Fails if a pattern finds none, or if a case fits no pattern: a case that no test looks at must not pass unnoticed.
  """
  names = list(cases(file))
  groups = [[name for name in names if re.fullmatch(pattern, name)] for pattern in patterns]
  unread = sorted(set(names) - {name for group in groups for name in group})
  assert not unread, f"{file}.npz holds cases that no test reads: {unread}"
  assert all(groups), f"{file}.npz holds no case for one of {patterns}"
  return groups


def tensors(case: dict[str, np.ndarray], prefix: str, names: str = "names") -> dict[str, np.ndarray]:
  """The numbered family `prefix{i}` of a case, by name."""
  family = {int(key[len(prefix) :]): value for key, value in case.items() if re.fullmatch(re.escape(prefix) + r"\d+", key)}
  return {str(case[names][i]): value for i, value in family.items()}
