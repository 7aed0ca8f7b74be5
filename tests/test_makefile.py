"""`make demo` ends with commands that work in the shell it was called from."""

import os
import pathlib
import subprocess

import pytest

ROOT = pathlib.Path(__file__).parent.parent


@pytest.mark.parametrize("activated", [True, False])
def test_the_next_commands_are_found_in_this_shell(activated, tmp_path):
  command = tmp_path / "bin/jaxssl"
  command.parent.mkdir()
  command.touch(mode=0o755)
  paths = [path for path in os.environ["PATH"].split(os.pathsep) if not (pathlib.Path(path) / "jaxssl").exists()]
  environment = os.environ | {"PATH": os.pathsep.join([str(command.parent)] * activated + paths)}
  words = ["make", "--silent", "--directory", str(ROOT), "next", f"VENV={tmp_path}"]
  run = subprocess.run(words, capture_output=True, text=True, check=True, env=environment)
  title, *commands = run.stdout.splitlines()
  assert title == "Next:" and len(commands) == 3
  assert {line.split()[0] for line in commands} == {"jaxssl" if activated else str(command)}
