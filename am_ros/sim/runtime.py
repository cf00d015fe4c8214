"""The simulated cell in real time: a thread that runs physics and camera beside whoever sends commands."""

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np

from am_ros.configuration import parameter
from am_ros.control.robot import robot_model
from am_ros.control.trajectory import JointTrajectory
from am_ros.errors import AmRosError
from am_ros.sim.driver import IDEAL, Driver, DriverConfig
from am_ros.sim.environment import SETTLE_S
from am_ros.sim.scene import SceneState
from am_ros.sim.tasks import find_task
from am_ros.sim.trajectory_controller import TrajectoryCommand
from am_ros.sim.trial_scene import TaskOutcome, TrialScene
from am_ros.sim.workcell import JointState, SimConfig, SimWorkcell

# A loop that fell behind (a slow image, a busy machine) catches up by at most this much simulated time at once;
# what is missing beyond that, the simulation loses against the wall clock.
MAX_CATCH_UP_S = 0.2
ANSWER_TIMEOUT_S = 20.0


@dataclass(frozen=True)
class RuntimeConfig:
    """Rates of the cell, per second of wall time."""

    real_time_factor: float = parameter(1.0, "simulated seconds per second", range=(0.05, 10.0))
    image_rate_hz: float = parameter(20.0, "images per second [Hz]", range=(0.1, 120.0))
    joint_state_rate_hz: float = parameter(
        100.0, "joint states per second; a driver that is not ideal gives one per period [Hz]", range=(10.0, 500.0)
    )
    driver: DriverConfig = field(default_factory=DriverConfig)


@dataclass(frozen=True)
class Frame:
    """One image and the truth of that very moment."""

    image: np.ndarray  # uint8 [size, size, 3]
    scene: SceneState
    stamp_ns: int


class CellRuntime:
    """Owns the cell in a thread of its own: PyBullet is called from nowhere else, so no lock is needed.

    `on_joints(JointState, stamp_ns)` and `on_frame(Frame)` are called in that thread; `clock_ns()` stamps both. So is
    `on_command(tick, angles [joints])` with what the arm is sent, once per period of a driver that is not ideal.
    """

    def __init__(
        self,
        sim: SimConfig,
        config: RuntimeConfig,
        clock_ns: Callable[[], int],
        on_joints: Callable[[JointState, int], None],
        on_frame: Callable[[Frame], None],
        on_command: Callable[[int, np.ndarray], None] = lambda tick, angles: None,
    ):
        period = sim.physics_rate_hz / config.driver.driver_rate_hz
        if config.driver.driver != IDEAL and period != round(period):
            raise AmRosError(
                f"parameter driver_rate_hz: {config.driver.driver_rate_hz} is no divisor of physics_rate_hz "
                f"({sim.physics_rate_hz})"
            )
        self.config = config
        self.joint_names = robot_model(sim.model).joint_names
        self._sim, self._clock_ns, self._on_joints, self._on_frame = sim, clock_ns, on_joints, on_frame
        self._on_command = on_command
        self._driver: Driver | None = None  # None: the ideal one
        self._target: np.ndarray  # of the driver's motors [joints], since `_hold_driver`
        self._commands: queue.SimpleQueue = queue.SimpleQueue()
        self._ready: Future = Future()
        self._error: BaseException | None = None
        self._stop = False
        self._thread = threading.Thread(target=self._main, name="cell", daemon=True)

    def start(self, task: str, seed: int) -> None:
        """Build the cell, arrange the first scene and begin to run. Raises AmRosError if there is no such scene."""
        self._first = (find_task(task), seed)
        self._thread.start()
        self._ready.result()

    def close(self) -> None:
        """Stop the thread and free the simulator."""
        self._stop = True
        self._commands.put(lambda: None)
        if self._thread.is_alive():
            self._thread.join(5.0)

    def check(self) -> None:
        """Raise what ended the thread, if something did: a cell that stands still must not look alive."""
        if self._error is not None:
            raise RuntimeError("the simulated cell stopped") from self._error

    # -- commands, from any thread ---------------------------------------------------------------------------------

    def reset(self, task: str, seed: int, phase: str) -> SceneState:
        """Arrange a scene; when this returns, joint states and an image of it have been handed out."""
        found = find_task(task)
        return self._ask(lambda: self._reset(found, seed, phase))

    def outcome(self) -> TaskOutcome:
        """Judge the trial."""
        return self._ask(lambda: self._trial.outcome(at_rest=self._judged))

    def follow(self, make_trajectory: Callable[[np.ndarray], JointTrajectory]) -> None:
        """The ideal driver: follow `make_trajectory(measured joint angles)` from now on; raises what it raises."""
        self._ask(lambda: self._move(lambda: self._cell.follow(make_trajectory(self._cell.arm_positions()))))

    def accept(self, command: TrajectoryCommand) -> None:
        """A trajectory for the driver's controller; raises AmRosError for what that refuses."""
        self._ask(lambda: self._move(lambda: self._real_driver().accept(command, self._clock_ns() * 1e-9)))

    def drive(self, act: Callable[[Driver], None]) -> None:
        """Do something with the driver, in its thread; raises AmRosError if it is the ideal one."""
        self._ask(lambda: act(self._real_driver()))

    def command_gripper(self, opening: float) -> None:
        """Open or close the gripper: 0 closed ... 1 open."""
        self._ask(lambda: self._move(lambda: self._cell.command_gripper(opening)))

    def _ask(self, command: Callable):
        """Run a command in the cell's thread and return its answer."""
        answer: Future = Future()

        def execute():
            try:
                answer.set_result(command())
            except BaseException as error:
                answer.set_exception(error)
                if not isinstance(error, AmRosError):
                    raise

        self.check()
        self._commands.put(execute)
        return answer.result(ANSWER_TIMEOUT_S)

    # -- the thread ----------------------------------------------------------------------------------------------

    def _main(self) -> None:
        try:
            with SimWorkcell(self._sim) as self._cell:
                self._trial = TrialScene(self._cell)
                self._trial.reset(*self._first)
                if self.config.driver.driver != IDEAL:
                    self._driver = Driver(self.config.driver, self.joint_names, self._lever)
                self._hold_driver()
                self._judged = True  # the last motion is over, everything rested and was judged
                self._rest_s = 0.0  # since when it is over, in simulated time
                self._ready.set_result(None)
                self._loop()
        except BaseException as error:  # handed to the caller of start() or check()
            self._error = error
            if not self._ready.done():
                self._ready.set_exception(error)

    def _loop(self) -> None:
        period = 1 / self.config.joint_state_rate_hz
        next_tick = self._last_advance = time.monotonic()
        self._next_image = next_tick
        while not self._stop:
            self._serve_until(next_tick)
            self._advance()
            if self._driver is None:
                self._on_joints(self._cell.joint_state(), self._clock_ns())
            if time.monotonic() >= self._next_image:
                self._publish_frame()
            next_tick = max(next_tick + period, time.monotonic())
            if self._driver is not None:  # which has periods of its own
                next_tick = self._last_advance + self._driver.period_s / self.config.real_time_factor

    def _serve_until(self, deadline: float) -> None:
        """Execute commands as they come."""
        while True:
            try:
                command = self._commands.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                return
            self._advance()  # a trajectory starts when it arrives, not when physics ran last
            command()
            if time.monotonic() >= deadline:
                return

    def _advance(self) -> None:
        now = time.monotonic()
        due = min((now - self._last_advance) * self.config.real_time_factor, MAX_CATCH_UP_S)
        before = self._cell.time_s
        if self._driver is None:
            self._cell.advance(due)
        else:
            self._advance_driver(due)
        done = self._cell.time_s - before  # in whole physics steps, or periods of the driver
        self._last_advance = now - (due - done) / self.config.real_time_factor
        arm = self._driver or self._cell  # whose set-points tell when the arm has arrived
        if max(arm.motion_left_s, self._cell.gripper_left_s) > 0:
            self._rest_s = 0.0
        elif not self._judged:
            self._rest_s += done
            if self._rest_s >= SETTLE_S and self._cell.objects_at_rest():
                self._trial.outcome()
                self._judged = True

    def _advance_driver(self, seconds: float) -> None:
        """Period by period: where the arm is now decides what it is sent next."""
        cell, driver = self._cell, self._real_driver()
        joints, h = len(self.joint_names), driver.period_s
        now_ns, count = self._clock_ns(), int(seconds / h + 1e-9)
        for left in reversed(range(count)):
            state = cell.joint_state()
            q, qd = state.positions[:joints], state.velocities[:joints]
            # Of several periods that are made up for, each has its own time.
            stamp_ns, before = now_ns - round(left * h / self.config.real_time_factor * 1e9), self._target
            self._target = driver.update(q, qd, stamp_ns * 1e-9)
            speed = (self._target - before) / h
            # The motors are at the target, and still as fast, when the period ends; so far they know of the next one.
            points = np.stack([before, self._target, self._target + speed * h])
            cell.follow(JointTrajectory(np.array([0.0, h, 2 * h]), points, np.stack([speed] * 3)))
            cell.advance(h)
            self._on_command(driver.ticks, driver.sent)
            self._report_joints(stamp_ns)  # once per period, as joint_state_broadcaster does

    def _real_driver(self) -> Driver:
        if self._driver is None:
            raise AmRosError("parameter driver: the ideal one has no emergency stop and no controller")
        return self._driver

    def _hold_driver(self) -> None:
        """The arm was put somewhere: that is where the driver holds it."""
        if self._driver is not None:
            self._target = self._cell.arm_positions()
            self._driver.reset(self._target)

    def _report_joints(self, stamp_ns: int) -> None:
        """Joint states as the driver has them."""
        state = self._cell.joint_state()
        if self._driver is None:
            self._on_joints(state, stamp_ns)
            return
        for said in self._driver.report(state.positions, state.velocities, stamp_ns, time.monotonic()):
            self._on_joints(JointState(state.names, said.positions, said.velocities), said.stamp_ns)

    def _lever(self, q: np.ndarray) -> np.ndarray:
        return self._cell.kinematics.jacobian(q)[2]

    def _move(self, command: Callable[[], None]) -> None:
        command()
        self._judged, self._rest_s = False, 0.0

    def _reset(self, task, seed: int, phase: str) -> SceneState:
        self._trial.reset(task, seed, phase)
        self._judged = True
        self._last_advance = time.monotonic()
        self._hold_driver()
        # First the joints, then the image: who waits for the image also knows where the arm is.
        self._report_joints(self._clock_ns())
        self._publish_frame()
        return self._trial.state()

    def _publish_frame(self) -> None:
        began = time.monotonic()
        stamp, scene = self._clock_ns(), self._trial.state()
        self._on_frame(Frame(self._cell.render(), scene, stamp))
        # Large images are slow to render: at least half of the time remains for physics.
        ended = time.monotonic()
        self._next_image = max(self._next_image + 1 / self.config.image_rate_hz, ended + (ended - began))


def ideal_trajectory(
    joint_names, command: TrajectoryCommand, measured: np.ndarray, clock_s: float = 0.0
) -> JointTrajectory:
    """A commanded trajectory as the arm of the ideal driver follows it, from now on.

    Joints may come in any order; velocities may be missing: then they are estimated from the neighbouring points.
    Starts at the joint angles `measured` if the first point lies in the future; without points the arm stops where it
    is. `clock_s`: now, on the clock of the stamps. Raises AmRosError naming what is wrong.
    """
    joints, names = len(joint_names), command.joint_names
    if not command.times_s:
        return JointTrajectory(np.array([0.0, 0.1]), np.stack([measured] * 2), np.zeros((2, joints)))
    if sorted(names) != sorted(joint_names):
        raise AmRosError(
            f"joint_trajectory: joints are {', '.join(names) or 'none'}, expected {', '.join(joint_names)}"
        )
    order = [list(names).index(name) for name in joint_names]
    times = np.array(command.times_s, float)
    q = _points(command.positions, len(times), joints, "positions")[:, order]
    if any(len(v) for v in command.velocities):
        qd = _points(command.velocities, len(times), joints, "velocities")[:, order]
    else:
        qd = None
    if times[0] < 0 or (np.diff(times) <= 0).any():
        raise AmRosError("joint_trajectory: time_from_start does not increase")
    if command.stamp_s is not None:
        times = times + (command.stamp_s - clock_s)
    if times[0] > 0:
        times, q = np.insert(times, 0, 0.0), np.vstack([measured, q])
        qd = None if qd is None else np.vstack([np.zeros(joints), qd])
    if len(times) == 1:
        times, q, qd = np.array([0.0, 0.1]), np.vstack([q, q]), None
    if qd is None:
        qd = np.gradient(q, times, axis=0)
        qd[0] = qd[-1] = 0
    return JointTrajectory(times, q, qd)


def _points(values, count: int, joints: int, what: str) -> np.ndarray:
    if len(values) != count or any(len(v) != joints for v in values):
        raise AmRosError(f"joint_trajectory: every point needs {joints} {what}")
    array = np.array(values, float)
    if not np.isfinite(array).all():
        raise AmRosError(f"joint_trajectory: {what} are not finite")
    return array
