"""Frames that a URDF fixes to each other: where the camera stands, as the cell's description has it."""

import numpy as np
import pinocchio as pin

from am_ros.errors import AmRosError


def fixed_pose(urdf: str, frame: str, base: str) -> np.ndarray | None:
    """Pose [4, 4] of `frame` in `base` [m]; None if no fixed joints lead from one to the other.

    Raises AmRosError if the text is no URDF.
    """
    try:
        model = pin.buildModelFromXML(urdf)
    except (RuntimeError, ValueError) as error:
        raise AmRosError(f"robot_description cannot be read ({' '.join(str(error).split())})") from None
    if not (model.existFrame(frame) and model.existFrame(base)):
        return None
    there, here = (model.frames[model.getFrameId(name)] for name in (frame, base))
    if there.parentJoint != here.parentJoint:
        return None
    pose: np.ndarray = here.placement.actInv(there.placement).homogeneous
    return pose


def quaternion(pose: np.ndarray) -> tuple[float, float, float, float]:
    """x, y, z, w of the rotation of a pose [4, 4]."""
    x, y, z, w = pin.Quaternion(pose[:3, :3]).normalized().coeffs().tolist()
    return x, y, z, w
