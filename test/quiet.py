"""Tests whose claim needs a processor at once: the marker needs_quiet, and how late the machine was meanwhile.

A test with the marker that fails while some process waited for a processor for longer than the marker allows is
skipped, with that time as the reason: it tells nothing then. On a machine that was not so late it fails as any other.
`second=True`: of what comes second to other programs, as the operator's page does. Where they take all processors it
waits longer than a second, and so do its heartbeats: client_gone.
"""

import subprocess
import sys

import pytest

from am_ros.workers import NICE

# Sleeps 5 ms at a time and says, once its input ends, by how much it woke up too late at most [s].
_WATCH = """
import os, select, sys, time
if sys.argv[1:]:  # as am_ros.workers.come_second
    os.setpriority(os.PRIO_PROCESS, 0, int(sys.argv[1]))
    try:
        with open("/proc/self/autogroup", "w") as file:
            file.write(sys.argv[1])
    except OSError:
        pass
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

    def __init__(self, second: bool = False):
        command = [sys.executable, "-S", "-E", "-c", _WATCH, *([str(NICE)] if second else [])]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=second
        )

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
    lateness = Lateness(**mark.kwargs)
    outcome = yield
    late_s = lateness.stop()
    if outcome.excinfo is not None and late_s > mark.args[0]:
        why = f"needs a processor within {mark.args[0]:g} s, and this machine took {late_s:.2f} s"
        outcome.force_exception(pytest.skip.Exception(why, _use_item_location=True))
