"""Waiting, within a callback of a node, for joint states: the next fresh one, and one of an arm at rest."""

import time
from collections.abc import Callable

from rclpy.task import Future

from am_ros.control.joint_states import JointStateBuffer

FRESH_S = 0.1  # a joint state that is not late comes within a few of their periods
# A simulator that is reset puts its arm elsewhere at once. Where velocities are differences of positions, that looks
# like motion for 0.1 s, and for twice as long where joint states are late.
REST_S = 0.25


class NextState:
    """What waits for joint states; `came` is called for each that is taken, and where none comes any more."""

    def __init__(self, state: JointStateBuffer):
        self._state, self._next = state, Future()

    def came(self) -> None:
        """Whoever waits goes on."""
        self._next.set_result(None)

    async def fresh(self) -> None:
        """Until a joint state comes that did not wait while the step was planned; not for long."""
        deadline_s = time.monotonic() + FRESH_S
        while time.monotonic() < deadline_s:
            await self._wait()
            if self._state.ticks.fresh:
                return

    async def at_rest(self, fastest_rad_s: float, cancelled: Callable[[], bool]) -> None:
        """Until no joint seems faster than that, or it is cancelled; not for long, and then the step is refused."""
        deadline_s = time.monotonic() + REST_S
        while abs(self._state.measured()[1]).max() > fastest_rad_s and time.monotonic() < deadline_s:
            if cancelled():
                return
            await self._wait()

    async def _wait(self) -> None:
        self._next = Future()
        await self._next
