"""Of two processes the first lists a folder for both; its error is the error of both."""

import json
import os
import pathlib
import socket
import subprocess
import sys

import pytest

from jaxssl.parallel import processes
from tests.data import fixtures

pytestmark = pytest.mark.slow
ROOT = pathlib.Path(__file__).parents[2]
SCRIPT = """
import json, os, sys
from jaxssl.parallel import processes
processes.start("on")
import numpy as np
from jaxssl.core.errors import OneLineError
from jaxssl.data import folder_scan
from jaxssl.data.listing import list_images
calls, scan = [], folder_scan._scan_local
def scan_local(where, folder):
  calls.append(folder)
  return scan(where, folder)
folder_scan._scan_local = scan_local
processes._AT_ONCE = 7  # bytes
for path in json.loads(sys.argv[1]):
  calls.clear()
  try:
    index = list_images(path.replace("RANK", os.environ["JAX_PROCESS_ID"]), "data.path")
    found = [[index.name(k), index.read(k).hex()] for k in range(len(index))], index.sizes(np.arange(len(index))).tolist()
  except OneLineError as error:
    found = [str(error), error.exit_code]
  print(json.dumps([found, len(calls)]), flush=True)
os._exit(0)
"""


def results(*paths: str) -> list[list]:
  """Lists these paths in two processes; returns what each found, with the number of folders that it listed itself."""
  with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    address = f"127.0.0.1:{free.getsockname()[1]}"
  running = []
  for rank in range(2):
    cluster = dict(zip(processes.CLUSTER_VARIABLES, (address, "2", str(rank)), strict=True))
    flags = os.environ["XLA_FLAGS"].replace("device_count=8", "device_count=2")
    env = {**os.environ, **cluster, "XLA_FLAGS": flags}
    command = [sys.executable, "-c", SCRIPT, json.dumps(paths)]
    running.append(subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True))
  try:
    outputs = [process.communicate(timeout=200)[0] for process in running]
  finally:
    for process in running:
      process.kill()
  return [[json.loads(line) for line in output.splitlines() if line.startswith("[[")] for output in outputs]


def test_the_first_process_lists_for_all(tmp_path):
  files = {f"{name}/{i}.png": fixtures.flat(i) for name in ("a", "b ü") for i in range(5)}
  path = fixtures.folder(tmp_path / "set", files)
  fixtures.zipped(tmp_path / "set.zip", files)
  fixtures.folder(tmp_path / "none", {"x.txt": b""})
  fixtures.folder(tmp_path / "of 0", {"x.png": fixtures.flat(1)})
  first, second = results(path, str(tmp_path / "none"), str(tmp_path / "of RANK"), str(tmp_path / "set.zip"))
  assert first[0] == [[[[name, data.hex()] for name, data in files.items()], [len(data) for data in files.values()]], 3]
  assert second[0] == [first[0][0], 0]
  assert first[1][0] == second[1][0]
  assert "none: has no images" in first[1][0][0] and first[1][0][1] == 2 and (first[1][1], second[1][1]) == (1, 0)
  for (message, code), calls in (first[2], second[2]):
    assert "is not the same for all processes, e.g. processes 0 and 1" in message and code == 2 and not calls
  assert first[3] == second[3] == [first[0][0], 0]
