import jax
import pytest

from jaxssl.core.cache import keep_compiled

FIELDS = ("jax_compilation_cache_dir", "jax_compilation_cache_max_size", "jax_persistent_cache_min_compile_time_secs")


@pytest.fixture(autouse=True)
def fresh():
  """Unsets the cache folder of JAX; restores the settings afterward."""
  before = {field: jax.config.values[field] for field in FIELDS}
  jax.config.update("jax_compilation_cache_dir", None)
  yield
  for field, value in before.items():
    jax.config.update(field, value)


def test_compiled_functions_are_stored_in_the_users_cache_folder_and_incomplete_entries_deleted(cache):
  compiled = cache / "jaxssl/compiled"
  keep_compiled()
  assert jax.config.values["jax_compilation_cache_dir"] == str(compiled)
  jax.config.update("jax_compilation_cache_dir", None)
  for name in ("whole-cache", "whole-atime", "half-cache"):
    (compiled / name).touch()
  keep_compiled()
  assert (compiled / "whole-cache").exists() and not (compiled / "half-cache").exists()


def test_a_configured_folder_is_not_replaced(tmp_path):
  jax.config.update("jax_compilation_cache_dir", str(tmp_path))
  keep_compiled()
  assert jax.config.values["jax_compilation_cache_dir"] == str(tmp_path)


def test_nothing_is_cached_without_a_writable_folder(monkeypatch, tmp_path):
  (tmp_path / "file").touch()
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
  keep_compiled()
  assert jax.config.values["jax_compilation_cache_dir"] is None
