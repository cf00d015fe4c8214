"""One step at a time, from its plan to an arm that stands: what is sent to the arm and when, without ROS."""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from am_ros.action import CartesianAction
from am_ros.control.backends import Backend
from am_ros.control.braking import brake_along, ease
from am_ros.control.cartesian import CartesianStepper
from am_ros.control.commanded import CommandedState
from am_ros.control.controller import ControllerConfig
from am_ros.control.guard import TrajectoryGuard
from am_ros.control.joint_states import changes_without_jump
from am_ros.control.motion import End, MotionMonitor
from am_ros.control.supervision import BLIND, Supervision
from am_ros.control.ticks import Mark
from am_ros.control.trajectory import JointTrajectory
from am_ros.control.types import Plan
from am_ros.errors import AmRosError

# A step that begins at the measured angles: the driver leads from its own command to them, so that it does not jump.
LEAD_S = 0.1
# A stamped trajectory, which the driver may take so much later than it was meant to: a step stands still, a brake goes
# on, for so long. Two ticks at 100 Hz.
LATE_S = 0.02
# An arm stands when no joint has moved for so long; after a stop it is waited for so long, then the step ends anyway.
REST_S = 0.05
SETTLE_S = 1.0
# An arm at rest turns by less within that time, also while it settles after a step.
IDLE_S, IDLE_RAD = 0.3, 0.01
# Somebody else has moved the arm: its driver no longer follows our path, and where the arm is tells best what it does.
NOT_OURS = ("second_publisher", "foreign_motion")
# The command is led to an arm that stands no further from it. Beyond, somebody has put it elsewhere.
EASE_RAD = 0.3


@dataclass
class Motion:
    """The one step under way."""

    trajectory: JointTrajectory
    monitor: MotionMonitor
    on_end: Callable[[End, str], None]
    started_s: float
    mark: Mark  # when the driver was sent it
    stamp_s: float | None  # when it begins on the driver's clock; None: when the driver took it
    lead_s: float
    note: str  # why it does not begin where the arm was told to be; or empty
    ending: tuple[End, str] | None = None  # while it is braked


@dataclass
class Stop:
    """A stop that the arm has not come to rest after."""

    cause: str
    since_s: float
    rests_s: float = float("inf")  # when the command is at rest; infinite until it was braked
    eased: bool = False
    still_since_s: float | None = None


class StepExecution:
    """Moves the arm through a backend, brakes it, and knows where it was told to be. `now_s`: the monotonic clock."""

    def __init__(
        self,
        config: ControllerConfig,
        stepper: CartesianStepper,
        guard: TrajectoryGuard,
        backend: Backend,
        safety: Supervision,
        say: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ):
        """`say` is told in a sentence when a step does not begin where the arm was told to be."""
        self._config, self._stepper, self._guard = config, stepper, guard
        self._backend, self._safety, self._say, self._clock, self._sleep = backend, safety, say, clock, sleep
        self._velocity = config.limits.velocity_scale * stepper.kinematics.velocity_limit
        self._acceleration = np.array(config.limits.acceleration_rad_s2)
        self.commanded = CommandedState(config.joint_names, config.guard.state_offset_rad)
        self._motion: Motion | None = None
        self._stop: Stop | None = None
        self._settled = False  # whether the arm has come to where it was told to be
        self._from: np.ndarray | None = None  # [joints] where the step that is planned begins
        self._slack_m = np.zeros(3)  # and how far beyond the workspace it may end
        self._idle_states: deque[tuple[float, np.ndarray]] = deque()

    @property
    def busy(self) -> bool:
        """Whether a step is under way, also while it is braked."""
        return self._motion is not None

    @property
    def moving(self) -> bool:
        """Whether a step is under way that nothing has stopped."""
        return self._motion is not None and self._motion.ending is None

    @property
    def note(self) -> str:
        """Why the step under way does not begin where the arm was told to be, or empty."""
        return self._motion.note if self._motion else ""

    @property
    def fraction(self) -> float:
        """Of the step under way that is done, 0 ... 1."""
        return self._motion.monitor.fraction if self._motion else 0.0

    # -- a step --------------------------------------------------------------------------------------------------------

    def plan(self, action: CartesianAction) -> Plan:
        """The trajectory of a step from where the arm was told to be; raises AmRosError if it is not there."""
        measured, _ = self._safety.state.measured()
        self._from = self.commanded.start(measured)
        told, at = (self._stepper.kinematics.forward(q)[0] for q in (self._from, measured))
        self._slack_m = np.minimum(np.abs(told - at), self._config.limits.border_tolerance_m)
        return self._backend.plan(self._from, action, self._slack_m)

    def begin(
        self, commander: str, planned: JointTrajectory, opening: float | None, on_end: Callable[[End, str], None]
    ) -> None:
        """Check the plan and move; `on_end` is called once. Raises AmRosError, and then nothing was commanded."""
        state, known = self._safety.state, self.commanded.q is not None
        q, qd = state.measured()
        allowed_rad = 0.0 if known else self._config.guard.state_offset_rad
        if self._from is None or np.abs(self.commanded.start(q) - self._from).max() > allowed_rad:
            raise AmRosError("start_elsewhere: the arm was moved while its step was planned")
        trajectory = self._guard.check(planned, self._from, qd, self._slack_m)
        lead_s, note = 0.0, ""
        if self._backend.commands_joints and not known:
            lead_s, note = LEAD_S, f"the step begins at the measured joint angles: {self.commanded.why}"
            self._say(note)
        self._wait_for_tick()
        now_s = self._clock()
        mark = state.ticks.mark(now_s)
        stamp_s = self._stamp_s(now_s)
        if stamp_s is None or lead_s:
            sent, sent_lead_s = trajectory, lead_s
        else:
            sent, sent_lead_s, lead_s = trajectory.held(LATE_S), 0.0, LATE_S
        monitor = self._backend.monitor(q, trajectory, opening, lead_s)
        self._backend.begin(replace(sent, stamp_s=stamp_s), now_s, sent_lead_s)
        self._motion = Motion(trajectory, monitor, on_end, now_s, mark, stamp_s, lead_s, note)
        self._stop, self._settled = None, False
        self._rest_at(trajectory.positions[-1])
        self._safety.begin(commander, trajectory, now_s, lead_s)

    def stop(self, cause: str, reason: str = "", end: End = End.STOPPED) -> bool:
        """Brake the step under way; it ends, for that reason, when the arm stands. Returns whether there was one."""
        motion = self._motion
        if motion is None or motion.ending:
            return False
        motion.ending = end, reason or cause
        self._stop = Stop(cause, self._clock())
        if not cause.startswith("suspended"):  # what was measured before is old: see `on_state`
            self._brake(motion, self._stop)
        return True

    def forget(self, why: str) -> None:
        """The next step begins at the measured angles: the controller was activated, or somebody else moved the arm."""
        self.commanded.forget(why)
        self._stop, self._settled = None, False

    def reset(self, cause: str) -> None:
        """The protective stop of that cause is left: an arm that stands elsewhere than told is taken as it stands."""
        if self._safety.state.q is not None and not self.commanded.followed(self._safety.state.q):
            self.forget(f"reset after {cause}")

    # -- what is measured ----------------------------------------------------------------------------------------------

    def on_state(self, now_s: float) -> str:
        """A joint state was taken. Returns what calls for a protective stop, "no_motion: ...", or empty."""
        motion, stop, state = self._motion, self._stop, self._safety.state
        q, qd = state.measured()
        if self._safety.hold_now(now_s) and motion and stop:
            self._brake(motion, stop)
        if stop:
            self._settle(stop, q, qd, now_s)
        elif motion is None:
            self._idle(q, now_s)
        elif state.opening is not None:
            end = motion.monitor.update(now_s - motion.started_s, q, qd, state.opening)
            if end and end[1].startswith("no_motion"):
                return end[1]
            if end and end[0] == End.STALLED:
                self.stop(end[1], end=End.STALLED)
            elif end:
                self._end(motion, *end)
        return ""

    def watch(self, now_s: float) -> None:
        """Ends a step whose arm does not come to rest after a stop, or cannot be seen to."""
        stop = self._stop
        if stop is None or self._motion is None:
            return
        blind = self._safety.fault(now_s).startswith(BLIND)
        if now_s > min(stop.rests_s, stop.since_s + SETTLE_S) + (0.0 if blind else SETTLE_S):
            self._end_stopped()

    def _settle(self, stop: Stop, q: np.ndarray, qd: np.ndarray, now_s: float) -> None:
        """After a stop: the arm stands where it was told to; or the command is led to it, and nothing waits there."""
        commanded, tolerance = self.commanded, self._config.tolerance.velocity_tolerance_rad_s
        if now_s < stop.rests_s or np.abs(qd).max() > tolerance or self._safety.fault(now_s).startswith(BLIND):
            stop.still_since_s = None
            return
        stop.still_since_s = now_s if stop.still_since_s is None else stop.still_since_s
        if now_s - stop.still_since_s < REST_S:
            return
        offset_rad, told = commanded.offset_rad(q), commanded.q
        if told is not None and not commanded.followed(q) and not stop.eased and offset_rad <= EASE_RAD:
            way = ease(told, q, self._velocity, self._acceleration)
            self._backend.brake(q, way)
            self._rest_at(q)
            stop.eased, stop.rests_s, stop.still_since_s = True, now_s + way.duration_s, None
            self._say(f"the command is led to the arm, which stands {offset_rad:.3f} rad from it: {stop.cause}")
            return
        if offset_rad > EASE_RAD:
            commanded.forget(f"the arm stands {offset_rad:.2f} rad from where it was told to be: {stop.cause}")
        self._stop, self._settled = None, commanded.followed(q)
        self._end_stopped()

    def _idle(self, q: np.ndarray, now_s: float) -> None:
        """At rest: an arm that leaves its command is moved by somebody else."""
        commanded, states = self.commanded, self._idle_states
        if self._settled and not commanded.followed(q):
            self.forget(f"the arm was moved by {commanded.offset_rad(q):.2f} rad at rest, by hand or another program")
            self._say(f"the next step will begin at the measured joint angles: {commanded.why}")
        states.append((now_s, q))
        while now_s - states[0][0] > IDLE_S:
            states.popleft()

    def strange_motion(self) -> str:
        """ "foreign_motion: ..." while the arm moves though no step is under way; or empty."""
        if self._motion or not self._idle_states:
            return ""
        turned = np.abs(changes_without_jump(np.array([q for _, q in self._idle_states]))[0].sum(axis=0))
        k = int(turned.argmax())
        if turned[k] <= IDLE_RAD:
            return ""
        return (
            f"foreign_motion: {self._config.joint_names[k]} turned by {turned[k]:.3f} rad within {IDLE_S:g} s though "
            "no step is under way (somebody's hand, or another program)"
        )

    # -- what is sent --------------------------------------------------------------------------------------------------

    def _brake(self, motion: Motion, stop: Stop) -> None:
        """Bring the command to rest on the path, in the driver's next tick."""
        self._wait_for_tick()
        now_s, (q, qd) = self._clock(), self._safety.state.measured()
        if stop.cause.startswith(NOT_OURS):
            way = self._stepper.brake(q, qd)
        else:
            way = self._along_path(motion, now_s)
        self._backend.brake(q, way)
        self._safety.brakes()
        self._rest_at(way.positions[-1])
        stop.rests_s = now_s + way.duration_s

    def _along_path(self, motion: Motion, now_s: float) -> JointTrajectory:
        """The brake of a driver that is sent it now."""
        path, acceleration, ticks = motion.trajectory, self._acceleration, self._safety.state.ticks
        shortest_s = self._config.limits.min_duration_s
        stamp_s = self._stamp_s(now_s)
        if motion.stamp_s is not None and stamp_s is not None:
            # Both begin at a time of the driver's clock: whenever it takes them, it goes on where it is. They are a
            # whole number of ticks apart, so that a driver that knows no stamps does, too, if it takes them in time.
            apart_s, tick_s = stamp_s - motion.stamp_s, ticks.period_s if ticks.known else 0.0
            apart_s = round(apart_s / tick_s) * tick_s if tick_s else apart_s
            path_s = apart_s - motion.lead_s
            if self._safety.path_time_s(path_s, path_s, now_s) == path_s:
                way = brake_along(path, path_s, acceleration, shortest_s, LATE_S)
                return replace(way, stamp_s=motion.stamp_s + apart_s)
        counted_s = ticks.since_s(motion.mark, now_s) - motion.lead_s
        path_s = self._safety.path_time_s(counted_s, now_s - motion.started_s - motion.lead_s, now_s)
        return brake_along(path, path_s, acceleration, shortest_s)

    def _stamp_s(self, now_s: float) -> float | None:
        """Now on the driver's clock; None where that is not known, or nobody wants it."""
        wanted = self._config.backend.stamped and self._backend.commands_joints
        return self._safety.state.driver_s(now_s) if wanted else None

    def _rest_at(self, q: np.ndarray) -> None:
        if self._backend.commands_joints:
            self.commanded.rest(q)

    def _wait_for_tick(self) -> None:
        """At most one tick, some 10 ms: so that the driver takes what is sent in the next one."""
        ticks = self._safety.state.ticks
        for _ in range(3):  # a busy machine may wake us too late
            wait_s = ticks.wait_s(self._clock())
            if not wait_s:
                return
            self._sleep(wait_s)

    def _end_stopped(self) -> None:
        """Of a step that was stopped, if it has not ended yet."""
        if self._motion and self._motion.ending:
            self._end(self._motion, *self._motion.ending)

    def _end(self, motion: Motion, end: End, reason: str) -> None:
        self._motion = None
        self._idle_states.clear()
        q, _ = self._safety.state.measured()
        self._settled = self._settled or (end == End.DONE and self.commanded.followed(q))
        self._backend.end()
        self._safety.end(self._clock())
        motion.on_end(end, reason)
