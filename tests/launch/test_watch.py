"""Heartbeats of the hosts, and --watch of launch/tpu_queued.sh and tpu_vm.sh."""

import re
import signal
import sys
import time

import pytest

from tests.launch.scripts import CONFIG, WAIT, calls, dry, environment, finish, sourced, stand_in, start

WORKDIR = "gs://bucket/run"
WORDS = ["--accelerator-type=v5litepod-16", "--config", CONFIG, "--workdir", WORKDIR, "--every=0"]

# One state of the request a look, "NODE:STATE" for that of its TPU, then HOST.CODE.... for hosts that have ended; the run is
# finished when there are no more.
CLOUD = """
state=$(head -n 1 "$STATES")
case "$*" in
  *queued-resources*describe*)
    case $state in
      ERROR) sed -i 1d "$STATES"; exit 1 ;;
      GONE) echo "ERROR: NOT_FOUND: no such resource" >&2; exit 1 ;;
      NODE:* | BEATS:*) echo ACTIVE ;;
      *) sed -i 1d "$STATES"; echo "$state" ;;
    esac ;;
  *tpu-vm*describe*)
    if [[ $state == BEATS:* ]]; then echo READY; else sed -i 1d "$STATES"; echo "${state#NODE:}"; fi ;;
  *host-*.beat)
    [[ $2 == cat ]] || exit 0
    if [[ ! -s $STATES ]]; then echo "0 1 $(date +%s) ended 0"; fi
    if [[ $state == BEATS:* ]]; then sed -i 1d "$STATES"; tr ';' '\n' <<<"${state#BEATS:}"; fi ;;
  *results.json*) [[ -s $STATES && ! ${EXTENDED:-} ]] || echo '  "finished": true,' ;;
esac
"""


@pytest.fixture
def env(tmp_path):
  stand_in(tmp_path, "gcloud", CLOUD)
  return environment(tmp_path, STATES=tmp_path / "states", PYTHON=sys.executable)


def watch(tmp_path, env, states: str, *words: str) -> tuple[int, str, str, list[str]]:
  """Returns the exit code, the output and errors, and what was done to queued resources."""
  (tmp_path / "states").write_text("\n".join(states.split("|")) + "\n")
  code, out, err = finish(start("tpu_queued.sh", *WORDS, "--spot", "--watch", *words, env=env))
  did = [call[3] for call in calls(tmp_path, "gcloud") if call[1] == "tpus"]
  return code, out, err, [action for action in did if action != "describe"]


@pytest.mark.parametrize(
  "states, words, code, asked",
  [
    ("WAITING_FOR_RESOURCES|NODE:READY", [], 0, 1),
    ("NODE:READY|SUSPENDING|SUSPENDED|NODE:READY", [], 0, 2),
    ("NODE:READY|ERROR|SUSPENDED|PROVISIONING|SUSPENDED|NODE:READY", [], 0, 3),
    ("NODE:READY|NODE:PREEMPTED|NODE:READY|NODE:TERMINATED", [], 0, 3),
    ("SUSPENDED|SUSPENDED|NODE:READY", ["--restarts=1"], 2, 2),
    ("FAILED|FAILED|NODE:READY", [], 0, 3),
    ("FAILED|FAILED|FAILED|FAILED", [], 2, 4),
  ],
)
def test_a_tpu_that_is_gone_is_requested_again(env, tmp_path, states, words, code, asked):
  found, _, err, did = watch(tmp_path, env, states, *words)
  assert found == code, err
  assert did.count("create") == asked
  assert did.count("delete") == asked - 1 + (code == 0 or "--restarts=1" in words)  # the last is given back


def test_a_request_that_somebody_deleted_is_not_repeated(env, tmp_path):
  code, _, err, did = watch(tmp_path, env, "NODE:READY|GONE")
  assert (code, did) == (2, ["create"]) and "jaxssl: the request has been deleted" in err


def beats(*hosts: str, age: int = 0) -> str:
  now = int(time.time()) - age
  return "BEATS:" + ";".join(f"{number} {len(hosts)} {now} {host}" for number, host in enumerate(hosts))


def test_hosts_that_are_silent_or_have_ended_are_named_once(env, tmp_path):
  silent = beats("running 0", age=500)
  code, out, err, _ = watch(tmp_path, env, f"{beats('running 0')}|{silent}|{silent}|{beats('running 0')}")
  assert code == 0, err
  lines = [line[9:] for line in out.splitlines() if "host 0" in line]
  assert lines[0] == lines[2] == "host 0: running" and len(lines) == 3
  assert re.fullmatch(r"host 0: silent since \d\d:\d\d:\d\d", lines[1])
  assert out.count(f"gcloud storage cat {WORKDIR}/launch/host-0.log") == 1


@pytest.mark.parametrize(
  "states, words, code, asked",
  [
    ([("running 0", "ended 2")], [], 2, 1),
    ([("ended 1", "ended 3", "ended 75")], [], 3, 1),
    ([("ended 75", "running 0")], [], 75, 1),
    ([("ended 0", "running 0")], [], 0, 1),
    ([("stopped 75", "running 0")], [], 0, 1),
    ([("running 0", "ended 1"), ("ended 137", "ended 75")], [], 0, 3),
    ([("ended 1",)] * 4, [], 1, 4),
    ([("ended 139",)], ["--crashes=0"], 139, 1),
  ],
)
def test_what_follows_when_hosts_have_ended(env, tmp_path, states, words, code, asked):
  found, out, err, did = watch(tmp_path, env, "|".join(beats(*hosts) for hosts in states), *words)
  assert found == code, err
  assert did.count("create") == asked and did.count("delete") == asked - (code != 0)  # a failed one stays
  assert ("To delete it:" in out) == (code != 0)
  forgotten = [call for call in calls(tmp_path, "gcloud") if call[1:3] == ["rm", "--quiet"]]
  assert len(forgotten) == asked  # what the hosts of an earlier TPU wrote


def test_a_host_whose_log_does_not_grow_may_be_stuck(env, tmp_path):
  code, out, err, _ = watch(tmp_path, env, f"{beats('running 1800')}|{beats('running 1801')}|{beats('running 1800')}")
  assert code == 0, err
  assert len(re.findall(r"host 0: running\n", out)) == 2
  assert len(re.findall(r"host 0: running, but its log has not changed since \d\d:\d\d:\d\d\n", out)) == 1


def test_a_host_that_never_reported_is_missing(env, tmp_path):
  states = ["BEATS:", "BEATS:", beats("running 0").replace("0 1 ", "1 3 "), "BEATS:"]
  (tmp_path / "states").write_text("\n".join(states) + "\n")
  looks = "look_at_hosts; active=$((SECONDS - BOOT - 1)); look_at_hosts; look_at_hosts; look_at_hosts"
  out = sourced(f"option[workdir]={WORKDIR}; source launch/watch.sh; {looks}", env)
  lines = [line[9:] for line in out.splitlines() if "host" in line[9:14]]
  assert lines == [
    "host 0: no host has reported in 20 minutes",
    "host 1: running",
    "host 0: missing",
    "host 2: missing",
    "host 0: no host has reported in 20 minutes",
  ]


def test_tpu_vm_waits_for_the_end(env, tmp_path):
  (tmp_path / "states").write_text(f"{beats('running 0')}\n{beats('ended 3')}\n")
  code, out, err = finish(start("tpu_vm.sh", *WORDS, "--watch", env=env))
  assert code == 3, err
  assert "host 0: ended with exit code 3" in out
  (tmp_path / "states").write_text("")
  assert finish(start("tpu_vm.sh", *WORDS, "--watch", env=env))[0] == 0


@pytest.mark.parametrize("script", ["tpu_queued.sh", "tpu_vm.sh"])
def test_a_finished_run_that_is_extended_has_not_ended(script, env, tmp_path):
  (tmp_path / "states").write_text(f"{beats('running 0', 'running 0')}\n" * 3)
  workdir = ["--workdir", f"{WORKDIR}/"]  # whose / is dropped
  code, out, err = finish(start(script, *WORDS, *workdir, "--watch", env=env | {"EXTENDED": "yes"}))
  assert code == 0, err
  assert out.index("host 1: running") < out.index(f"finished: {WORKDIR}/results.json")


def test_a_dry_run_prints_what_watch_does(env):
  words = [" ".join(line) for line in dry("tpu_queued.sh", *WORDS, "--watch", env=env)]
  assert f"gcloud storage cat {WORKDIR}/launch/host-*.beat" in words
  (gone,) = [line for line in words if "SUSPENDED" in line]
  assert "PREEMPTED" in gone and "TERMINATED" in gone and "FAILED" in gone


METADATA = """
case "$*" in
  *agent-worker-number) echo 3 ;;
  *worker-network-endpoints) echo a:0:10.0.0.1,b:1:10.0.0.2,c:2:10.0.0.3,d:3:10.0.0.4 ;;
esac
"""


@pytest.mark.parametrize("codes, state", [("0", "ended 0"), ("1 2", "ended 2"), ("wait", "stopped 75")])
def test_a_host_tells_how_it_is_and_shows_its_log(tmp_path, codes, state):
  stand_in(tmp_path, "curl", METADATA)
  stand_in(tmp_path, "journalctl", "echo the log of this unit")
  stand_in(
    tmp_path,
    "python",
    f"""
    codes=({codes}); code=${{codes[$(wc -l <"$0.calls") - 1]}}
    until [[ -e {tmp_path}/beats/host-3.log ]]; do sleep 0.1; done
    cat {tmp_path}/beats/host-3.beat >>{tmp_path}/first
    [[ $code != wait ]] || {WAIT}
    exit "$code"
  """,
  )
  words = ["--pause=0", f"--heartbeat={tmp_path}/beats", "--every=1", "--config", CONFIG]
  process = start("run.sh", *words, env=environment(tmp_path))
  if codes == "wait":
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
  code, _, err = finish(process)
  assert code == int(state.split()[1]), err
  first = (tmp_path / "first").read_text().splitlines()[0]
  last = (tmp_path / "beats" / "host-3.beat").read_text()
  for line, expected in ((first, "running 0"), (last, state)):
    host, hosts, seconds, now = line.strip().split(maxsplit=3)
    assert (host, hosts, now) == ("3", "4", expected) and abs(time.time() - int(seconds)) < 60
  assert (tmp_path / "beats" / "host-3.log").read_text() == "the log of this unit\n"


def test_heartbeats_in_a_bucket(tmp_path):
  stand_in(tmp_path, "curl", "exit 22")  # no Cloud TPU: host 0 of 1
  stand_in(tmp_path, "journalctl", "echo log")  # does not grow
  stand_in(tmp_path, "python", "sleep 2.5")
  stand_in(tmp_path, "gcloud", f'cat "$4" >>{tmp_path}/sent; echo "ERROR: no access" >&2; exit 1')
  words = [f"--heartbeat={WORKDIR}/launch", "--every=1", "--config", CONFIG]
  code, _, err = finish(start("run.sh", *words, env=environment(tmp_path)))
  assert code == 0
  assert f"run.sh: --heartbeat={WORKDIR}/launch: cannot be written to: ERROR: no access" in err
  sent = calls(tmp_path, "gcloud")
  assert len(sent) >= 2 and sent[0][:3] == ["storage", "cp", "--quiet"] and sent[0][-1] == f"{WORKDIR}/launch/"
  assert [word.rpartition("/")[2] for word in sent[0][3:5]] == ["host-0.beat", "host-0.log"]
  first, second = [line.split() for line in (tmp_path / "sent").read_text().splitlines()][:2]
  assert first[:2] == ["0", "1"] and first[3:] == ["running", "0"]
  assert second[3] == "running" and int(second[4]) == int(second[2]) - int(first[2]) >= 1
