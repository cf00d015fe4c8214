"""SIGINT, SIGTERM and SIGHUP alike, once each, and SIGHUP not at all under nohup."""

import os
import signal
import subprocess
import sys
import time

import pytest

from am_ros import signals


@pytest.mark.parametrize("number", signals.STOP)
def test_each_of_them_interrupts_and_says_which_it_was(number):
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt) as caught, signals.raised():
        os.kill(os.getpid(), number)
        time.sleep(5)
    assert signals.exit_code(caught.value) == 128 + number
    assert signal.getsignal(number) == before


def test_a_burst_counts_once_and_an_impatient_second_one_later(monkeypatch):
    came = []
    before = signals.on_stop(lambda number, _frame: came.append(number))
    try:
        for number in (signal.SIGHUP, signal.SIGHUP, signal.SIGTERM):  # a terminal that is closed
            os.kill(os.getpid(), number)
        assert came == [signal.SIGHUP]
        monkeypatch.setattr(signals, "BURST_S", 0.0)
        os.kill(os.getpid(), signal.SIGINT)
        assert came == [signal.SIGHUP, signal.SIGINT]
    finally:
        signals.put_back(before)


def test_work_that_is_held_to_its_end_is_told_to_stop_and_then_interrupted():
    told, done = [], []
    with pytest.raises(signals.Stopped) as caught, signals.held_back(lambda: told.append(True)):
        os.kill(os.getpid(), signal.SIGTERM)
        while not told:
            time.sleep(0.01)
        done.append("saved")
    assert caught.value.number == signal.SIGTERM and done == ["saved"]


def test_what_nohup_ignores_stays_ignored():
    code = (
        "import os, signal; from am_ros import signals\n"
        "with signals.raised(): os.kill(os.getpid(), signal.SIGHUP)\n"
        "print('goes on')"
    )
    ignore = lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)  # noqa: E731
    run = subprocess.run([sys.executable, "-c", code], preexec_fn=ignore, capture_output=True, text=True, timeout=240)
    assert run.stdout == "goes on\n"
