"""Limits the number of fake devices that runs use."""

import contextlib
from collections.abc import Iterator

import jax
import pytest

from jaxssl.parallel import mesh


@contextlib.contextmanager
def only(count: int) -> Iterator[None]:
  """Limits meshes to `count` devices. Tests that are not about devices use one, since eight are slower on a few cores."""
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(mesh, "default_devices", lambda: jax.devices()[:count])
    yield
