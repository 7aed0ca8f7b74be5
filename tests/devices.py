"""How many of the eight fake devices a run sees."""

import contextlib
from collections.abc import Iterator

import jax
import pytest

from jaxssl import parallel


@contextlib.contextmanager
def only(count: int) -> Iterator[None]:
  """Inside, a mesh has so many devices. Runs that are not about devices take one: eight on a few cores are only slower."""
  make_mesh = parallel.make_mesh
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(parallel, "make_mesh", lambda: make_mesh(jax.devices()[:count]))
    yield
