"""How many of the eight fake devices a run sees."""

import contextlib
from collections.abc import Iterator

import jax
import pytest

from jaxssl.parallel import mesh


@contextlib.contextmanager
def only(count: int) -> Iterator[None]:
  """Inside, a mesh has so many devices. Runs that are not about devices take one: eight on a few cores are only slower."""
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(mesh, "default_devices", lambda: jax.devices()[:count])
    yield
