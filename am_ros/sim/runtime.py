"""The simulated cell in real time: a thread that runs physics and camera beside whoever sends commands."""

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np

from am_ros.configuration import parameter
from am_ros.control.robot import robot_model
from am_ros.control.trajectory import JointTrajectory
from am_ros.errors import AmRosError
from am_ros.sim.environment import SETTLE_S
from am_ros.sim.scene import SceneState
from am_ros.sim.tasks import find_task
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
    joint_state_rate_hz: float = parameter(100.0, "joint states per second [Hz]", range=(10.0, 500.0))


@dataclass(frozen=True)
class Frame:
    """One image and the truth of that very moment."""

    image: np.ndarray  # uint8 [size, size, 3]
    scene: SceneState
    stamp_ns: int


class CellRuntime:
    """Owns the cell in a thread of its own: PyBullet is called from nowhere else, so no lock is needed.

    `on_joints(JointState, stamp_ns)` and `on_frame(Frame)` are called in that thread; `clock_ns()` stamps both.
    """

    def __init__(
        self,
        sim: SimConfig,
        config: RuntimeConfig,
        clock_ns: Callable[[], int],
        on_joints: Callable[[JointState, int], None],
        on_frame: Callable[[Frame], None],
    ):
        self.config = config
        self.joint_names = robot_model(sim.model).joint_names
        self._sim, self._clock_ns, self._on_joints, self._on_frame = sim, clock_ns, on_joints, on_frame
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
        """Follow `make_trajectory(measured joint angles)` from now on; raises what it raises."""
        self._ask(lambda: self._move(lambda: self._cell.follow(make_trajectory(self._cell.arm_positions()))))

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
            self._on_joints(self._cell.joint_state(), self._clock_ns())
            if time.monotonic() >= self._next_image:
                self._publish_frame()
            next_tick = max(next_tick + period, time.monotonic())

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
        self._cell.advance(due)
        done = self._cell.time_s - before  # in whole physics steps
        self._last_advance = now - (due - done) / self.config.real_time_factor
        if self._cell.motion_left_s > 0:
            self._rest_s = 0.0
        elif not self._judged:
            self._rest_s += done
            if self._rest_s >= SETTLE_S and self._cell.objects_at_rest():
                self._trial.outcome()
                self._judged = True

    def _move(self, command: Callable[[], None]) -> None:
        command()
        self._judged, self._rest_s = False, 0.0

    def _reset(self, task, seed: int, phase: str) -> SceneState:
        self._trial.reset(task, seed, phase)
        self._judged = True
        self._last_advance = time.monotonic()
        # First the joints, then the image: who waits for the image also knows where the arm is.
        self._on_joints(self._cell.joint_state(), self._clock_ns())
        self._publish_frame()
        return self._trial.state()

    def _publish_frame(self) -> None:
        began = time.monotonic()
        stamp, scene = self._clock_ns(), self._trial.state()
        self._on_frame(Frame(self._cell.render(), scene, stamp))
        # Large images are slow to render: at least half of the time remains for physics.
        ended = time.monotonic()
        self._next_image = max(self._next_image + 1 / self.config.image_rate_hz, ended + (ended - began))


def trajectory_from_points(joint_names, names, times_s, positions, velocities, measured) -> JointTrajectory:
    """A commanded joint trajectory as the arm follows it, checked as ROS's joint_trajectory_controller does.

    `names` may be in any order; `positions` and `velocities` are lists of K lists (velocities may be empty: then they
    are estimated from the neighbouring points). Starts at the joint angles `measured` if the first point lies in the
    future; without points the arm stops where it is. Raises AmRosError naming what is wrong.
    """
    joints = len(joint_names)
    if not times_s:
        return JointTrajectory(np.array([0.0, 0.1]), np.stack([measured] * 2), np.zeros((2, joints)))
    if sorted(names) != sorted(joint_names):
        raise AmRosError(
            f"joint_trajectory: joints are {', '.join(names) or 'none'}, expected {', '.join(joint_names)}"
        )
    order = [list(names).index(name) for name in joint_names]
    times = np.array(times_s, float)
    q = _points(positions, len(times), joints, "positions")[:, order]
    if any(len(v) for v in velocities):
        qd = _points(velocities, len(times), joints, "velocities")[:, order]
    else:
        qd = None
    if times[0] < 0 or (np.diff(times) <= 0).any():
        raise AmRosError("joint_trajectory: time_from_start does not increase")
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
