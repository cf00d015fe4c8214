"""Did somebody set the clock? Stamps pair images with motions, and a clock that jumps tears the pairs apart."""

# Simulated time that has not changed for so long stands; who publishes /clock does so ten times per second and more.
STOPPED_S = 1.0
MAX_RATE = 10.0  # simulated time runs at most so many times faster than real time (real_time_factor of sim_workcell)


class ClockWatch:
    """Compares the ROS clock with the monotonic one, which nobody can set.

    Call `update` a few times per second: a jump is what one interval cannot explain. A ROS clock that stands still or
    runs at another rate (simulated time) is no jump, nor is a process that was stopped for a while, because both
    clocks go on meanwhile.
    """

    def __init__(self, tolerance_s: float = 0.5):
        self._tolerance_s = tolerance_s
        self._last: tuple[int, float] | None = None

    def update(self, ros_ns: int, monotonic_s: float) -> float:
        """Seconds that the ROS clock jumped since the last call, negative for backwards; 0.0 if it did not."""
        last = self._last
        if last is not None and ros_ns == last[0]:  # what stood still may catch up in one step
            return 0.0
        self._last = ros_ns, monotonic_s
        if last is None or not last[0] or not ros_ns:  # simulated time is 0 until its first message
            return 0.0
        ros_s, real_s = (ros_ns - last[0]) / 1e9, monotonic_s - last[1]
        if -self._tolerance_s <= ros_s <= MAX_RATE * real_s + self._tolerance_s:
            return 0.0
        return ros_s - real_s


class SimulatedClock:
    """A ROS clock that follows the topic /clock (use_sim_time): has it come, and does it go on?

    Call `look` a few times per second.
    """

    def __init__(self, timeout_s: float = STOPPED_S):
        self._timeout_s = timeout_s
        self._last: tuple[int, float] | None = None  # the time shown, and since when
        self.runs = False  # whether it was seen to change

    def look(self, ros_ns: int, monotonic_s: float) -> None:
        """What the clock shows now; 0: nothing came yet."""
        if self._last is None or ros_ns != self._last[0]:
            self.runs = self._last is not None and self._last[0] > 0
            self._last = ros_ns, monotonic_s

    def fault(self, monotonic_s: float) -> str:
        """ "clock_missing: ..." or "clock_stopped: ..." as long as that is so, or empty."""
        if self._last is None or not self._last[0]:
            return "clock_missing: use_sim_time is set, and nothing has come on topic /clock"
        stood_s = monotonic_s - self._last[1]
        return self.stands(stood_s) if stood_s > self._timeout_s else ""

    def stands(self, stood_s: float) -> str:
        """The sentence about a clock that has not changed for so long."""
        shown_s = self._last[0] / 1e9 if self._last else 0.0
        return f"clock_stopped: use_sim_time is set, and topic /clock has stood at {shown_s:.3f} s for {stood_s:.1f} s"
