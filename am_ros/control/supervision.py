"""Everything that stops the arm or keeps a step from beginning, in one place and without ROS."""

import numpy as np

from am_ros.clock import ClockWatch
from am_ros.control.command import Heartbeats, Lease, check_age
from am_ros.control.controller import ControllerConfig
from am_ros.control.kinematics import Kinematics
from am_ros.control.motion import JointStateBuffer
from am_ros.control.trajectory import JointTrajectory
from am_ros.control.watch import ArmWatch, PathWatch, ProtectiveStop, SuspensionWatch
from am_ros.errors import AmRosError

# A joint state taken before the process was suspended may still wait in a queue; its stamp tells. Where stamps do not
# fit the clock, one that comes so long after the process went on is new enough.
FRESH_S = 0.2
# After these faults the measured angles are not believed: the arm is braked from where it was told to be.
BLIND = ("joint_states_stale", "joint_jump", "joint_position")


class Supervision:
    """The state of the arm, who commands it, and the faults of both. `now_s` is always the monotonic clock."""

    def __init__(self, config: ControllerConfig, kinematics: Kinematics):
        self._config = config
        self.state = JointStateBuffer(
            config.joint_names, config.finger_names, config.finger_stroke_m, config.joint_state_timeout_s
        )
        self.stop = ProtectiveStop()
        self.lease = Lease(config.command.lease_s)
        self.heartbeats = Heartbeats(config.command.heartbeat_timeout_s)
        self.clock_jumps = self.suspensions = 0
        self._arm = ArmWatch(kinematics, config.watch, config.joint_names)
        self._arm_fault = ""
        self._path: PathWatch | None = None
        self._commander, self._started_s = "", 0.0
        self._joints_s = -np.inf
        self._hold_after: tuple[int, float] | None = None
        self.watch_anew()

    def watch_anew(self) -> None:
        """Forget when it was looked last: the time before activation counts neither as suspension nor as jump."""
        self._suspension = SuspensionWatch(self._config.watch.suspended_s)
        self._clock = ClockWatch(self._config.watch.clock_jump_s)

    def look(self, now_s: float, ros_ns: int) -> list[str]:
        """Look at the clocks, first of all whenever there is something to do.

        Returns what happened since the last look: "suspended: ..." and "clock_jump: ...".
        """
        events = []
        suspended, jump_s = self._suspension.look(now_s), self._clock.update(ros_ns, now_s)
        if suspended:
            self.suspensions += 1
            self._hold_after = (ros_ns, now_s) if self._path else None
            events.append(suspended)
        if jump_s:
            self.clock_jumps += 1
            events.append(f"clock_jump: the ROS clock jumped by {jump_s:+.1f} s")
        return events

    def take(self, names, positions, velocities, stamp_ns: int, now_s: float) -> bool:
        """Take a joint state; returns whether it held the arm."""
        state, before = self.state, self.state.q
        if not state.update(names, positions, velocities, stamp_ns, now_s):
            return False
        self._arm_fault = self._arm.fault(state.q, state.qd_measured, now_s)
        if self._path and not self._arm_fault:
            self._arm_fault = self._arm.jump(before, state.q, now_s - self._joints_s) or self._path.fault(state.q)
        self._joints_s = now_s
        return True

    def hold_now(self, now_s: float) -> bool:
        """Once after a suspension in mid-motion: whether the state taken last is new enough to hold the arm there."""
        if self._hold_after is None:
            return False
        resumed_ns, resumed_s = self._hold_after
        if self.state.stamp_ns < resumed_ns and now_s - resumed_s < FRESH_S:
            return False
        self._hold_after = None
        return True

    def fault(self, now_s: float) -> str:
        """What is wrong with the arm now: "joint_states_stale", "joint_position", "joint_velocity", and in a motion
        "joint_jump" or "tracking_error", each with its sentence; or empty."""
        return self.state.fault(now_s) or self._arm_fault

    def commander_fault(self, now_s: float) -> str:
        """Why the motion under way must end though nothing is wrong with the arm: "commander_gone: ..."; or empty."""
        return self.heartbeats.fault(self._commander, self._started_s, now_s) if self._path else ""

    def admit(self, commander: str, decided_ns: int, now_s: float, ros_ns: int) -> None:
        """Raise AmRosError "protective_stop", "command_stale" or "not_commander" if a step may not begin."""
        if self.stop.cause:
            raise AmRosError(f"protective_stop: call ~/reset first ({self.stop.cause})")
        check_age(decided_ns, ros_ns, self._config.command.command_timeout_s)
        self.lease.check(commander, now_s)

    def begin(self, commander: str, trajectory: JointTrajectory, now_s: float) -> None:
        """A step begins."""
        self._commander, self._started_s = commander, now_s
        self._path = PathWatch(trajectory, self._config.watch, self._config.joint_names)
        self._hold_after = None
        self.lease.take(commander)

    def brake_from(
        self, cause: str, trajectory: JointTrajectory, elapsed_s: float
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """Angles and velocities [joints] to brake from, for that cause of an end in mid-motion; None: not yet.

        After a suspension what was measured is old: `hold_now` tells when it is not any more.
        """
        if cause.startswith("suspended"):
            return None
        return trajectory.at(elapsed_s) if cause.startswith(BLIND) else (self.state.q, self.state.qd)

    def end(self, now_s: float) -> None:
        """The step has ended."""
        if self._path:
            self.lease.ended(now_s)
        self._path = None
        if self._arm_fault.startswith(("joint_jump", "tracking_error")):  # of that motion, not of the arm
            self._arm_fault = ""
