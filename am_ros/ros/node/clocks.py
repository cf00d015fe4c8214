"""Timers that nobody can stop, and whether the clock of the stamps runs.

With `use_sim_time` a node's clock, and every timer made with `node.create_timer`, stands when `/clock` stands: a
simulator that is paused, a bag player that is done. What stops the arm must not stand with it.
"""

import time
from collections.abc import Callable

from rclpy.clock import Clock
from rclpy.clock_type import ClockType

from am_ros.clock import SimulatedClock
from am_ros.errors import AmRosError

_STEADY = Clock(clock_type=ClockType.STEADY_TIME)
POLL_S = 0.02


def steady_timer(node, period_s: float, callback: Callable[[], None]):
    """A timer of the node on the monotonic clock; the one way to make timers here."""
    return node.create_timer(period_s, callback, clock=_STEADY)


class StampClock:
    """The node's clock, from which stamps are taken. Its `now_ns` has to be asked for a few times per second."""

    def __init__(self, node):
        self._clock = node.get_clock()
        simulated = node.get_parameter("use_sim_time").value
        self._simulated = SimulatedClock() if simulated else None

    def now_ns(self) -> int:
        """The node's time; 0 with `use_sim_time` before the first `/clock`."""
        now_ns = self._clock.now().nanoseconds
        if self._simulated:
            self._simulated.look(now_ns, time.monotonic())
        return now_ns

    def check(self) -> None:
        """Raise AmRosError "clock_missing: ..." or "clock_stopped: ..." if the stamps mean nothing."""
        self.now_ns()
        fault = self._simulated.fault(time.monotonic()) if self._simulated else ""
        if fault:
            raise AmRosError(fault)

    def wait(self, timeout_s: float, stopped: Callable[[], bool]) -> None:
        """Until the clock has been seen to run, or `stopped`; raises AmRosError, as `check`, if it does not."""
        deadline_s = time.monotonic() + timeout_s
        while self._simulated and not stopped():
            self.now_ns()
            if self._simulated.runs:
                return
            if time.monotonic() > deadline_s:
                self.check()
                raise AmRosError(self._simulated.stands(timeout_s))
            time.sleep(POLL_S)
