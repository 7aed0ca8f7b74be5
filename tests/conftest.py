"""Strict settings for every test: eight fake CPU devices, no silent rank promotion, warnings are errors."""

import os

os.environ["JAX_PLATFORMS"] = os.environ.get("JAX_PLATFORMS", "cpu")
QUICK_COMPILES = (
  "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"  # tests compile more than they run
)
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8 {QUICK_COMPILES}"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "false"  # tests share nothing

import jax  # noqa: E402
import pytest  # noqa: E402
from jax.experimental.compilation_cache import compilation_cache  # noqa: E402

from tests import devices  # noqa: E402

jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture
def one_device():
  """A mesh of one device."""
  with devices.only(1):
    yield


@pytest.fixture(scope="session")
def torchvision():
  """torchvision, where it is; one that was built for another torch lacks its operators, whose names are enough here."""
  torch = pytest.importorskip("torch")
  library = torch.library.Library("torchvision", "DEF")
  try:
    for name in ("nms", "qnms"):
      library.define(name + "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
  except RuntimeError:  # they are there
    pass
  yield pytest.importorskip("torchvision")


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
  """Gives every test a cache folder of its own."""
  folder = tmp_path_factory.mktemp("cache")
  monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
  return folder


@pytest.fixture(scope="module")
def compiled_once(tmp_path_factory):
  """For modules of runs that are alike: what one of them compiled the others take, in this process and in those it starts."""
  folder = str(tmp_path_factory.mktemp("compiled"))
  kept = {"enable_compilation_cache": True, "compilation_cache_dir": folder, "persistent_cache_min_compile_time_secs": 0.1}
  before = {name: jax.config.values[f"jax_{name}"] for name in kept}
  with pytest.MonkeyPatch.context() as patch:
    for name, value in kept.items():
      jax.config.update(f"jax_{name}", value)
      patch.setenv(f"JAX_{name.upper()}", str(value))
    compilation_cache.reset_cache()
    yield
  for name, value in before.items():
    jax.config.update(f"jax_{name}", value)
  compilation_cache.reset_cache()
