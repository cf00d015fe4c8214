"""RobotState, as far as it is called."""

import numpy as np
import pinocchio as pin


class RobotState:
    """Joint angles of the whole robot model, all zero at first, and what is attached to it."""

    def __init__(self, robot_model):
        self._model, self._positions = robot_model, dict.fromkeys(robot_model.variables, 0.0)
        self.attached, self.dirty = [], True

    def __copy__(self):
        twin = RobotState(self._model)
        twin._positions, twin.attached = dict(self._positions), list(self.attached)
        return twin

    @property
    def joint_positions(self) -> dict:
        return dict(self._positions)

    @joint_positions.setter
    def joint_positions(self, positions: dict) -> None:
        assert set(positions) <= set(self._positions)
        self._positions |= positions
        self.dirty = True

    def arm(self) -> np.ndarray:
        """Not of the bindings: angles of the arm."""
        return np.array([self._positions[name] for name in self._model.names])

    def update(self, force: bool = False, type: str = "all") -> None:
        self.dirty = False

    def get_frame_transform(self, frame_id: str) -> np.ndarray:
        """From the root of the model; the identity if there is no such frame."""
        return self._model.frames.get(frame_id, pin.SE3.Identity()).homogeneous

    def set_from_ik(self, joint_model_group_name: str, geometry_pose, tip_name: str, timeout: float = 0.0) -> bool:
        """The pose is in the root frame of the model."""
        assert (joint_model_group_name, tip_name) == (self._model.group, self._model.tip) and not self.dirty
        solution = self._model.solve(self.arm(), self._model.frames["base_link"].inverse() * se3(geometry_pose))
        if solution is not None:
            self.joint_positions = dict(zip(self._model.names, solution, strict=True))
        return solution is not None


def se3(pose) -> pin.SE3:
    """Not of the bindings: geometry_msgs/Pose -> SE3."""
    p, q = pose.position, pose.orientation
    return pin.XYZQUATToSE3(np.array([p.x, p.y, p.z, q.x, q.y, q.z, q.w]))
