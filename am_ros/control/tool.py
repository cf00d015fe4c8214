"""Where the tool is in the frame that another program calls the end of the arm."""

import numpy as np
import pinocchio as pin

from am_ros.errors import AmRosError


def tcp_in_tip(tip_to_tcp) -> pin.SE3:
    """The tcp's placement from x, y, z [m], roll, pitch, yaw [rad]; raises AmRosError if it is not six numbers."""
    values = np.asarray(tip_to_tcp, float)
    if values.shape != (6,) or not np.isfinite(values).all():
        raise AmRosError(f"parameter tip_to_tcp: expected x, y, z, roll, pitch, yaw, got {values.size} numbers")
    return pin.SE3(pin.rpy.rpyToMatrix(values[3:]), values[:3])


def tip_of(position_m, rotation, tip_to_tcp: pin.SE3) -> tuple[list[float], list[float]]:
    """Position [3] in metres and quaternion x, y, z, w of the tip that puts the tcp at that pose."""
    values = pin.SE3ToXYZQUAT(pin.SE3(rotation, np.asarray(position_m)) * tip_to_tcp.inverse()).tolist()
    return values[:3], values[3:]
