"""`jaxssl doctor` finds nothing wrong here, and says what to do about each problem."""

import importlib
import re
import shutil

import jax
import pytest

from jaxssl.cli import doctor
from jaxssl.core import exit_codes


def problems(checks):
  return [f"{check.finding}: {check.remedy}" for check in checks if check.remedy]


def test_nothing_is_wrong_with_this_installation(capsys, monkeypatch, tmp_path):
  monkeypatch.setattr(doctor, "NVIDIA", str(tmp_path / "none"))
  assert doctor.run() == exit_codes.DONE
  lines = capsys.readouterr().out.splitlines()
  assert lines[-1] == "everything works"
  assert {"jaxssl", "libraries", "devices", "precision", "numbers", "memory", "cache", "disk"} <= {
    line.split()[0] for line in lines
  }


def test_a_problem_is_counted_and_ends_with_an_error(capsys, monkeypatch):
  monkeypatch.setattr(doctor, "disk", lambda: [doctor.Check("disk", "full", "delete something")])
  assert doctor.run() == exit_codes.MISTAKE
  assert capsys.readouterr().out.splitlines()[-1] == "1 problem"


@pytest.mark.parametrize(
  "driver, remedy", [("NVIDIA", "there is a GPU, .* 'jaxssl\\[cuda\\]'"), ("TPU", "there is a TPU, .* 'jaxssl\\[tpu\\]'")]
)
def test_an_accelerator_that_jax_does_not_use(driver, remedy, monkeypatch, tmp_path):
  (tmp_path / "driver").touch()
  monkeypatch.delenv("JAX_PLATFORMS", raising=False)
  monkeypatch.setattr(doctor, "NVIDIA", str(tmp_path / "none"))
  monkeypatch.setattr(doctor, driver, str(tmp_path / "driver"))
  (problem,) = problems(doctor.devices())
  assert re.search(remedy, problem)


def test_a_cpu_that_was_asked_for_is_no_problem(monkeypatch, tmp_path):
  (tmp_path / "driver").touch()
  monkeypatch.setenv("JAX_PLATFORMS", "cpu")
  monkeypatch.setattr(doctor, "NVIDIA", str(tmp_path / "driver"))
  assert not problems(doctor.devices())


def test_libraries_outside_their_bounds(monkeypatch):
  required = ["numpy>=99", "nosuch>=1", "scipy>=1", "torch>=99; extra == 'torch'", "jax<0.1; python_version < '3'"]
  monkeypatch.setattr(importlib.metadata, "requires", lambda _: required)
  found = problems(doctor.versions())
  assert [problem.split(": run ")[1] for problem in found] == ["pip install 'numpy>=99'", "pip install 'nosuch>=1'"]
  assert "nosuch is missing" in found[1]


def test_a_package_that_is_not_installed(monkeypatch):
  version = doctor.version
  monkeypatch.setattr(doctor, "version", lambda name: "" if name == "jaxssl" else version(name))
  assert "pip install --editable" in problems(doctor.versions())[0]


def test_a_library_that_is_missing_is_the_only_problem(monkeypatch, capsys):
  version = doctor.version
  monkeypatch.setattr(doctor, "version", lambda name: "" if name == "optax" else version(name))
  monkeypatch.setattr(doctor, "devices", lambda: importlib.import_module("no_such_module"))
  assert doctor.run() == exit_codes.MISTAKE
  lines = capsys.readouterr().out.splitlines()
  assert "optax is missing" in lines[1] and lines[2].startswith("library    optax is missing; expected ")
  assert "PROBLEM: run pip install 'optax" in lines[3] and lines[4:] == ["1 problem"]


def test_wrong_numbers(monkeypatch):
  monkeypatch.setattr(jax, "grad", lambda _: lambda kernel, x: kernel * float("nan"))
  assert "report this" in problems(doctor.numbers())[0]


def test_no_cache_and_a_full_disk(monkeypatch):
  monkeypatch.setattr(type(jax.config), "values", {"jax_compilation_cache_dir": None})
  monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1, 1, 0))
  assert "XDG_CACHE_HOME" in problems(doctor.cache())[0] and "--workdir" in problems(doctor.disk())[0]
