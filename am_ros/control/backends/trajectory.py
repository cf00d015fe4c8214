"""The default backend: our own stepper plans, the driver's trajectory controller follows joint_trajectory."""

from collections.abc import Callable

import numpy as np

from am_ros.action import CartesianAction
from am_ros.control.backends import done
from am_ros.control.cartesian import CartesianStepper
from am_ros.control.motion import ArrivalTolerance, MotionMonitor
from am_ros.control.trajectory import JointTrajectory
from am_ros.control.types import Names, Plan, Slack


class TrajectoryBackend:
    """Plans at once; `follow` publishes a trajectory, in place of what was commanded before."""

    publisher = ""
    commands_joints = True

    def __init__(
        self,
        stepper: CartesianStepper,
        tolerance: ArrivalTolerance,
        joint_names: Names,
        follow: Callable[[JointTrajectory], None],
    ):
        """`joint_names`: as the driver calls them."""
        self._stepper, self._tolerance, self._names, self._follow = stepper, tolerance, joint_names, follow

    def plan(self, q: np.ndarray, action: CartesianAction, slack_m: Slack = 0.0) -> Plan:
        """The stepper's line."""
        return done(self._stepper.plan(q, action, slack_m))

    def monitor(
        self, q: np.ndarray, trajectory: JointTrajectory, opening: float | None, lead_s: float = 0.0
    ) -> MotionMonitor:
        """Arrived when every joint has."""
        (start, *_, goal), duration_s = trajectory.positions, trajectory.duration_s
        return MotionMonitor(
            start, goal, duration_s, opening, self._tolerance, self._names, measured=q, lead_s=lead_s
        )

    def begin(self, trajectory: JointTrajectory, now_s: float, lead_s: float = 0.0) -> None:
        """Publish it; points that come later than now the driver leads up to by itself."""
        self._follow(trajectory.delayed(lead_s) if lead_s else trajectory)

    def brake(self, q: np.ndarray, way: JointTrajectory) -> None:
        """Publish the way to rest."""
        self._follow(way)

    def end(self) -> None:
        """Nothing: the arm rests at the end of what was published."""

    def fault(self, now_s: float) -> str:
        """Nothing that joint states would not show."""
        return ""

    def close(self) -> None:
        """Nothing to release."""
