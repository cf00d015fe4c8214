"""A driver that is not ideal, below `joint_trajectory`: a controller's rules, an arm that lags and sags, joint states.

Without ROS and without physics: whoever owns the arm asks `Driver.update` once per period where its motors shall be,
and `Driver.report` what the joint states say of it.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from am_ros.configuration import parameter
from am_ros.errors import AmRosError
from am_ros.sim.trajectory_controller import JointTrajectoryController, TrajectoryCommand

IDEAL, CONTROLLER = "ideal", "controller"
GRAVITY_M_S2 = 9.81
NONE = (0.0,) * 7


@dataclass(frozen=True)
class DriverConfig:
    """What lies between `joint_trajectory` and the arm; config/driver_<stack>.yaml has a set per stack.

    All but the first count with `driver: controller` only.
    """

    driver: str = parameter(
        IDEAL, "ideal: the arm follows each trajectory at once and exactly; controller: as the other parameters say",
        choices=(IDEAL, CONTROLLER),
    )  # fmt: skip
    driver_rate_hz: int = parameter(
        100, "commands to the arm per simulated second, a divisor of physics_rate_hz [Hz]", range=(10, 1000)
    )
    driver_from_desired: bool = parameter(
        False, "a new trajectory is entered from the last command (interpolate_from_desired_state), else from the "
        "measured state",
    )  # fmt: skip
    driver_partial_joints: bool = parameter(False, "trajectories may leave joints out (allow_partial_joints_goal)")
    driver_end_velocity: bool = parameter(
        False, "the last point may still move (allow_nonzero_velocity_at_trajectory_end)"
    )
    driver_lag_s: float = parameter(0.0, "the arm is so long behind its command [s]", range=(0.0, 0.5))
    driver_follow: float = parameter(
        1.0, "share of the way from the measured to the commanded angle that is added to what the arm is sent, per "
        "period; 1: the command itself is sent", range=(0.01, 1.0),
    )  # fmt: skip
    driver_sag_rad: tuple[float, ...] = parameter(
        NONE, "each joint hangs so far beside what it was sent [rad]", range=(-0.2, 0.2)
    )
    driver_load_kg: float = parameter(0.0, "mass at the tool that the arm does not know of [kg]", range=(0.0, 14.0))
    driver_stiffness_nm_rad: float = parameter(
        1500.0, "with that load each joint hangs by its torque divided by this [Nm/rad]", range=(50.0, 1e5)
    )
    driver_noise_rad: float = parameter(0.0, "standard deviation of each angle in joint_states [rad]", range=(0, 0.01))
    driver_delay_s: float = parameter(0.0, "joint states come so long after they were measured [s]", range=(0.0, 2.0))
    driver_jitter_s: float = parameter(0.0, "and each by up to this longer [s]", range=(0.0, 0.5))
    driver_velocities: str = parameter(
        "measured", "the velocities in joint_states", choices=("measured", "zero", "nan", "empty")
    )
    driver_stamps: str = parameter(
        "measured", "stamps of joint_states: of the measurement, zero, or late by driver_stamp_late_s",
        choices=("measured", "zero", "late"),
    )  # fmt: skip
    driver_stamp_late_s: float = parameter(0.8, "see driver_stamps [s]", range=(0.0, 10.0))


@dataclass(frozen=True)
class Report:
    """What one message of joint_states says; `velocities` may be empty."""

    positions: np.ndarray  # [joints and fingers] rad, m
    velocities: np.ndarray
    stamp_ns: int


class Driver:
    """Owned by one thread.

    `lever(q)` gives the change of the tool's height with each joint [joints, m/rad], for the load; `period_s` is that
    of the commands. `sent` is what the arm was sent last, before it lags and sags.
    """

    def __init__(self, config: DriverConfig, joint_names, lever: Callable[[np.ndarray], np.ndarray]):
        if len(config.driver_sag_rad) != len(joint_names):
            raise AmRosError(f"parameter driver_sag_rad: expected {len(joint_names)} numbers")
        self.config, self.period_s = config, 1.0 / config.driver_rate_hz
        self._controller = JointTrajectoryController(
            joint_names, self.period_s, config.driver_from_desired, config.driver_partial_joints,
            config.driver_end_velocity,
        )  # fmt: skip
        self._lever = lever
        self._random = np.random.default_rng(0)
        self._reports: deque[tuple[float, Report]] = deque()
        self.emergency_stop = False
        self.reset(np.zeros(len(joint_names)))

    def reset(self, q: np.ndarray) -> None:
        """The arm was put at q [joints] and holds there; what it lags behind is gone."""
        self.ticks = 0
        self._held: np.ndarray | None = None  # where the brakes hold it
        self.sent = np.array(q, float) - self._sag(q)
        self._controller.reset(self.sent)
        self._pipe = deque([self.sent] * round(self.config.driver_lag_s / self.period_s))

    @property
    def active(self) -> bool:
        """Whether the controller takes trajectories."""
        return self._controller.active

    @property
    def command(self) -> np.ndarray:
        """What the controller commanded last [joints]."""
        return self._controller.command

    @property
    def motion_left_s(self) -> float:
        """How long the arm will still move, the lag included."""
        left_s = self._controller.left_s(self.ticks * self.period_s)
        return left_s + self.config.driver_lag_s if left_s else 0.0

    def set_active(self, active: bool) -> None:
        """Activate or deactivate the controller; either way the arm holds where it was sent last."""
        self._controller.set_active(active)

    def set_emergency_stop(self, pressed: bool) -> None:
        """Pressed: the arm stands, the controller does not notice. Released: the arm goes where it is sent by then."""
        self.emergency_stop, self._held = pressed, None

    def accept(self, command: TrajectoryCommand, clock_s: float = 0.0) -> None:
        """A trajectory for the controller, at that time of the stamps; raises AmRosError for what it refuses."""
        self._controller.accept(command, clock_s)

    def update(self, q: np.ndarray, qd: np.ndarray, clock_s: float = 0.0) -> np.ndarray:
        """One period: from the measured state [joints] to where the motors shall be at its end [joints].

        `clock_s`: its time on the clock of the stamps.
        """
        self.ticks += 1
        command = self._controller.update(self.ticks * self.period_s, q, qd, clock_s)
        share = self.config.driver_follow
        self.sent = command if share == 1.0 else self.sent + share * (command - q)
        self._pipe.append(self.sent)
        late = self._pipe.popleft()
        if self.emergency_stop:
            if self._held is None:
                self._held = np.array(q)
            return self._held
        return late + self._sag(late)

    def report(self, positions: np.ndarray, velocities: np.ndarray, stamp_ns: int, now_s: float) -> list[Report]:
        """Take a measurement of arm and fingers; returns what joint_states says now, the oldest first."""
        config, arm = self.config, len(self.command)
        positions, velocities = np.array(positions, float), np.array(velocities, float)
        if config.driver_noise_rad:
            positions[:arm] += self._random.normal(0.0, config.driver_noise_rad, arm)
        if config.driver_velocities == "empty":
            velocities = np.empty(0)
        elif config.driver_velocities != "measured":
            velocities[:] = {"zero": 0.0, "nan": np.nan}[config.driver_velocities]
        stamp_ns = {
            "measured": stamp_ns, "zero": 0, "late": stamp_ns - round(config.driver_stamp_late_s * 1e9)
        }[config.driver_stamps]  # fmt: skip
        due_s = now_s + config.driver_delay_s + self._random.uniform(0.0, 1.0) * config.driver_jitter_s
        if self._reports:  # none overtakes another
            due_s = max(due_s, self._reports[-1][0])
        self._reports.append((due_s, Report(positions, velocities, stamp_ns)))
        come = []
        while self._reports and self._reports[0][0] <= now_s:
            come.append(self._reports.popleft()[1])
        return come

    def _sag(self, q: np.ndarray) -> np.ndarray:
        """How far each joint hangs beside q [joints]."""
        sag = np.array(self.config.driver_sag_rad)
        if self.config.driver_load_kg:
            torque = -self.config.driver_load_kg * GRAVITY_M_S2 * self._lever(q)
            sag += torque / self.config.driver_stiffness_nm_rad
        return sag
