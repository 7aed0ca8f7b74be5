"""What a signal does, by the block that it meets."""

import signal
import threading

import pytest

from jaxssl.parallel import preemption
from jaxssl.parallel.preemption import Preemption, StopRequested


@pytest.mark.parametrize("number, code", [(signal.SIGTERM, 75), (signal.SIGUSR1, 75), (signal.SIGINT, 130)])
def test_a_signal_is_raised_where_nothing_is_lost(number, code):
  before = signal.getsignal(number)
  with Preemption() as stop:
    preemption.check()
    with pytest.raises(StopRequested) as request:
      signal.raise_signal(number)
    assert request.value.code == stop.code == code
  assert signal.getsignal(number) is before
  with Preemption() as stop:
    with stop.held("saving"):
      assert not stop.stop_requested()
      signal.raise_signal(number)
      preemption.check()
      assert stop.stop_requested() and stop.code == code
      with pytest.raises(StopRequested), stop.interruptible("stopping"):
        raise AssertionError("the block has begun")
      with pytest.raises(KeyboardInterrupt):  # a second one, in another program than jaxssl
        signal.raise_signal(number)
    with pytest.raises(StopRequested):
      preemption.check()
  assert signal.getsignal(number) is before
  preemption.check()


def test_several_processes_stop_at_the_same_call(monkeypatch):
  calls = []
  monkeypatch.setattr("jaxssl.parallel.preemption._has_others", lambda: True)
  monkeypatch.setattr(
    "jax.experimental.multihost_utils.reached_preemption_sync_point", lambda call: calls.append(call) or call == 3
  )
  sent = []
  with Preemption() as stop:
    monkeypatch.setattr("os.kill", lambda process, number: sent.append(number))
    signal.raise_signal(signal.SIGUSR1)  # is passed on, since the others must stop as well
    assert sent == [signal.SIGTERM] and stop.code == 75
    with stop.held("saving"):
      assert not stop.stop_requested()
      with stop.interruptible("measuring"):
        preemption.check()
        with pytest.raises(StopRequested):
          preemption.check()
      assert stop.stop_requested() and calls == [1, 2, 3]


def test_other_threads_have_no_signals():
  handlers = []

  def run() -> None:
    with Preemption() as stop:
      handlers.append((signal.getsignal(signal.SIGINT), stop.stop_requested()))

  thread = threading.Thread(target=run)
  thread.start()
  thread.join()
  assert handlers == [(signal.getsignal(signal.SIGINT), False)]
