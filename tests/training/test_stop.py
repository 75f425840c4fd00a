import os
import signal
import threading
import time

import pytest

from sacbnet.training.stop import SIGNALS, Stop


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_is_noted_and_the_former_handlers_come_back(number):
    former = signal.getsignal(number)
    with Stop() as stop:
        assert not stop.due(1e9)
        os.kill(os.getpid(), number)
        assert stop.due(0.0) and stop.signal == number
    assert signal.getsignal(number) == former


def test_a_second_signal_ends_the_process_unless_it_is_the_same_one(monkeypatch):
    with pytest.raises(KeyboardInterrupt), Stop() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)  # torchrun's echo
        assert stop.signal == signal.SIGINT
        late = time.monotonic() + 10
        monkeypatch.setattr(time, "monotonic", lambda: late)
        os.kill(os.getpid(), signal.SIGINT)


def test_the_next_stretch_must_fit_before_the_deadline():
    stop = Stop(max_minutes=1.0, since=time.monotonic() - 50)
    assert not stop.due(5.0) and stop.due(15.0)


def test_it_works_in_a_thread_that_may_not_handle_signals():
    seen = []

    def work():
        with Stop(max_minutes=0.0) as stop:
            seen.append(stop.due(0.1))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [True]
