"""What is kept between runs in the user's cache folder: lists of images, and compiled functions."""

import os
import pathlib

import filelock
import jax

COMPILED_BYTES = 4 * 2**30  # the least recently used go first


def folder(name: str) -> pathlib.Path:
  """Gives `$XDG_CACHE_HOME/jaxssl/NAME`, by default ~/.cache/jaxssl/NAME. Raises RuntimeError where the user has no home."""
  root = os.environ.get("XDG_CACHE_HOME")
  return (pathlib.Path(root) if root else pathlib.Path.home() / ".cache") / "jaxssl" / name


def keep_compiled() -> None:
  """Keeps what jax compiles for later runs, unless JAX_COMPILATION_CACHE_DIR names another place.

  JAX_ENABLE_COMPILATION_CACHE=false keeps nothing; neither does a user who has no folder to write to.
  """
  if jax.config.values["jax_compilation_cache_dir"]:
    return
  try:
    compiled = folder("compiled")
    compiled.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(compiled / ".lockfile", timeout=10):  # jax takes the same
      for entry in compiled.glob("*-cache"):
        if not entry.with_name(entry.name.removesuffix("-cache") + "-atime").exists():
          entry.unlink()  # written by a run that was killed meanwhile: jax would warn of it for ever, and never mend it
  except (OSError, RuntimeError):  # no home, not writable, a disk without locks
    return
  jax.config.update("jax_compilation_cache_max_size", COMPILED_BYTES)
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
  jax.config.update("jax_compilation_cache_dir", str(compiled))
