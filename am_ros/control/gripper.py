"""What a real gripper's driver takes in place of our opening, 0 closed ... 1 open."""

from dataclasses import dataclass

from am_ros.configuration import parameter

GRIPPERS = ("opening", "positions", "trajectory", "action", "switch")


@dataclass(frozen=True)
class GripperConfig:
    """gripper_command is published in any case, for the simulated cell and for the bags."""

    gripper: str = parameter(
        "opening",
        "opening: gripper_command alone; positions: gripper_positions, a Float64MultiArray with a value per finger; "
        "trajectory: gripper_trajectory, a JointTrajectory; action: a control_msgs/GripperCommand; "
        "switch: gripper_switch, a Bool that is true to close",
        choices=GRIPPERS,
    )
    gripper_open: float = parameter(
        0.045, "what a finger is sent to open [m], or [rad] for a gripper that turns", range=(-4.0, 4.0)
    )
    gripper_closed: float = parameter(0.0, "what a finger is sent to close", range=(-4.0, 4.0))
    gripper_move_s: float = parameter(0.5, "how long the fingers take from open to closed [s]", range=(0.05, 10.0))
    gripper_measured: bool = parameter(
        True, "the driver reports the fingers; false: the controller does, as they were told to move, open at first"
    )
    # A parameter and no topic to be renamed: ROS remaps no actions.
    gripper_action: str = parameter("gripper_controller/gripper_cmd", "action: its name")
    gripper_effort: float = parameter(40.0, "action: the largest effort [N], or [N m]", range=(0.0, 1000.0))

    def position(self, opening: float) -> float:
        """What a finger is sent for an opening."""
        return self.gripper_closed + opening * (self.gripper_open - self.gripper_closed)


class AssumedOpening:
    """Where a gripper that reports nothing is, if it does what it is told: evenly, in `move_s` from open to closed."""

    def __init__(self, move_s: float):
        self._move_s = move_s
        self._from, self._to, self._since_s = 1.0, 1.0, 0.0

    def command(self, opening: float, now_s: float) -> None:
        """It is told to go there."""
        self._from, self._to, self._since_s = self.at(now_s), opening, now_s

    def at(self, now_s: float) -> float:
        """0 closed ... 1 open."""
        way, moved = self._to - self._from, max(0.0, now_s - self._since_s) / self._move_s
        return self._from + max(-moved, min(moved, way))
