"""Locates the user's cache folder: compiled functions, trusted plugins."""

import os
import pathlib

import filelock

COMPILED_BYTES = 4 * 2**30  # the least recently used entries are deleted first


def folder(name: str) -> pathlib.Path:
  """Returns `$XDG_CACHE_HOME/jaxssl/NAME`, by default ~/.cache/jaxssl/NAME. Raises RuntimeError if the user has no home."""
  root = os.environ.get("XDG_CACHE_HOME")
  return (pathlib.Path(root) if root else pathlib.Path.home() / ".cache") / "jaxssl" / name


def keep_compiled() -> None:
  """Caches compiled functions across runs, unless JAX_COMPILATION_CACHE_DIR names a folder or the user's is not writable."""
  import jax  # the `config` command, which reads the folder of plugins, starts without it

  if jax.config.values["jax_compilation_cache_dir"]:
    return
  try:
    compiled = folder("compiled")
    compiled.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(compiled / ".lockfile", timeout=10):  # the lock that JAX takes
      for entry in compiled.glob("*-cache"):
        if not entry.with_name(entry.name.removesuffix("-cache") + "-atime").exists():
          entry.unlink()  # left by a killed run: JAX would warn about it in every run
  except (OSError, RuntimeError):  # no home, not writable, or a disk without locks
    return
  jax.config.update("jax_compilation_cache_max_size", COMPILED_BYTES)
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
  jax.config.update("jax_compilation_cache_dir", str(compiled))
