"""Did somebody set the clock? Stamps pair images with motions, and a clock that jumps tears the pairs apart."""

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
