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
from am_ros.cell.arguments import BACKENDS
from am_ros.configuration import parameter
from am_ros.control.backends.planner_config import PlannerConfig
from am_ros.control.backends.servo import ServoConfig
from am_ros.control.motion import MotionMonitor
from am_ros.control.trajectory import JointTrajectory
from am_ros.control.types import Plan, Slack


@dataclass(frozen=True)
class BackendConfig:
    """Which backend, and what each needs to know."""

    backend: str = parameter("trajectory", "what plans a step and moves the arm along it", choices=BACKENDS)
    planner: PlannerConfig = field(default_factory=PlannerConfig)
    servo: ServoConfig = field(default_factory=ServoConfig)
    stamped: bool = parameter(
        True,
        "stamp trajectories with the driver's time, where joint_states show that its clock is ours: a step or a brake "
        "that the driver takes late then begins no later; false: every stamp is zero, which means now",
    )


class Backend(Protocol):
    """One step at a time. Whatever it plans passes the controller's guard before `begin`."""

    publisher: str  # full name of the node that may publish joint_trajectory; empty: the controller
    commands_joints: bool  # False where joint angles are somebody else's choice: then only the measured ones are known

    def plan(self, q: np.ndarray, action: CartesianAction, slack_m: Slack = 0.0) -> Plan:
        """The JointTrajectory of a step from rest at q [joints], at once or later; AmRosError in it or raised.

        `slack_m` [3]: how far beyond the workspace it may end.
        """

    def monitor(
        self, q: np.ndarray, trajectory: JointTrajectory, opening: float | None, lead_s: float = 0.0
    ) -> MotionMonitor:
        """What decides that the motion has arrived, of an arm measured at q [joints]; it begins after `lead_s`.

        `opening` is the gripper's goal, None if it stays as it is.
        """

    def begin(self, trajectory: JointTrajectory, now_s: float, lead_s: float = 0.0) -> None:
        """Move along it from now on; first to its start within `lead_s`."""

    def brake(self, q: np.ndarray, way: JointTrajectory) -> None:
        """Come to rest, measured at q [joints] now: along `way` where joint angles are commanded."""

    def end(self) -> None:
        """The step is over, however it ended."""

    def fault(self, now_s: float) -> str:
        """Why the backend cannot move the arm now: "backend_gone: ...", "servo_halted: ..."; or empty."""

    def close(self) -> None:
        """The controller ends."""


def done(trajectory: JointTrajectory) -> Plan:
    """A plan that is there at once."""
    plan: Plan = Future()
    plan.set_result(trajectory)
    return plan
