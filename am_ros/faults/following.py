"""The controller before a driver that is not ideal, without ROS and on a clock of its own.

The controller's own code (planning, guard, execution, supervision), and am_ros.sim.driver in place of
joint_trajectory_controller and arm. The command is looked at in every tick of the driver.
"""

import collections
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from am_ros.action import CartesianAction
from am_ros.control.backends.trajectory import TrajectoryBackend
from am_ros.control.controller import ControllerConfig, make_guard, make_stepper
from am_ros.control.execution import StepExecution
from am_ros.control.motion import End
from am_ros.control.supervision import Supervision
from am_ros.errors import AmRosError
from am_ros.sim.driver import Driver, DriverConfig
from am_ros.sim.trajectory_controller import TrajectoryCommand

# From publishing to the callback of whoever listens, on one machine: p50 1 ms, p99 3 ms.
LATENCY_S = (0.0005, 0.003)
PLANNING_S = 0.004


@dataclass(frozen=True)
class Result:
    """What came of the steps."""

    steps: int
    cancelled: int
    ended: dict[str, int]  # by result, or by the name of the refusal
    tool_off_mm: float  # largest distance of the tool from the sum of its steps
    velocity: float  # largest share of the joints' velocity limit, from tick to tick
    acceleration: float  # largest share of the acceleration limit


class Cell:
    """Controller and driver on one clock, `now_s`, that goes on when somebody waits."""

    def __init__(self, config: ControllerConfig, driver: DriverConfig, seed: int = 0, latency_s=LATENCY_S):
        """`latency_s`: shortest and longest time that a trajectory is on its way to the driver."""
        self._latency_s = latency_s
        self.config, self.rng = config, np.random.default_rng(seed)
        self.stepper = make_stepper(config)
        self.kinematics = self.stepper.kinematics
        self.safety = Supervision(config, self.kinematics)
        self.driver = Driver(driver, config.joint_names, lambda q: np.zeros(len(q)))
        self.q = self.kinematics.home((0.55, 0.0, 0.17))
        self.driver.reset(self.q)
        self.qd, self.now_s, self._tick_s = np.zeros(7), 0.0, self.driver.period_s
        self._states: collections.deque = collections.deque()
        self._sent: collections.deque[tuple[float, TrajectoryCommand]] = collections.deque()
        self.commands: list[np.ndarray] = []
        self.said: list[str] = []
        self.ended: tuple[End, str] | None = None
        self.contact: Callable[[np.ndarray], np.ndarray] = lambda q: q  # where the arm gets that is moved to q
        self.silent = False  # no joint states
        backend = TrajectoryBackend(self.stepper, config.tolerance, config.joint_names, self._follow)
        self.steps = StepExecution(
            config, self.stepper, make_guard(config, self.stepper), backend, self.safety, self.said.append,
            lambda: self.now_s, self._sleep,
        )  # fmt: skip

    def _follow(self, trajectory) -> None:
        positions, velocities = (tuple(map(tuple, part)) for part in (trajectory.positions, trajectory.velocities))
        command = TrajectoryCommand(
            self.config.joint_names, tuple(trajectory.times_s), positions, velocities,
            ((),) * len(trajectory.times_s), trajectory.stamp_s,
        )  # fmt: skip
        self._sent.append((self.now_s + self.rng.uniform(*self._latency_s), command))

    def _sleep(self, seconds: float) -> None:
        """The controller waits; the driver goes on."""
        self.now_s += seconds
        while self._tick_s <= self.now_s:
            while self._sent and self._sent[0][0] < self._tick_s:
                self.driver.accept(self._sent.popleft()[1], self._tick_s)
            q = self.contact(self.driver.update(self.q, self.qd, self._tick_s))
            self.q, self.qd = q, (q - self.q) / self.driver.period_s
            self.commands.append(self.driver.command.copy())
            report = self.driver.report(self.q, self.qd, round(self._tick_s * 1e9), self._tick_s)
            for each in () if self.silent else report:
                self._states.append((self._tick_s + self.rng.uniform(*LATENCY_S), each))
            self._tick_s += self.driver.period_s

    def spin(self) -> None:
        """Wait for the next joint state, or a tick, and let the controller have it."""
        if not self._states:
            self._sleep(self._tick_s - self.now_s)
            self._watch()
            return
        at_s, state = self._states.popleft()
        if at_s > self.now_s:
            self._sleep(at_s - self.now_s)
        names = [*self.config.joint_names, *self.config.finger_names]
        fingers = [self.config.finger_open] * len(self.config.finger_names)
        speeds = [*state.velocities, *(0.0 for _ in fingers)] if len(state.velocities) else []
        angles, now_ns = [*state.positions, *fingers], round(self.now_s * 1e9)
        self.safety.take(names, angles, speeds, state.stamp_ns, self.now_s, now_ns)
        unmoved = self.steps.on_state(self.now_s)
        self._watch(unmoved)

    def run(self, seconds: float) -> None:
        """Let that time pass."""
        until_s = self.now_s + seconds
        while self.now_s < until_s:
            self.spin()

    def reset(self) -> None:
        """Leave a protective stop."""
        cause = self.safety.stop.cause
        if not self.safety.stop.reset(self.safety.fault(self.now_s) or ""):
            self.steps.reset(cause)

    def _watch(self, fault: str = "") -> None:
        """As the node does 50 times per second, here with each joint state."""
        fault = fault or self.safety.fault(self.now_s)
        if fault and (self.steps.moving or not fault.startswith("joint_states_stale")):
            self.safety.stop.latch(fault, self.now_s)
            self.steps.stop(fault, f"protective_stop: {fault}")
        self.steps.watch(self.now_s)

    def step(self, action: CartesianAction, cancel_after_s: float = math.inf) -> tuple[str, str]:
        """Execute it; returns its end and the reason, ("REFUSED", why) if it was not begun."""
        self.ended, began_s = None, self.now_s
        try:
            self.safety.admit("operator", 0, self.now_s, 0)
            strange = self.steps.strange_motion()
            if strange:
                raise AmRosError(strange)
            planned = self.steps.plan(action).result()
            self._sleep(PLANNING_S)
            self.steps.begin("operator", planned, None, self._on_end)
        except AmRosError as error:
            return "REFUSED", str(error)
        while self.ended is None:
            self.spin()
            if self.now_s - began_s > cancel_after_s and self.steps.moving:
                # A cancel comes at any time, not with a joint state.
                self._sleep(self.rng.uniform(0, self.driver.period_s))
                self.steps.stop("cancelled")
        return self.ended[0].name, self.ended[1]

    def _on_end(self, end: End, reason: str) -> None:
        self.ended = end, reason

    def tool(self) -> np.ndarray:
        """Where the tool is [3]."""
        return self.kinematics.forward(self.q)[0]

    def told(self) -> np.ndarray:
        """Where the tool would be if the arm were where it is told to be [3]."""
        return self.kinematics.forward(self.driver.command)[0]

    def rates(self) -> tuple[float, float]:
        """Largest velocity and acceleration of the command from tick to tick, in shares of the limits."""
        c, period_s = np.array(self.commands), self.driver.period_s
        v = np.diff(c, axis=0) / period_s
        a = np.abs(np.diff(v, axis=0)) / period_s
        return float((np.abs(v) / self.kinematics.velocity_limit).max()), float(
            (a / np.array(self.config.limits.acceleration_rad_s2)).max()
        )


def study(cell: Cell, steps: int, cancels: float, seed: int = 1) -> Result:
    """So many random steps, a share of them cancelled at a random moment."""
    rng, limits = np.random.default_rng(seed), cell.config.limits
    cell.run(1.0)
    ended: collections.Counter = collections.Counter()
    expected, off_m, cancelled = cell.tool(), 0.0, 0
    velocity = acceleration = 0.0
    for _ in range(steps):
        before, told = cell.tool(), cell.told()
        way = tuple(rng.uniform(-0.08, 0.08, 3))
        action = limits.keep_inside(before, CartesianAction(way, float(rng.uniform(-0.3, 0.3))))
        cancel = rng.random() < cancels
        end, reason = cell.step(action, rng.uniform(0.0, 0.8) if cancel else math.inf)
        ended[end if end in ("DONE", "STOPPED") else reason.partition(":")[0]] += 1
        if end == "DONE":
            expected = expected + action.translation_m
        elif end != "REFUSED":
            cancelled += 1
            expected = expected + cell.told() - told  # nobody asked for where it ends: as far as its command came
        cell.run(0.05)
        if end != "REFUSED":
            off_m = max(off_m, float(np.linalg.norm(cell.tool() - expected)))
        v, a = cell.rates()
        velocity, acceleration = max(velocity, v), max(acceleration, a)
        del cell.commands[:-3]
    return Result(steps, cancelled, dict(ended), off_m * 1e3, velocity, acceleration)
