"""launch/local.sh: environment of each process, failures, exit codes, signals."""

import pathlib
import signal

import pytest

from tests.launch.scripts import CONFIG, ROOT, WAIT, calls, dry, environment, finish, stand_in, start

# Exits with its code of $CODES; "deaf" ignores TERM, "late" takes a second.
TRAINING = f"""
read -r -a codes <<<"$CODES"
code=${{codes[${{JAX_PROCESS_ID:-0}}]}}
echo "process ${{JAX_PROCESS_ID:-}} of ${{JAX_NUM_PROCESSES:-}} at ${{JAX_COORDINATOR_ADDRESS:-}}"
case $code in
  wait) {WAIT} ;;
  deaf) trap '' TERM; sleep 1000 ;;
  late) sleep 1; exit 75 ;;
  *) exit "$code" ;;
esac
"""


@pytest.fixture
def env(tmp_path):
  stand_in(tmp_path, "python", TRAINING)
  return lambda codes, **more: environment(tmp_path, CODES=codes, **more)


def begin(workdir: pathlib.Path, env: dict[str, str], *words: str, processes: int = 2):
  return start("local.sh", f"--processes={processes}", "--config", CONFIG, "--workdir", str(workdir), *words, env=env)


def test_two_processes_find_each_other(env, tmp_path):
  workdir = tmp_path / "my runs"
  code, out, err = finish(begin(workdir, env("0 0"), "--port=23456", "--config.optim.lr=1 2"))
  assert (code, out) == (0, "process 0 of 2 at 127.0.0.1:23456\n"), err
  assert (workdir / "launch" / "process-1.log").read_text() == "process 1 of 2 at 127.0.0.1:23456\n"
  words = ["-m", "jaxssl.main", "--config", CONFIG, "--workdir", str(workdir), "--distributed", "on", "--config.optim.lr=1 2"]
  assert calls(tmp_path, "python") == [words, words]


def test_one_process_is_alone(env, tmp_path):
  assert finish(begin(tmp_path / "run", env("0"), processes=1))[:2] == (0, "process  of  at \n")
  assert calls(tmp_path, "python") == [["-m", "jaxssl.main", "--config", CONFIG, "--workdir", str(tmp_path / "run")]]
  assert not (tmp_path / "run").exists()


# "1 wait": the other is stopped, and its 75 does not count
WORST = {"0 0": 0, "75 75": 75, "0 75": 75, "75 0 75": 75, "late 75": 75, "1 wait": 1, "wait 2": 2, "wait wait 137 wait": 137}


@pytest.mark.parametrize("codes, code", [*WORST.items(), ("75 1", 1), ("130 130", 130)])
def test_the_exit_code_is_the_worst(env, tmp_path, codes, code):
  found, _, err = finish(begin(tmp_path, env(codes), processes=len(codes.split())))
  assert found == code, err


def test_the_log_of_the_failed_process_is_shown(env, tmp_path):
  code, out, err = finish(begin(tmp_path, env("wait 1"), "--port=23456"))
  assert code == 1 and "process 0 of 2" in out
  assert "process 1 ended with exit code 1" in err and "process 1 of 2 at 127.0.0.1:23456" in err


@pytest.mark.parametrize("codes, code", [("1 deaf", 1), ("deaf 75", 137)])
def test_a_process_that_does_not_exit_is_killed(env, tmp_path, codes, code):
  found, _, err = finish(begin(tmp_path, env(codes), "--grace=1"))
  assert found == code, err
  assert "local.sh: killed process" in err and "after 1 s of waiting" in err


@pytest.mark.parametrize("name, passed", [("TERM", "TERM"), ("INT", "INT"), ("USR1", "USR1"), ("HUP", "TERM")])
def test_signals_reach_every_process_once(env, tmp_path, name, passed):
  process = begin(tmp_path / "run", env("wait wait"))
  other = tmp_path / "run" / "launch" / "process-1.log"
  assert process.stdout is not None
  assert process.stdout.readline().startswith("process 0 of 2") and process.stdout.readline() == "ready\n"
  while not other.exists() or "ready" not in other.read_text():
    assert process.poll() is None
  process.send_signal(getattr(signal, f"SIG{name}"))
  code, out, err = finish(process)
  assert (code, out) == (75, f"got SIG{passed}\n"), err
  assert other.read_text().splitlines()[1:] == ["ready", f"got SIG{passed}"]


def test_gpus_are_split_evenly(env, tmp_path):
  words = ["--processes=2", "--config", CONFIG]
  for found in ({"CUDA_VISIBLE_DEVICES": "4,5,6,7"}, {}):
    stand_in(tmp_path, "nvidia-smi", r"printf 'GPU %s: H100\n' 0 1 2 3")
    with_gpus = env("", **found) | {"JAX_PLATFORMS": "cuda,cpu"}
    devices = [line[line.index("env") + 4] for line in dry("local.sh", *words, env=with_gpus)]
    assert devices == ["JAX_LOCAL_DEVICE_IDS=0,1", "JAX_LOCAL_DEVICE_IDS=2,3"]  # of those that are visible
  code, _, err = finish(start("local.sh", "--processes=3", "--config", CONFIG, env=with_gpus))
  assert (code, err) == (2, "error: --processes=3: expected a divisor of the number of GPUs, 4\n")
  for hidden in ("", "-1", "NoDevFiles"):
    lines = dry("local.sh", *words, env=with_gpus | {"CUDA_VISIBLE_DEVICES": hidden})
    assert len(lines) == 2 and not any("JAX_LOCAL_DEVICE_IDS" in word for line in lines for word in line)


def test_fake_devices_the_default_workdir_and_a_free_port(env):
  words = ["--processes=2", "--devices-per-process=4", "--port=23456", f"--config={CONFIG},cpu"]
  shared = ["JAX_PLATFORMS=cpu", "XLA_FLAGS=--a --xla_force_host_platform_device_count=4"]
  shared += ["JAX_COORDINATOR_ADDRESS=127.0.0.1:23456", "JAX_NUM_PROCESSES=2"]
  runs = [str(ROOT / "launch" / "run.sh"), "--restarts", "0", "--crashes", "0", "--config", f"{CONFIG},cpu"]
  runs += ["--workdir", "runs/nnboot-runlocal-cpu", "--distributed", "on"]
  expected = [["env", *shared, f"JAX_PROCESS_ID={rank}", *runs] for rank in (0, 1)]
  assert dry("local.sh", *words, env=env("", XLA_FLAGS="--a")) == expected
  alone = [[*line[:-1], "off"] for line in expected]
  assert dry("local.sh", *words, "--distributed=off", env=env("", XLA_FLAGS="--a")) == alone
  first, second = dry("local.sh", "--processes=2", "--config", CONFIG, env=env(""))
  assert first[1] == second[1] and 20000 <= int(first[1].removeprefix("JAX_COORDINATOR_ADDRESS=127.0.0.1:")) < 32000


def test_a_workdir_that_cannot_be_written(env, tmp_path):
  (tmp_path / "file").write_text("")
  code, _, err = finish(begin(tmp_path / "file" / "run", env("0 0")))
  assert code == 2 and f"error: --workdir={tmp_path}/file/run: cannot be written to" in err
  assert not calls(tmp_path, "python")
