"""Where a point of the cell lies in the camera's image."""

import numpy as np

from am_ros.sim.camera import CameraConfig, intrinsics
from am_ros.sim.scene import Appearance


def project(points_m: np.ndarray, config: CameraConfig, appearance: Appearance | None = None) -> np.ndarray:
    """Pixels [..., 2] (right, down; (0, 0) is the centre of the upper left pixel) of points [..., 3], base frame [m].

    `appearance` holds the errors of the camera's pose in a scene.
    """
    appearance = appearance or Appearance()
    position = np.add(config.camera_position_m, appearance.camera_shift_m)
    forward = np.add(config.camera_target_m, appearance.target_shift_m) - position
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, (0, 0, 1))
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(forward, right), forward])  # optical frame: x right, y down, z forward
    in_camera = (np.asarray(points_m, float) - position) @ rotation.T
    pixels = in_camera @ intrinsics(config).T
    return pixels[..., :2] / pixels[..., 2:]
