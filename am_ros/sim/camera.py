"""The over-the-shoulder camera of the simulated cell: where it stands, what it sees, its intrinsics."""

import math
from dataclasses import dataclass

import numpy as np

from am_ros.configuration import parameter
from am_ros.sim.bullet import pybullet
from am_ros.sim.scene import Appearance

NEAR_M, FAR_M = 0.1, 8.0


@dataclass(frozen=True)
class CameraConfig:
    """A square pinhole camera, cropped tight around the workspace so that few pixels are wasted."""

    image_size: int = parameter(64, "height and width of the image [px]", range=(16, 2048))
    camera_position_m: tuple[float, float, float] = parameter(
        (0.25, -0.72, 0.85), "position, base frame [m]", range=(-5, 5)
    )
    camera_target_m: tuple[float, float, float] = parameter(
        (0.58, 0.02, 0.13), "point in the image centre [m]", range=(-5, 5)
    )
    field_of_view_rad: float = parameter(0.56, "opening angle [rad]", range=(0.05, 2.5))


class Camera:
    """Renders the scene of one PyBullet client in software, so it needs no display and no GPU."""

    def __init__(self, config: CameraConfig, client: int):
        self.config = config
        self._client = client
        self.look(Appearance())
        fov = math.degrees(config.field_of_view_rad)
        self._projection = pybullet.computeProjectionMatrixFOV(fov, 1.0, NEAR_M, FAR_M)

    def look(self, appearance: Appearance) -> None:
        """Take the light and the small errors of the camera's pose from a scene."""
        position = np.add(self.config.camera_position_m, appearance.camera_shift_m)
        target = np.add(self.config.camera_target_m, appearance.target_shift_m)
        up = _up(target - position, appearance.camera_roll_rad) if appearance.camera_roll_rad else (0, 0, 1)
        self._view = pybullet.computeViewMatrix(position.tolist(), target.tolist(), up)
        self._light = {
            "lightDirection": appearance.light_direction,
            "lightAmbientCoeff": appearance.ambient,
            "lightDiffuseCoeff": appearance.diffuse,
            "lightSpecularCoeff": 0.0,
        }

    def render(self) -> np.ndarray:
        """The image, uint8 [size, size, 3], RGB."""
        size = self.config.image_size
        rgba = pybullet.getCameraImage(
            size,
            size,
            self._view,
            self._projection,
            shadow=0,
            renderer=pybullet.ER_TINY_RENDERER,
            **self._light,
            flags=pybullet.ER_NO_SEGMENTATION_MASK,
            physicsClientId=self._client,
        )[2]
        return np.ascontiguousarray(np.reshape(np.asarray(rgba, np.uint8), (size, size, 4))[..., :3])


def _up(forward: np.ndarray, roll_rad: float) -> list[float]:
    """What is up for a camera that looks `forward` and was turned clockwise about that line."""
    forward = forward / np.linalg.norm(forward)
    right = np.cross(forward, (0, 0, 1))
    right /= np.linalg.norm(right)
    return (math.cos(roll_rad) * np.cross(right, forward) + math.sin(roll_rad) * right).tolist()


def intrinsics(config: CameraConfig) -> np.ndarray:
    """Camera matrix K [3, 3] in pixels, with (0, 0) the centre of the upper left pixel; no lens distortion."""
    focal = config.image_size / 2 / math.tan(config.field_of_view_rad / 2)
    centre = (config.image_size - 1) / 2
    return np.array([[focal, 0.0, centre], [0.0, focal, centre], [0.0, 0.0, 1.0]])
