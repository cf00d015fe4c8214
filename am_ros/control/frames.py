"""Frames that a URDF fixes to each other: where the camera stands, as the cell's description has it."""

import math
from xml.etree import ElementTree

import numpy as np

from am_ros.errors import AmRosError


def fixed_pose(urdf: str, frame: str, base: str) -> np.ndarray | None:
    """Pose [4, 4] of `frame` in `base` [m]; None if no fixed joints lead from one to the other.

    Raises AmRosError if the text is no URDF.
    """
    try:
        joints = {j.find("child").get("link"): j for j in ElementTree.fromstring(urdf).iter("joint")}
        pose, link = np.eye(4), frame
        for _ in range(len(joints) + 1):  # a ring is no tree
            if link == base:
                return pose
            joint = joints.get(link)
            if joint is None or joint.get("type") != "fixed":
                return None
            pose, link = _origin(joint.find("origin")) @ pose, joint.find("parent").get("link")
        return None
    except (ElementTree.ParseError, AttributeError, ValueError) as error:
        raise AmRosError(f"robot_description cannot be read ({error})") from None


def quaternion(pose: np.ndarray) -> tuple[float, float, float, float]:
    """x, y, z, w of the rotation of a pose [4, 4]."""
    m = pose[:3, :3]
    # The largest of the four is found from the diagonal: nothing small is divided by.
    squares = np.array([1 + m[0, 0] - m[1, 1] - m[2, 2], 1 - m[0, 0] + m[1, 1] - m[2, 2],
                        1 - m[0, 0] - m[1, 1] + m[2, 2], 1 + m[0, 0] + m[1, 1] + m[2, 2]])  # fmt: skip
    rows = np.array(
        [
            [squares[0], m[0, 1] + m[1, 0], m[0, 2] + m[2, 0], m[2, 1] - m[1, 2]],
            [m[0, 1] + m[1, 0], squares[1], m[1, 2] + m[2, 1], m[0, 2] - m[2, 0]],
            [m[0, 2] + m[2, 0], m[1, 2] + m[2, 1], squares[2], m[1, 0] - m[0, 1]],
            [m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1], squares[3]],
        ]
    )
    found = rows[int(np.argmax(squares))]
    x, y, z, w = (found / np.linalg.norm(found)).tolist()
    return x, y, z, w


def _origin(origin) -> np.ndarray:
    pose = np.eye(4)
    if origin is None:
        return pose
    roll, pitch, yaw = (float(word) for word in origin.get("rpy", "0 0 0").split())
    pose[:3, 3] = [float(word) for word in origin.get("xyz", "0 0 0").split()]
    (cr, sr), (cp, sp), (cy, sy) = ((math.cos(a), math.sin(a)) for a in (roll, pitch, yaw))
    pose[:3, :3] = [
        [cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr],
        [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr],
        [-sp, cp * sr, cp * cr],
    ]
    return pose
