"""What the arm may do: workspace box, speed, acceleration, distance to singularities."""

from dataclasses import dataclass, replace

import numpy as np

from am_ros.action import CartesianAction
from am_ros.configuration import parameter
from am_ros.control.types import Vector
from am_ros.errors import AmRosError


@dataclass(frozen=True)
class MotionLimits:
    """Limits of every Cartesian step. A step beyond them is refused; its length is never scaled down, its speed is."""

    # Nearer than 0.42 m the elbow (A4) comes to its limit while the tool points down.
    workspace_x_m: tuple[float, float] = parameter((0.42, 0.72), "workspace box along x, base frame [m]", range=(-2, 2))
    workspace_y_m: tuple[float, float] = parameter((-0.24, 0.24), "workspace box along y [m]", range=(-2, 2))
    workspace_z_m: tuple[float, float] = parameter((0.02, 0.32), "workspace box along z [m]", range=(-2, 2))
    border_tolerance_m: float = parameter(
        0.005, "how far outside the box tracking errors may have put the arm before a step [m]", range=(0, 0.05)
    )
    velocity_scale: float = parameter(0.9, "share of the joint velocity limits that is used", range=(0.01, 1.0))
    # MoveIt configurations of the LBR use 10 rad/s^2 for all joints.
    acceleration_rad_s2: tuple[float, ...] = parameter(
        (10.0,) * 7, "joint acceleration limits, A1 ... A7 [rad/s^2]", range=(0.1, 100.0)
    )
    min_duration_s: float = parameter(0.1, "shortest duration of a step [s]", range=(0.01, 10.0))
    joint_margin_rad: float = parameter(0.02, "distance kept to the joints' position limits [rad]", range=(0, 0.5))
    # Within the workspace of an iiwa14 it is 5 ... 16; it doubles on the last 2 cm before the arm is stretched.
    slow_condition: float = parameter(
        20.0, "condition number of the Jacobian from which on a step is slowed, down to slow_factor", range=(1, 1e6)
    )
    slow_factor: float = parameter(0.2, "share of the usual speed that is left at max_condition", range=(0.01, 1.0))
    max_condition: float = parameter(
        40.0, "largest condition number of the Jacobian, radians weighted with 0.3 m", range=(1, 1e6)
    )

    def __post_init__(self) -> None:
        for axis in "xyz":
            low, high = getattr(self, f"workspace_{axis}_m")
            if not low < high:
                raise AmRosError(f"parameter workspace_{axis}_m: {low} ... {high} is empty")

    def near_singularity(self, condition: float) -> float:
        """Share of the usual speed at a condition number: 1 far from singularities, slow_factor at max_condition."""
        way = (condition - self.slow_condition) / max(self.max_condition - self.slow_condition, 1e-9)
        return 1 - (1 - self.slow_factor) * min(max(way, 0.0), 1.0)

    @property
    def box(self) -> np.ndarray:
        """Lower and upper corner of the workspace, [2, 3] in metres."""
        return np.array([self.workspace_x_m, self.workspace_y_m, self.workspace_z_m]).T

    def keep_inside(self, position_m: Vector, action: CartesianAction) -> CartesianAction:
        """Shorten the displacement so that it ends inside the box, from `position_m` [3].

        For whoever chooses actions (policy, expert, noise): what is recorded is then what was executed. The
        controller itself never alters an action, it refuses it.
        """
        low, high = self.box
        start = np.asarray(position_m, float)
        target = np.clip(start + np.array(action.translation_m), low, high)
        # A start outside by a tracking error must not become a step larger than the one asked for.
        limit = np.abs(np.array(action.translation_m))
        moved = np.clip(target - start, -limit, limit)
        return replace(action, translation_m=tuple(moved.tolist()))
