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
        # Those of <ros2_control>, <transmission> and plugins lie deeper, and connect no links.
        joints = {_link(j, "child"): j for j in ElementTree.fromstring(urdf).findall("joint")}
        pose, link = np.eye(4), frame
        for _ in range(len(joints) + 1):  # a ring is no tree
            if link == base:
                return pose
            joint = joints.get(link)
            if joint is None or joint.get("type") != "fixed":
                return None
            pose, link = _origin(joint.find("origin")) @ pose, _link(joint, "parent")
        return None
    except (ElementTree.ParseError, ValueError) as error:
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


def _link(joint: ElementTree.Element, end: str) -> str:
    """The link at the `end` "parent" or "child" of a joint; raises ValueError if it is not said."""
    for element in joint.iter(end):
        return element.get("link", "")
    raise ValueError(f"joint {joint.get('name')} has no {end}")


def _origin(origin: ElementTree.Element | None) -> np.ndarray:
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
