"""Strict settings for every test: eight fake CPU devices, no silent rank promotion, warnings are errors."""

import atexit
import contextlib
import gc
import importlib
import os
import shutil
import tempfile
from importlib.metadata import version

os.environ["JAX_PLATFORMS"] = os.environ.get("JAX_PLATFORMS", "cpu")
# Tests spend more time compiling than running. In jax 0.10, XLA's older emitters compile a training step in 40% of the time;
# a fifth of that is saved if XLA does not split it for several threads, since the workers use all cores already.
QUICK_COMPILES = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
if version("jax").startswith("0.10."):
  QUICK_COMPILES += " --xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
if os.environ["JAX_PLATFORMS"] == "cpu":  # optimization levels would also apply to kernels of a GPU
  os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8 {QUICK_COMPILES}"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
for threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):  # those of several workers would busy-wait for each other
  os.environ.setdefault(threads, "1")
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:  # shared by all workers and by the processes that tests start
  compiled = tempfile.mkdtemp(prefix="jaxssl-tests-")
  atexit.register(shutil.rmtree, compiled, ignore_errors=True)
  os.environ["JAX_COMPILATION_CACHE_DIR"] = compiled
  os.environ["JAX_COMPILATION_CACHE_MAX_SIZE"] = str(2**32)  # with a limit, JAX locks the folder
  os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.1"

# CUDA builds of torch bring an LLVM whose symbols clash with TensorFlow's if TensorFlow is loaded first.
with contextlib.suppress(ImportError, RuntimeError):
  importlib.import_module("torchvision")

gc.set_threshold(100_000, 20, 20)  # tracing creates many objects; the default spends a fifth of the time collecting them

import jax  # noqa: E402
import pytest  # noqa: E402
from jax._src import lru_cache  # noqa: E402

from tests import devices  # noqa: E402

jax.config.update("jax_numpy_rank_promotion", "raise")
# JAX adds up the sizes of all files whenever it adds one; these never reach the limit.
lru_cache.LRUCache._evict_if_needed = lambda self, *, additional_size=0: None


def pytest_collection_finish():
  """Exempts what is imported by now from all later garbage collections."""
  gc.collect()
  gc.freeze()


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items):
  """Runs the longest tests first, so that all workers end at about the same time, and a file's in one worker.

  There they share what is set up, traced and compiled, unless they have groups of their own.
  """
  for item in items:
    if not item.get_closest_marker("xdist_group"):
      item.add_marker(pytest.mark.xdist_group(item.nodeid.partition("::")[0]))
  items.sort(key=lambda item: (item.get_closest_marker("slow") is None, "test_two_interrupted_processes" not in item.name))


@pytest.fixture
def one_device():
  """Limits meshes to one device."""
  with devices.only(1):
    yield


@pytest.fixture(scope="session")
def torchvision():
  """Returns torchvision, or skips the test if it is missing or was built for another torch."""
  try:
    return importlib.import_module("torchvision")
  except (ImportError, RuntimeError) as error:
    pytest.skip(str(error))


@pytest.fixture
def fails(capfd):
  """Returns a function that runs a command, which must fail with one line that holds a message."""
  from jaxssl import main

  def check(words, message):
    assert main.main(words) == 2
    errors = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and message in errors[0]

  return check


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
  """Sets a separate cache folder for every test."""
  folder = tmp_path_factory.mktemp("cache")
  monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
  return folder
