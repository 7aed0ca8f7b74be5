"""Worker processes read the same batches as threads, are replaced if they die, and leave nothing behind."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from jaxssl.config.schema import DataConfig, ViewConfig
from jaxssl.core import Unavailable, UserError
from jaxssl.data import worker_pool
from jaxssl.data.datasets import open_datasets
from jaxssl.data.input_pipeline import inference, training
from jaxssl.data.sampler import epoch_plan
from jaxssl.data.source import Subset
from jaxssl.data.unreadable import SubstituteUnreadable
from jaxssl.data.worker_pool import WorkerPool, open_pool
from tests.data import fixtures
from tests.data.fixtures import Images, coded, flat, photo
from tests.data.test_input_pipeline import VIEWS, batches, same


class Files(Images):
  in_processes = True


class Broken(Files):
  def encoded(self, index):
    raise KeyError("a defect")


class Deadly(Files):
  def encoded(self, index):
    os._exit(9)  # as if the system had killed it for its memory


class Slow(Files):
  def encoded(self, index):
    time.sleep(0.05)
    return super().encoded(index)


def started(*sources, count=2):
  """Returns a pool, and a function that returns the process identifiers of its host and of its workers."""
  pool = WorkerPool(sources, count)

  def processes():
    host = pool._host.pid
    return host, [int(child) for child in pathlib.Path(f"/proc/{host}/task/{host}/children").read_text().split()]

  return pool, processes


def wait_until(holds):
  deadline = time.monotonic() + 60
  while not holds():
    assert time.monotonic() < deadline
    time.sleep(0.02)


@pytest.fixture(scope="module")
def files():
  return [coded(photo(k, 120, 160)) for k in range(20)] * 10


def test_processes_read_what_threads_read(files, tmp_path):
  files = [*files]
  files[30], files[77] = b"", files[77][:3000]
  source = Files(files)
  index, partner = epoch_plan(0, 0, 200, 8, np.roll(np.arange(200), 1).__getitem__)
  expected = batches(SubstituteUnreadable(Subset(source, np.arange(200))), index, partner, workers=2)
  for count in (1, 3):
    pool = WorkerPool([Files([b""]), source], count)
    substituting = SubstituteUnreadable(Subset(source, np.arange(200)), tmp_path / str(count))
    same(batches(substituting, index, partner, pool=pool), expected)
    assert sorted((tmp_path / str(count) / "bad_files.txt").read_text().split("\n")) == ["", "made 30", "made 77"]
    same(batches(substituting, index, partner, first_step=20, pool=pool), expected[20:])
    subset = Subset(SubstituteUnreadable(source), np.arange(20, 60)[::-1])
    rows = np.arange(48).reshape(4, 12)
    rows[rows >= 40] = -1
    pairs = zip(inference(subset, rows, 20, 16), inference(subset, rows, 20, 16, pool=pool), strict=True)
    assert all((a == b).all() for a, b in pairs)
    pool.close()


def test_errors_of_processes_keep_their_type(files):
  source, broken = Files([b""] * 4 + files), Broken(files)
  pool, _ = started(source, broken)
  plan = epoch_plan(0, 0, 200, 8)
  with pytest.raises(UserError, match=r"made: 3 of 204 images are unreadable"):
    batches(SubstituteUnreadable(source), *epoch_plan(0, 0, 204, 8), pool=pool)
  with pytest.raises(KeyError, match="a defect") as raised:
    batches(broken, *plan, pool=pool)
  assert "in a worker process:" in raised.value.__notes__[0] and "in encoded" in raised.value.__notes__[0]
  other = Images(files)  # not in the pool
  same(batches(other, *plan, pool=pool), batches(source.__class__(files), *plan))
  assert other.reads >= 200
  pool.close()


def test_a_killed_worker_is_replaced_and_its_work_repeated(files, caplog):
  source = Slow(files[:40])
  index, partner = epoch_plan(0, 0, 40, 8)
  expected = batches(source, index, partner, workers=8)
  pool, processes = started(source)
  with training(source, index, partner, VIEWS, 0, 0, pool=pool) as stream:
    output = [next(stream)]
    wait_until(lambda: len(processes()[1]) == 2)
    for worker in processes()[1]:
      os.kill(worker, signal.SIGKILL)
    output += list(stream)
  same(output, expected)
  assert caplog.text.count("a worker process died; another one repeats its work") == 2
  pool.close()


def test_processes_that_all_die_end_the_run_so_that_it_can_resume(files):
  source = Slow(files[:40])
  pool, processes = started(source)
  with training(source, *epoch_plan(0, 0, 40, 8), VIEWS, 0, 0, pool=pool) as stream:
    next(stream)
    host, workers = processes()
    os.kill(host, signal.SIGKILL)
    for worker in workers:
      os.kill(worker, signal.SIGKILL)
    with pytest.raises(Unavailable, match="the worker processes have died; is there too little memory"):
      list(stream)
  pool.close()


def test_an_image_that_kills_every_worker_ends_the_run(files, caplog):
  source = Deadly(files[:8])
  pool, _ = started(source, count=1)
  with pytest.raises(Unavailable, match="worker processes died 3 times; is there too little memory"):
    batches(source, *epoch_plan(0, 0, 8, 8), pool=pool)
  pool.close()


def test_a_source_that_processes_cannot_open_is_an_error_at_the_start(files):
  class Local(Files):  # pickles by a name that no other process finds
    pass

  Local.__qualname__ = "Gone"
  Gone, here = Local, sys.modules[__name__]
  here.Gone = Gone
  try:
    with pytest.raises(AttributeError, match="Can't get attribute 'Gone'"):
      WorkerPool([Gone(files)], 2)
  finally:
    del here.Gone


PROGRAM = """
import os, sys, time
import numpy as np
from jaxssl.data.input_pipeline import training
from jaxssl.data.sampler import epoch_plan
from tests.data.test_worker_pool import VIEWS, Slow, flat, started
source = Slow([flat(k) for k in range(200)])
pool, processes = started(source)
with training(source, *epoch_plan(0, 0, 200, 8), VIEWS, 0, 0, pool=pool) as stream:
  next(stream)
  host, workers = processes()
  print(host, *workers, flush=True)
  time.sleep(600)
"""


@pytest.mark.parametrize("killed", ["program", "workers too"])
def test_nothing_is_left_behind(killed):
  before = set(os.listdir("/dev/shm"))
  with subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, text=True, cwd=os.getcwd()) as program:
    assert program.stdout
    processes = [int(word) for word in program.stdout.readline().split()]
    assert len(processes) == 3
    for process in (processes[1:] if killed == "workers too" else []) + [program.pid]:
      os.kill(process, signal.SIGKILL)
    program.wait()
  wait_until(lambda: not any(os.path.exists(f"/proc/{process}") for process in processes))
  assert set(os.listdir("/dev/shm")) <= before


def test_signals_of_the_group_leave_the_workers_to_their_parent(files):
  source = Files(files[:16])
  pool, processes = started(source)
  wait_until(lambda: len(processes()[1]) == 2)
  host, workers = processes()
  for process in (host, *workers):
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
      os.kill(process, number)
  assert len(batches(source, *epoch_plan(0, 0, 16, 8), pool=pool)) == 2
  assert processes() == (host, workers)
  pool.close()
  wait_until(lambda: not any(os.path.exists(f"/proc/{process}") for process in (host, *workers)))


@pytest.mark.parametrize(
  "processes, workers, cores, expected",
  [("auto", 0, 4, 0), ("auto", 0, 5, 5), ("auto", 20, 2, 20), ("on", 0, 2, 2), ("on", 3, 9, 3), ("off", 20, 99, 0)],
)
def test_processes_are_started_if_threads_do_not_suffice(processes, workers, cores, expected, monkeypatch):
  monkeypatch.setattr(worker_pool, "WorkerPool", lambda sources, count: count)
  monkeypatch.setattr(worker_pool, "cores", lambda: cores)
  config = DataConfig(processes=processes, workers=workers)
  assert (open_pool([SubstituteUnreadable(Files([flat(1)]))], config) or 0) == expected


def test_images_that_only_this_process_can_read_are_read_by_threads():
  source = SubstituteUnreadable(Images([flat(1)]))
  assert open_pool([source], DataConfig(processes="auto", workers=99)) is None
  with pytest.raises(UserError, match="data.processes=on: made is read by this process only; use auto, or jaxssl pack"):
    open_pool([source], DataConfig(processes="on"))


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_folders_and_zips_are_read_by_processes(kind, tmp_path):
  images = {f"{k % 2}/{k}.jpg": coded(photo(k, 60, 80)) for k in range(8)}
  path = (fixtures.folder if kind == "folder" else fixtures.zipped)(tmp_path / f"images.{kind}", images)
  source = open_datasets(DataConfig(source="folder", path=path, processes="on", workers=1), 0).train.source
  pool = open_pool([source], DataConfig(processes="on", workers=1))
  views = {"g": ViewConfig(size=16)}
  plan = epoch_plan(0, 0, 8, 4)
  same(fixtures.batches(source, *plan, views, pool=pool), fixtures.batches(source, *plan, views))
  assert pool and pool.number_of(source.source) == 0
  pool.close()


def test_worker_processes_do_not_import_jax():
  """It would take seconds and memory in each, and JAX has threads, with which a process must not fork."""
  modules = "worker_process, folder, file_index, zip_index, packed, record_source, crops, whole_images, unreadable"
  program = f"import sys; from jaxssl.data import {modules}; sys.exit('jax' in sys.modules or 'tensorflow' in sys.modules)"
  assert subprocess.run([sys.executable, "-c", program]).returncode == 0
