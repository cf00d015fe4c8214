"""What plans a step and moves the arm along it, below the Cartesian controller: one small class each, one protocol.

| backend | plans | moves the arm |
|---|---|---|
| `trajectory` | our own stepper (Pinocchio) | joint_trajectory |
| `moveit` | MoveIt, in a process of its own | joint_trajectory |
| `servo` | our own stepper, as what MoveIt Servo is to follow | Servo's twist or pose topic |
"""

from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from am_ros.action import CartesianAction
from am_ros.configuration import parameter
from am_ros.control.backends.planner_config import PlannerConfig
from am_ros.control.backends.servo import ServoConfig
from am_ros.control.motion import MotionMonitor
from am_ros.control.trajectory import JointTrajectory

BACKENDS = ("trajectory", "moveit", "servo")


@dataclass(frozen=True)
class BackendConfig:
    """Which backend, and what each needs to know."""

    backend: str = parameter("trajectory", "what plans a step and moves the arm along it", choices=BACKENDS)
    planner: PlannerConfig = field(default_factory=PlannerConfig)
    servo: ServoConfig = field(default_factory=ServoConfig)


class Backend(Protocol):
    """One step at a time. Whatever it plans passes the controller's guard before `begin`."""

    publisher: str  # full name of the node that may publish joint_trajectory; empty: the controller

    def plan(self, q: np.ndarray, action: CartesianAction) -> Future:
        """The JointTrajectory of a step from rest at q [joints], at once or later; AmRosError in it or raised."""

    def monitor(self, q: np.ndarray, trajectory: JointTrajectory, opening: float | None) -> MotionMonitor:
        """What decides that the motion has arrived; `opening` is the gripper's goal, None if it stays as it is."""

    def begin(self, trajectory: JointTrajectory, now_s: float) -> None:
        """Move along it from now on."""

    def brake(self, q: np.ndarray, qd: np.ndarray) -> None:
        """Come to rest as fast as the joints allow, from angles q [joints] and velocities qd [joints]."""

    def end(self) -> None:
        """The step is over, however it ended."""

    def fault(self, now_s: float) -> str:
        """Why the backend cannot move the arm now: "backend_gone: ...", "servo_halted: ..."; or empty."""

    def close(self) -> None:
        """The controller ends."""


def done(trajectory: JointTrajectory) -> Future:
    """A plan that is there at once."""
    future = Future()
    future.set_result(trajectory)
    return future
