"""launch/slurm.sbatch: its directives, the step of the job, and when it is requeued."""

import os
import signal
import subprocess

import pytest

from tests.launch.scripts import CONFIG, ROOT, WAIT, calls, dry, environment, finish, stand_in, start

RUN = [str(ROOT / "launch" / "run.sh"), "--in-srun"]
STEP = ["srun", "--ntasks-per-node=1", "--kill-on-bad-exit=0", "--wait=300"]


def test_the_directives():
  lines = (ROOT / "launch" / "slurm.sbatch").read_text().splitlines()
  directives = {line.removeprefix("#SBATCH ") for line in lines if line.startswith("#SBATCH")}
  assert directives >= {"--ntasks-per-node=1", "--requeue", "--signal=USR1@120", "--open-mode=append"}
  assert lines[1].startswith("#SBATCH")  # sbatch reads none after the first command


def test_one_task_a_node_with_all_its_gpus(tmp_path):
  env = environment(tmp_path, SLURM_JOB_NUM_NODES=4, SLURM_GPUS_ON_NODE=8, SLURM_CPUS_PER_TASK=64)
  lines = dry("slurm.sbatch", "--config", CONFIG, "--workdir=/my runs/a", "--config.data.path=/a b", env=env)
  train = [*RUN, "--config", CONFIG, "--workdir", "/my runs/a", "--distributed", "on", "--config.data.path=/a b"]
  assert lines == [
    ["env", "JAX_LOCAL_DEVICE_IDS=0,1,2,3,4,5,6,7", *STEP, "--cpus-per-task=64", *train],
    ["scontrol", "requeue", "JOB"],
  ]


def test_one_node_without_gpus_is_alone(tmp_path):
  file = tmp_path / "env"
  file.write_text("A=1\n")
  train = [*RUN, "--env", str(file), "--config", CONFIG, "--workdir", "runs/nnboot-runlocal"]
  words = ["--config", CONFIG, "--env", str(file)]
  assert dry("slurm.sbatch", *words, env=environment(tmp_path))[0] == ["env", *STEP, *train]


@pytest.mark.parametrize(
  "code, before, requeued",
  [(0, 0, False), (2, 0, False), (3, 0, False), (75, 0, True), (75, 99, True), (75, 100, False)],
)
def test_a_saved_run_is_requeued(tmp_path, code, before, requeued):
  stand_in(tmp_path, "srun", f"exit {code + 200 if code in (2, 3) else code}")
  stand_in(tmp_path, "scontrol", "")
  env = environment(tmp_path, SLURM_JOB_ID=7, SLURM_SUBMIT_DIR=ROOT, SLURM_RESTART_COUNT=before)
  assert finish(start("slurm.sbatch", "--config", CONFIG, env=env))[0] == code
  assert calls(tmp_path, "srun") == [[*STEP[1:], *RUN, "--config", CONFIG, "--workdir", "runs/nnboot-runlocal"]]
  assert calls(tmp_path, "scontrol") == [["requeue", "7"]] * requeued


def test_a_job_from_another_folder_says_so(tmp_path):
  code, _, err = finish(start("slurm.sbatch", env=environment(tmp_path, SLURM_JOB_ID=7, SLURM_SUBMIT_DIR=tmp_path)))
  assert code == 2
  assert err == f"error: {tmp_path} is not the repository of jaxssl; submit from there: sbatch launch/slurm.sbatch ...\n"


@pytest.mark.parametrize("codes, crashes, code, steps", [("201 137 0", 3, 0, 3), ("137 201 0", 1, 1, 2), ("201 75", 3, 75, 2)])
def test_a_crash_restarts_all_processes_on_the_same_nodes(tmp_path, codes, crashes, code, steps):
  stand_in(tmp_path, "srun", f"""codes=({codes}); exit "${{codes[$(wc -l <"$0.calls") - 1]}}" """)
  for name in ("scontrol", "sleep"):
    stand_in(tmp_path, name, "")
  env = environment(tmp_path, SLURM_JOB_ID=7, SLURM_SUBMIT_DIR=ROOT)
  found, out, err = finish(start("slurm.sbatch", "--config", CONFIG, f"--crashes={crashes}", env=env))
  assert found == code, err
  assert len(calls(tmp_path, "srun")) == steps
  assert "slurm.sbatch: exit code" in out and f"restart 1 of --crashes={crashes}" in out
  assert calls(tmp_path, "sleep")[0] == ["5"]
  assert calls(tmp_path, "scontrol") == [["requeue", "7"]] * (code == 75)


def test_a_signal_reaches_the_training_process_once(tmp_path):
  stand_in(tmp_path, "python", WAIT)
  command = [ROOT / "launch" / "run.sh", "--in-srun"]
  pipe = subprocess.PIPE
  task = subprocess.Popen(command, env=environment(tmp_path), stdout=pipe, text=True, start_new_session=True)
  assert task.stdout is not None and task.stdout.readline() == "ready\n"
  os.killpg(task.pid, signal.SIGUSR1)  # Slurm sends it to all processes of the task
  out, _ = task.communicate(timeout=60)
  assert (task.returncode, out) == (75, "got SIGUSR1\n")
