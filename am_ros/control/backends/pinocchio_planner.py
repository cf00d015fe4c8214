"""A planner for the wire without MoveIt: our own kinematics, as a process; `planner:=pinocchio`."""

import sys
from typing import Any

import numpy as np
import pinocchio as pin

from am_ros.action import CartesianAction
from am_ros.configuration import from_dict
from am_ros.control.backends.wire import PlanRequest, Plans, serve
from am_ros.control.cartesian import CartesianStepper
from am_ros.control.controller import ControllerConfig, make_stepper
from am_ros.control.tool import tcp_in_tip
from am_ros.control.trajectory import JointTrajectory
from am_ros.control.types import Vector


class PinocchioPlanner:
    """Plans the straight step from where q puts the tool to the pose that is asked for."""

    def __init__(self, stepper: CartesianStepper, tip_to_tcp: Vector):
        self._stepper, self._tcp = stepper, tcp_in_tip(tip_to_tcp)

    def plan(self, request: PlanRequest) -> JointTrajectory:
        """Raises AmRosError as the stepper does."""
        kinematics, q = self._stepper.kinematics, np.array(request.q)
        tip = pin.SE3(pin.Quaternion(np.array(request.quaternion)).matrix(), np.array(request.position_m))
        tcp = tip * self._tcp
        start, yaw = kinematics.pose(q)
        turn = float(np.arctan2(tcp.rotation[1, 0], tcp.rotation[0, 0]) - yaw)
        x, y, z = (tcp.translation - start).tolist()
        return self._stepper.plan(q, CartesianAction((x, y, z), float(np.arctan2(np.sin(turn), np.cos(turn)))))


def make(values: dict[str, Any]) -> tuple[str, Plans]:
    """The planner for `serve`, from the controller's configuration."""
    config = from_dict(ControllerConfig, values)
    planner = PinocchioPlanner(make_stepper(config), config.backend.planner.tip_to_tcp)
    return f"pinocchio, {config.robot_model}", planner.plan


if __name__ == "__main__":
    sys.exit(serve(make))
