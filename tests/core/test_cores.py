"""Cores are counted as the process may use them."""

import os

import pytest

from jaxssl.core import cores


@pytest.mark.parametrize(
  "quota, expected", [("max 100000", 6), ("250000 100000", 3), ("100000 100000", 1), ("900000 100000", 6), ("", 6), (None, 6)]
)
def test_cores_of_a_container(quota, expected, tmp_path, monkeypatch):
  monkeypatch.setattr(cores, "QUOTA", tmp_path / "cpu.max")
  monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(6)), raising=False)
  if quota is not None:
    cores.QUOTA.write_text(quota)
  assert cores.cores() == expected
