"""RobotState, as far as it is called."""

import numpy as np
import pinocchio as pin


class RobotState:
    """Joint angles of the robot model."""

    def __init__(self, robot_model):
        self._model, self._positions, self.dirty = robot_model, {}, True

    @property
    def joint_positions(self) -> dict:
        return dict(self._positions)

    @joint_positions.setter
    def joint_positions(self, positions: dict) -> None:
        assert set(positions) == set(self._model.names)
        self._positions, self.dirty = dict(positions), True

    def update(self, force: bool = False, type: str = "all") -> None:
        self.dirty = False

    def set_from_ik(self, joint_model_group_name: str, geometry_pose, tip_name: str, timeout: float = 0.0) -> bool:
        assert (joint_model_group_name, tip_name) == (self._model.group, self._model.tip) and not self.dirty
        p, q = geometry_pose.position, geometry_pose.orientation
        tip = pin.XYZQUATToSE3(np.array([p.x, p.y, p.z, q.x, q.y, q.z, q.w]))
        solution = self._model.solve(list(self._positions.values()), tip)
        if solution is not None:
            self.joint_positions = dict(zip(self._model.names, solution, strict=True))
        return solution is not None
