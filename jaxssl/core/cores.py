"""The number of CPU cores."""

import math
import os
import pathlib

QUOTA = pathlib.Path("/sys/fs/cgroup/cpu.max")  # of a container: microseconds of CPU time, or max, and of the period


def cores() -> int:
  """Returns the number of CPU cores that this process may use, by its affinity and the quota of its container."""
  allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
  try:
    quota, period = map(int, QUOTA.read_text().split())
    return min(allowed, math.ceil(quota / period))
  except (OSError, ValueError, ZeroDivisionError):  # no container, no quota
    return allowed
