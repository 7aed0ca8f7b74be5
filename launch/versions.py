"""Prints the installed version of every package in pip's constraints format, for all hosts to install.

The first line names the Python version, which the hosts use as well.
"""

import importlib.metadata
import platform
import sys

# jax[tpu] names the libtpu that goes with its jax; an installed one may be newer, for `jaxssl plan`.
LEFT_OUT = ("jaxssl", "libtpu")


def constraints() -> list[str]:
  """Returns NAME==VERSION lines. Packages that were installed from a folder or an address are left out: no index has them."""
  found = {}
  for package in importlib.metadata.distributions():
    name = package.metadata["Name"]
    if name and name.lower() not in LEFT_OUT and package.read_text("direct_url.json") is None:
      found.setdefault(name.lower(), f"{name}=={package.version.partition('+')[0]}")
  return [found[name] for name in sorted(found)]


if __name__ == "__main__":
  lines = constraints()
  if not any(line.startswith("jax==") for line in lines):
    python = platform.python_version()
    print(f"error: PYTHON={sys.executable}: Python {python} has no jax; expected the one that runs jaxssl", file=sys.stderr)
    sys.exit(2)
  print(f"# Python {sys.version_info.major}.{sys.version_info.minor}")
  print("\n".join(lines))
