"""Where the tool is in the frame that another program calls the end of the arm."""

import numpy as np
import pinocchio as pin

from am_ros.control.kinematics import Kinematics
from am_ros.control.types import Vector
from am_ros.errors import AmRosError

TOOL_TOLERANCE_M = 1e-3
TOOL_TOLERANCE_RAD = 0.01


def tcp_in_tip(tip_to_tcp: Vector) -> pin.SE3:
    """The tcp's placement from x, y, z [m], roll, pitch, yaw [rad]; raises AmRosError if it is not six numbers."""
    values = np.asarray(tip_to_tcp, float)
    if values.shape != (6,) or not np.isfinite(values).all():
        raise AmRosError(f"parameter tip_to_tcp: expected x, y, z, roll, pitch, yaw, got {values.size} numbers")
    return pin.SE3(pin.rpy.rpyToMatrix(values[3:]), values[:3])


def check_tool(kinematics: Kinematics, mount: str, tip_to_tcp: Vector) -> None:
    """Raise AmRosError if `tip_to_tcp` contradicts the description, as far as that has a frame `mount`.

    Or another program would be sent poses that put the tool elsewhere, by as much as the two lengths differ.
    """
    told, described = tcp_in_tip(tip_to_tcp), kinematics.tip_in(mount)
    if described is None:
        return
    off = pin.log6(described.actInv(told))
    if np.linalg.norm(off.linear) > TOOL_TOLERANCE_M or np.linalg.norm(off.angular) > TOOL_TOLERANCE_RAD:
        numbers = [*described.translation, *pin.rpy.matrixToRpy(described.rotation)]
        said, is_so = ([round(float(x), 4) + 0.0 for x in values] for values in (tip_to_tcp, numbers))
        raise AmRosError(f"parameter tip_to_tcp: is {said}, but the description (tool_length_m) has {is_so}")


def tip_of(position_m: Vector, rotation: np.ndarray, tip_to_tcp: pin.SE3) -> tuple[list[float], list[float]]:
    """Position [3] in metres and quaternion x, y, z, w of the tip that puts the tcp at that pose."""
    values = pin.SE3ToXYZQUAT(pin.SE3(rotation, np.asarray(position_m)) * tip_to_tcp.inverse()).tolist()
    return values[:3], values[3:]
