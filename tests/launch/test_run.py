"""launch/run.sh: environment, restarts, signals."""

import signal

import pytest

from tests.launch.scripts import WAIT, calls, dry, environment, finish, stand_in, start

# Leaves with the next code of $CODES at each start.
TRAINING = f"""
read -r -a codes <<<"$CODES"
code=${{codes[$(wc -l <"$0.calls") - 1]}}
case $code in
  wait) {WAIT} ;;
  kill) kill -KILL $$ ;;
  *) exit "$code" ;;
esac
"""
QUICK = ("--pause", "0")


@pytest.fixture
def env(tmp_path):
  stand_in(tmp_path, "python", TRAINING)
  return lambda codes, **more: environment(tmp_path, CODES=codes, **more)


@pytest.mark.parametrize(
  "codes, words, code, starts",
  [
    ("0", [], 0, 1),
    ("2 0", [], 2, 1),
    ("3 0", [], 3, 1),
    ("130 0", [], 130, 1),
    ("75 75 0", [], 0, 3),
    ("75 75 75 0", ["--restarts=2"], 75, 3),
    ("75 0", ["--restarts=0"], 75, 1),
    ("1 0", [], 0, 2),
    ("kill 75 kill 2", [], 2, 4),
    ("1 kill 1 1 0", [], 1, 4),
    ("kill kill 0", ["--crashes=1"], 137, 2),
    ("1 0", ["--crashes=0"], 1, 1),
    ("1 0", ["--attempt=3"], 1, 1),
    ("75 0", ["--attempt=100"], 75, 1),
    ("0", ["--attempt=101"], 2, 0),
    ("1", ["--in-srun"], 201, 1),
    ("3", ["--in-srun"], 203, 1),
    ("75 0", ["--in-srun"], 75, 1),
  ],
)
def test_what_follows_an_exit_code(env, tmp_path, codes, words, code, starts):
  found, _, err = finish(start("run.sh", *QUICK, *words, "--config=a b.py", env=env(codes)))
  assert found == code, err
  assert calls(tmp_path, "python") == [["-m", "jaxssl.main", "--config=a b.py"]] * starts


@pytest.mark.parametrize(
  "name, restarts", [(name, n) for name in ("TERM", "INT", "USR1") for n in ("100", "0")] + [("HUP", "100")]
)
def test_a_signal_is_passed_on_and_waited_for(env, tmp_path, name, restarts):
  process = start("run.sh", *QUICK, "--restarts", restarts, "--crashes", restarts, env=env("wait 0"))
  assert process.stdout is not None and process.stdout.readline() == "ready\n"
  process.send_signal(getattr(signal, f"SIG{name}"))
  code, out, err = finish(process)
  assert (code, out) == (75, f"got SIG{name.replace('HUP', 'TERM')}\n"), err
  assert len(calls(tmp_path, "python")) == 1


def test_a_signal_between_two_starts_ends_it(env, tmp_path):
  process = start("run.sh", "--pause=50", env=env("75 0"))
  assert process.stderr is not None and "exit code 75; restart 1 of --restarts=100" in process.stderr.readline()
  process.send_signal(signal.SIGTERM)
  assert finish(process)[0] == 75
  assert len(calls(tmp_path, "python")) == 1


def test_all_words_reach_the_command(env):
  words = ["evaluate", "knn", "--workdir", "my runs/$HOME", "--data.path=it's", "--config=c.py:a,b"]
  command = ["env", "PYTHONUNBUFFERED=1", "python", "-m", "jaxssl.main", *words]
  assert dry("run.sh", *words, "--restarts=3", env=env("")) == [command]


def test_the_environment_of_a_file(env, tmp_path):
  file = tmp_path / "my env"
  file.write_text("# a comment\n\nONE=1 and $two\nSET=file\nPYTHON=python\nEMPTY=")
  command = ["env", "ONE=1 and $two", "PYTHON=python", "EMPTY=", "PYTHONUNBUFFERED=1"]
  command += ["python", "-m", "jaxssl.main", "--workdir=w"]
  assert dry("run.sh", "--env", str(file), "--workdir=w", env=env("", SET="here")) == [command]
  stand_in(tmp_path, "python", 'echo "$ONE|$SET|$PYTHON"')
  assert finish(start("run.sh", "--env", str(file), env=env("", SET="here")))[:2] == (0, "1 and $two|here|python\n")


@pytest.mark.parametrize("line", ['NAME="x"', "export NAME=x", "NAME", "1NAME=x", "NA ME=x"])
def test_a_line_of_the_file_that_is_not_understood(env, tmp_path, line):
  file = tmp_path / "env"
  file.write_text(f"A=1\n{line}\n")
  code, _, err = finish(start("run.sh", f"--env={file}", env=env("0")))
  assert code == 2
  assert err == f"error: {file}, line 2: {line}: expected NAME=VALUE without quotes, or a line that starts with #\n"
