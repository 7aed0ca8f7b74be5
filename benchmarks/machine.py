"""Names the machine, versions and commit of a measurement; python -m benchmarks.machine prints the folder of its results."""

import datetime
import hashlib
import os
import pathlib
import platform
import re
import subprocess
from importlib import metadata
from typing import Any

from jaxssl.core.cores import cores

CHECKOUT = pathlib.Path(__file__).parent.parent
PACKAGES = "jax jaxlib flax torch torchvision faiss-cpu tensorflow-cpu tensorflow pillow opencv-python-headless".split()
CUDA = re.compile(r"nvidia-(cuda-runtime|cudnn)(-cu\d+)?|jax-cuda\d+-plugin")


def header(benchmark: str) -> dict[str, Any]:
  """Returns what the JSON of a benchmark says besides its rows."""
  commit, dirty = measured_code()
  return {
    "benchmark": benchmark,
    "machine": machine(),
    "versions": versions(),
    "commit": commit,
    "dirty": dirty,
    "code": digest(CHECKOUT / "benchmarks"),
    "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
  }


def machine() -> dict[str, Any]:
  """Returns the processor, its cores, the memory in GB, and the accelerators or None."""
  import jax

  info = pathlib.Path("/proc/cpuinfo")
  lines = info.read_text().splitlines() if info.exists() else []
  models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
  memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
  devices = jax.devices()
  accelerator = None if devices[0].platform == "cpu" else f"{len(devices)} x {devices[0].device_kind}"
  cpu = models[0] if models else platform.processor() or platform.machine()
  return {"cpu": cpu, "cores": cores(), "memory_gb": round(memory), "accelerator": accelerator}


def versions() -> dict[str, str]:
  """Returns the versions of Python and of those installed packages that affect speed, CUDA's included."""
  installed = {str(d.metadata["Name"]).lower().replace("_", "-"): d.version for d in metadata.distributions()}
  names = [name for name in installed if name in PACKAGES or CUDA.fullmatch(name)]
  return {"python": platform.python_version(), **{name: installed[name] for name in sorted(names)}}


def measured_code() -> tuple[str, str]:
  """Returns the commit, and a digest of jaxssl and its configs if they differ from it, or outside a repository."""
  folders = [CHECKOUT / "jaxssl", CHECKOUT / "configs"]
  commands = ("rev-parse", "--short=10", "HEAD"), ("status", "--porcelain", "--", *map(str, folders))
  try:
    runs = [subprocess.run(["git", "-C", str(CHECKOUT), *words], capture_output=True, text=True) for words in commands]
  except FileNotFoundError:  # git
    return "", digest(*folders)
  if any(run.returncode for run in runs):
    return "", digest(*folders)
  return runs[0].stdout.strip(), digest(*folders) if runs[1].stdout.strip() else ""


def digest(*folders: pathlib.Path) -> str:
  """Returns a digest of the Python files in folders."""
  files = sorted(path for folder in folders for path in folder.rglob("*.py"))
  return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:10]


def folder() -> str:
  """Returns the folder of this machine's results with these versions, below benchmarks/results."""
  here, installed = machine(), versions()
  python = ".".join(installed["python"].split(".")[:2])
  hardware = here["accelerator"] or f"{here['cpu']} {here['cores']} cores"
  return f"{re.sub('[^a-z0-9]+', '-', hardware.lower()).strip('-')}/py{python}-jax{installed['jax']}"


if __name__ == "__main__":
  print(folder())
