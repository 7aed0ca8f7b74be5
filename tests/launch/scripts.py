"""Runs the scripts of launch/ with a stand-in for python, gcloud or kubectl."""

import os
import pathlib
import shlex
import subprocess
import sys

ROOT = pathlib.Path(__file__).parent.parent.parent
SCRIPTS = sorted(path for path in (ROOT / "launch").rglob("*") if path.suffix in (".sh", ".sbatch"))
SOURCED = ("common.sh", "heartbeat.sh", "manifest.sh", "tpu.sh", "watch.sh")  # by the others
STARTED = [path for path in SCRIPTS if path.name not in SOURCED]
CONFIG = "configs/nnboot.py:runlocal"


def environment(folder: pathlib.Path, **more: object) -> dict[str, str]:
  """Returns a minimal environment whose PATH starts with `folder`."""
  plain = {"PATH": f"{folder}:{os.environ['PATH']}", "HOME": str(folder), "TMPDIR": str(folder), "JAX_PLATFORMS": "cpu"}
  return plain | {name: str(value) for name, value in more.items()}


# Prints "ready" and the signal it gets, and exits with 75, as training does. In Python, since bash may lose an INT in a loop.
WAIT = f"""exec {shlex.quote(sys.executable)} -c '
import signal
def leave(number, frame):
  print("got", signal.Signals(number).name, flush=True)
  raise SystemExit(75)
for name in ("SIGTERM", "SIGINT", "SIGUSR1"):
  signal.signal(getattr(signal, name), leave)
print("ready", flush=True)
while True:
  signal.pause()
'"""


def stand_in(folder: pathlib.Path, name: str, body: str) -> None:
  """Writes a command that appends its arguments, one call per line, to `folder`/NAME.calls and then runs `body`."""
  path = folder / name
  # one write for each call, since several may run at once
  path.write_text(f'#!/usr/bin/env bash\nprintf "%s\\n" "$(printf "%q " "$@")" >>{shlex.quote(str(path))}.calls\n{body}\n')
  path.chmod(0o755)


def calls(folder: pathlib.Path, name: str) -> list[list[str]]:
  """Returns the arguments of each call of a stand-in."""
  path = folder / f"{name}.calls"
  return [shlex.split(line) for line in path.read_text().splitlines()] if path.exists() else []


def start(script: str, *words: str, env: dict[str, str], root: pathlib.Path = ROOT) -> subprocess.Popen:
  """Starts a script of launch/ in the repository."""
  pipe = subprocess.PIPE
  return subprocess.Popen(["bash", f"launch/{script}", *words], cwd=root, env=env, stdout=pipe, stderr=pipe, text=True)


def finish(process: subprocess.Popen) -> tuple[int, str, str]:
  """Waits for a process and returns its exit code, output and errors."""
  out, err = process.communicate(timeout=60)
  return process.returncode, out, err


def dry(script: str, *words: str, env: dict[str, str], root: pathlib.Path = ROOT) -> list[list[str]]:
  """Returns the words of each line that --dry-run prints."""
  code, out, err = finish(start(script, "--dry-run", *words, env=env, root=root))
  assert code == 0, err
  return [shlex.split(line, comments=True) for line in out.splitlines()]


def sourced(script: str, env: dict[str, str] | None = None) -> str:
  """Returns the output of a shell script that sources common.sh."""
  command = ["bash", "-euc", f"source launch/common.sh; {script}"]
  return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=True, timeout=60).stdout


def follow(code: int, seconds: int = 0, before: str = "", **limits: int) -> tuple[str, int, str]:
  """Returns what `follow` decides after `before`: what is next, the pause before it, and the reason for the log."""
  options = " ".join(f"[{name}]={value}" for name, value in ({"restarts": 100, "crashes": 3} | limits).items())
  out = sourced(f'option+=({options}); {before} follow {code} {seconds}; echo "$next|$delay|$reason"')
  action, pause, reason = out.strip().split("|")
  return action, int(pause), reason
