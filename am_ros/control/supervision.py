"""Everything that stops the arm or keeps a step from beginning, in one place and without ROS."""

import numpy as np

from am_ros.clock import ClockWatch
from am_ros.control.command import Heartbeats, Lease, check_age
from am_ros.control.controller import ControllerConfig
from am_ros.control.joint_states import JointStateBuffer
from am_ros.control.kinematics import Kinematics
from am_ros.control.trajectory import JointTrajectory
from am_ros.control.types import Names, Vector
from am_ros.control.watch import AgainstWatch, ArmWatch, PathWatch, ProtectiveStop, SuspensionWatch
from am_ros.errors import AmRosError

# A joint state taken before the process was suspended may still wait in a queue; its stamp tells. Where stamps do not
# fit the clock, one that comes so long after the process went on is new enough.
FRESH_S = 0.2
# After these faults the measured angles are not believed.
BLIND = ("joint_states_stale", "joint_jump", "joint_position")

# An arm behind its command by more, or before it, moves in another time than ours: lag of drivers is 10 to 100 ms.
LATE_S, EARLY_S = 0.25, 0.01
ONE_TICK_S = 0.006  # the clock says as much as the ticks, but not in which of them
OTHER_TIME_RAD = 0.03
MOVING_RAD_S = 0.05


class Supervision:
    """The state of the arm, who commands it, and the faults of both. `now_s` is always the monotonic clock."""

    def __init__(self, config: ControllerConfig, kinematics: Kinematics):
        self._config = config
        self.state = JointStateBuffer(
            config.joint_names,
            config.finger_names,
            (config.finger_open, config.finger_closed),
            config.joint_state_timeout_s,
        )
        self.stop = ProtectiveStop()
        self.lease = Lease(config.command.lease_s)
        self.heartbeats = Heartbeats(config.command.heartbeat_timeout_s)
        self.clock_jumps = self.suspensions = 0
        self._arm = ArmWatch(kinematics, config.watch, config.joint_names)
        self._arm_fault = ""
        self._path: PathWatch | None = None
        self._commander, self._started_s, self._begins_s = "", 0.0, 0.0
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

    def take(
        self,
        names: Names,
        positions: Vector,
        velocities: Vector,
        stamp_ns: int,
        now_s: float,
        ros_ns: int | None = None,
        sequence: int = 0,
    ) -> bool:
        """Take a joint state that came at `ros_ns` of the ROS clock, the publisher's `sequence`-th (0: unknown).

        Returns whether it held the arm.
        """
        state, before = self.state, self.state.q
        if not state.update(names, positions, velocities, stamp_ns, now_s, ros_ns, sequence):
            return False
        q, _ = state.measured()
        self._arm_fault = self._arm.fault(q, state.qd_measured, now_s)
        if self._path and not self._arm_fault:
            jump = "" if before is None else self._arm.jump(before, q, now_s - self._joints_s)
            strange = self._against.fault(q, state.slope, self._path, now_s, now_s - self._begins_s)
            self._arm_fault = jump or self._path.fault(q) or strange
        self._joints_s = now_s
        return True

    def hold_now(self, now_s: float) -> bool:
        """Once after a suspension in mid-motion: whether the state taken last tells where the arm is now."""
        if self._hold_after is None:
            return False
        resumed_ns, resumed_s = self._hold_after
        stamped_since = not self.state.stamps.fault and self.state.stamp_ns >= resumed_ns
        if not stamped_since and now_s - resumed_s < FRESH_S:
            return False
        self._hold_after = None
        return True

    def fault(self, now_s: float) -> str:
        """What is wrong with the arm now: "joint_states_stale", "joint_position", "joint_velocity", and in a motion
        "joint_jump", "tracking_error" or "foreign_motion", each with its sentence; or empty."""
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

    def path_time_s(self, counted_s: float, clock_s: float, now_s: float) -> float:
        """Where on its path the command is, after so many seconds of the driver's ticks and so many of our clock.

        The two differ where ticks are late or left out. A driver may follow either, and a simulator that is slower or
        faster neither: an arm that moves on the path tells, because it is behind its command, and not by much.
        """
        if self._path is None or self.state.q is None or now_s - self._joints_s > FRESH_S:
            return clock_s
        q, qd = self.state.measured()
        if np.abs(qd).max() < MOVING_RAD_S:
            return counted_s
        measured_s, distance = self._path.nearest(q)
        if distance.max() > OTHER_TIME_RAD:
            return counted_s
        behind = [each for each in (counted_s, clock_s) if -EARLY_S <= each - measured_s <= LATE_S]
        if behind:
            return counted_s if abs(counted_s - clock_s) < ONE_TICK_S else min(behind)
        elsewhere = np.abs(q - self._path.at(counted_s)[0]).max() > OTHER_TIME_RAD
        return measured_s if elsewhere else counted_s

    def begin(self, commander: str, trajectory: JointTrajectory, now_s: float, lead_s: float = 0.0) -> None:
        """A step begins, its motion after `lead_s`."""
        self._commander, self._started_s = commander, now_s
        self._path = PathWatch(trajectory, self._config.watch, self._config.joint_names)
        self._against, self._begins_s = AgainstWatch(now_s + 2 * lead_s), now_s + lead_s
        self._hold_after = None
        self.lease.take(commander)

    def brakes(self) -> None:
        """The command does not go on along the path any more."""
        self._begins_s = np.inf

    def end(self, now_s: float) -> None:
        """The step has ended."""
        if self._path:
            self.lease.ended(now_s)
        self._path = None
        # Of that motion, not of the arm.
        if self._arm_fault.startswith(("joint_jump", "tracking_error", "foreign_motion")):
            self._arm_fault = ""
