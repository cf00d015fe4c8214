"""Tests whose claim needs a processor at once: the marker needs_quiet, and how late the machine was meanwhile.

A test with the marker that fails while some process waited for a processor for longer than the marker allows is
skipped, with that time as the reason: it tells nothing then. On a machine that was not so late it fails as any other.
"""

import subprocess
import sys

import pytest

# Sleeps 5 ms at a time and says, once its input ends, by how much it woke up too late at most [s].
_WATCH = """
import os, select, time
late_s = 0.0
while True:
    began_s = time.monotonic()
    ended = select.select([0], [], [], 0.005)[0]
    if ended:
        break
    late_s = max(late_s, time.monotonic() - began_s - 0.005)
print(late_s)
"""


class Lateness:
    """Measured in a process of its own from now on, since a thread would wait for the interpreter's lock too."""

    def __init__(self):
        command = [sys.executable, "-S", "-E", "-c", _WATCH]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def stop(self) -> float:
        """The longest that it waited for a processor [s]."""
        return float(self._process.communicate()[0])


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_call(item):
    """Measure while a test with the marker runs."""
    mark = item.get_closest_marker("needs_quiet")
    if mark is None:
        yield
        return
    lateness = Lateness()
    outcome = yield
    late_s = lateness.stop()
    if outcome.excinfo is not None and late_s > mark.args[0]:
        why = f"needs a processor within {mark.args[0]:g} s, and this machine took {late_s:.2f} s"
        outcome.force_exception(pytest.skip.Exception(why, _use_item_location=True))
