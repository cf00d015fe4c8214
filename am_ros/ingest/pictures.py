"""Images of foreign cells to RGB of the size that is asked for. 8 bits a channel; what has more is refused by name."""

import re

import cv2
import numpy as np

from am_ros import images
from am_ros.errors import AmRosError
from am_ros.ingest.mapping import ImageRole

IMAGE, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
TYPES = (IMAGE, COMPRESSED)

# ROS names the first two pixels of the first row, OpenCV those of the second row from its second column on.
_BAYER = {
    "bayer_rggb8": cv2.COLOR_BayerBG2RGB,
    "bayer_bggr8": cv2.COLOR_BayerRG2RGB,
    "bayer_gbrg8": cv2.COLOR_BayerGR2RGB,
    "bayer_grbg8": cv2.COLOR_BayerGB2RGB,
}
_YUV = {
    "yuv422": cv2.COLOR_YUV2RGB_UYVY, "uyvy": cv2.COLOR_YUV2RGB_UYVY,
    "yuv422_yuy2": cv2.COLOR_YUV2RGB_YUY2, "yuyv": cv2.COLOR_YUV2RGB_YUY2,
}  # fmt: skip
_PLAIN = ("rgb8", "bgr8", "rgba8", "bgra8", "mono8")
_SAME_AS = {"8UC1": "mono8", "8UC3": "bgr8", "8UC4": "bgra8"}  # OpenCV's own order of colours, as cv_bridge has it
_DEEP = re.compile(r"(?:rgb|bgr|rgba|bgra|mono|bayer_[rgb]{4})16|(?:16|32|64)[USF]C?\d?", re.IGNORECASE)


class Pictures:
    """Decodes the messages of one camera."""

    def __init__(self, role: ImageRole, type_name: str):
        if type_name not in TYPES:
            raise AmRosError(f"image: topic {role.topic} has type {type_name}, expected {' or '.join(TYPES)}")
        self._role, self._compressed = role, type_name == COMPRESSED

    def check(self, message) -> None:
        """Raise AmRosError if images of this kind cannot be used at all."""
        what = message.format if self._compressed else self._encoding(message)
        if _DEEP.search(what) or (self._compressed and _is_deep_png(message.data)):
            raise AmRosError(f"image: {what!r} on {self._role.topic} has more than 8 bits a channel: not supported")
        if self._compressed and "compressedDepth" in what:
            raise AmRosError(f"image: {what!r} on {self._role.topic} is depth, not colour")
        if not self._compressed and what not in {*_PLAIN, *_BAYER, *_YUV}:
            known = ", ".join((*_PLAIN, *_BAYER, *_YUV))
            raise AmRosError(f"image: encoding {what!r} on {self._role.topic} is not one of {known}")

    def decode(self, message) -> np.ndarray:
        """RGB uint8 [height, width, 3] as the mapping asks; raises AmRosError if it is damaged or shows nothing."""
        role = self._role
        rgb = self._decompress(message) if self._compressed else self._raw(message)
        if role.swap_red_blue:
            rgb = rgb[..., ::-1]
        if role.crop:
            left, top, width, height = role.crop
            if left + width > rgb.shape[1] or top + height > rgb.shape[0]:
                raise AmRosError(f"image of {rgb.shape[1]}x{rgb.shape[0]} px: smaller than the crop {list(role.crop)}")
            rgb = rgb[top : top + height, left : left + width]
        rgb = images.crop_resize(rgb, role.height, role.width)
        fault = images.fault_of(rgb)
        if fault:
            raise AmRosError(fault)
        return rgb

    def _encoding(self, message) -> str:
        encoding = self._role.encoding or message.encoding
        return _SAME_AS.get(encoding, encoding)

    def _decompress(self, message) -> np.ndarray:
        bayer = _BAYER.get(self._role.encoding)
        if bayer is None:
            return images.decode(message.data)
        # A sensor's mosaic compressed as if it were grey: the colours are in the pattern.
        grey = cv2.imdecode(np.frombuffer(message.data, np.uint8), cv2.IMREAD_GRAYSCALE)
        if grey is None:
            raise AmRosError("image data: not a JPEG or PNG image")
        return cv2.cvtColor(grey, bayer)

    def _raw(self, message) -> np.ndarray:
        encoding = self._encoding(message)
        if encoding in _PLAIN:
            if encoding != message.encoding:
                message = _Relabelled(message, encoding)
            return images.array_from_image(message)
        channels = 1 if encoding in _BAYER else 2
        height, width, step = int(message.height), int(message.width), int(message.step)
        size = len(message.data)
        if not (0 < height <= images.MAX_SIDE_PX and 0 < width * channels <= step and size == height * step):
            raise AmRosError(f"image: {width}x{height} px, step {step} and {size} bytes contradict each other")
        rows = np.frombuffer(message.data, np.uint8).reshape(height, step)[:, : width * channels]
        pixels = np.ascontiguousarray(rows).reshape(height, width, channels)
        return cv2.cvtColor(pixels, _BAYER[encoding] if encoding in _BAYER else _YUV[encoding])


def _is_deep_png(data) -> bool:
    """Whether the bytes begin as a PNG of 16 bits a channel; OpenCV would silently drop the lower 8."""
    head = bytes(data[:25])
    return len(head) == 25 and head[:4] == b"\x89PNG" and head[24] == 16


class _Relabelled:
    """An image message with another encoding than it says."""

    def __init__(self, message, encoding: str):
        self.height, self.width, self.step, self.data = message.height, message.width, message.step, message.data
        self.encoding = encoding
