"""Camera calibration: the YAML of ROS's camera_calibration, or a pinhole guess; adapted to crop and resize."""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from am_ros.errors import AmRosError
from am_ros.images import crop_box

_DISTORTIONS = {"plumb_bob": 5, "rational_polynomial": 8, "equidistant": 4}
_IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)


@dataclass(frozen=True)
class Calibration:
    """The contents of a sensor_msgs/CameraInfo; matrices row by row."""

    width: int  # [px]
    height: int  # [px]
    k: tuple[float, ...]  # 3x3, camera matrix [px]
    p: tuple[float, ...]  # 3x4, projection matrix of the rectified image [px]
    r: tuple[float, ...] = _IDENTITY  # 3x3, rectification
    distortion_model: str = "plumb_bob"
    d: tuple[float, ...] = (0.0,) * 5

    def cropped_and_resized(self, height: int, width: int) -> "Calibration":
        """The calibration of images.crop_resize(image, height, width)."""
        top, left, box_height, box_width = crop_box(self.height, self.width, height, width)
        scale = np.array([width / box_width, height / box_height])

        def adapt(matrix: tuple[float, ...]) -> tuple[float, ...]:
            m = np.array(matrix).reshape(3, -1)
            # The centre of pixel 0 is at 0 and its edge at -0.5: what is scaled is the distance from the edge.
            m[:2, 2] = (m[:2, 2] - (left, top) + 0.5) * scale - 0.5
            m[0, 0], m[1, 1], m[0, 1] = m[0, 0] * scale[0], m[1, 1] * scale[1], m[0, 1] * scale[0]
            if m.shape[1] == 4:
                m[:2, 3] *= scale
            return tuple(m.ravel().tolist())

        return replace(self, width=width, height=height, k=adapt(self.k), p=adapt(self.p))

    def fill(self, msg) -> None:
        """Put it into a sensor_msgs/CameraInfo; the header is left as it is."""
        msg.width, msg.height, msg.distortion_model = self.width, self.height, self.distortion_model
        msg.k, msg.r, msg.p, msg.d = list(self.k), list(self.r), list(self.p), list(self.d)


def pinhole(width: int, height: int, horizontal_fov_rad: float) -> Calibration:
    """A guess without lens distortion: square pixels, optical axis in the middle of the image."""
    focal = width / 2 / math.tan(horizontal_fov_rad / 2)
    cx, cy = (width - 1) / 2, (height - 1) / 2
    return Calibration(
        width,
        height,
        k=(focal, 0.0, cx, 0.0, focal, cy, 0.0, 0.0, 1.0),
        p=(focal, 0.0, cx, 0.0, 0.0, focal, cy, 0.0, 0.0, 0.0, 1.0, 0.0),
    )


def load_calibration(url: str) -> Calibration:
    """Read a calibration file (a path, or a file:// URL as ROS camera drivers take it).

    Raises AmRosError naming the file and what is wrong with it.
    """
    path = Path(url.removeprefix("file://")).expanduser()
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise AmRosError(f"calibration {path}: cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError):
        raise AmRosError(f"calibration {path}: is not YAML") from None
    if not isinstance(content, dict):
        raise AmRosError(f"calibration {path}: is not a calibration (no image_width)")
    model = content.get("distortion_model", "plumb_bob")
    if model not in _DISTORTIONS:
        raise AmRosError(f"calibration {path}: distortion_model {model!r} is not one of {', '.join(_DISTORTIONS)}")
    size: list[Any] = [content.get(name) for name in ("image_width", "image_height")]
    if not all(isinstance(n, int) and not isinstance(n, bool) and 0 < n < 2**16 for n in size):
        raise AmRosError(f"calibration {path}: image_width and image_height must be whole numbers, got {size}")
    k = _matrix(content, "camera_matrix", 9, path)
    if k[0] <= 0 or k[4] <= 0:
        raise AmRosError(f"calibration {path}: the focal lengths in camera_matrix must be positive, got {k[0]}, {k[4]}")
    width, height = size
    return Calibration(
        width,
        height,
        k=k,
        distortion_model=model,
        p=_matrix(content, "projection_matrix", 12, path),
        r=_matrix(content, "rectification_matrix", 9, path),
        d=_matrix(content, "distortion_coefficients", _DISTORTIONS[model], path),
    )


def _matrix(content: dict, name: str, count: int, path: Path) -> tuple[float, ...]:
    entry = content.get(name)
    data = entry.get("data") if isinstance(entry, dict) else None
    if not isinstance(data, list) or len(data) != count or not all(map(_is_number, data)):
        raise AmRosError(f"calibration {path}: {name} must have {count} finite numbers under `data`")
    return tuple(map(float, data))


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
