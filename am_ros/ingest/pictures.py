"""Images of foreign cells to RGB of the size that is asked for. 8 bits a channel; what has more is refused by name."""

import io
import re
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from am_ros import images
from am_ros.errors import AmRosError
from am_ros.ingest import video
from am_ros.ingest.mapping import ImageRole

IMAGE, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
TYPES = (IMAGE, COMPRESSED, *video.TYPES)

_FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "BMP", "GIF")  # others may have more than 8 bits a channel
_TIFF_BITS = 258  # the tag
_SMALL_PX = 64  # of the pictures in which motion is looked for
_DEEP = re.compile(r"(?:rgb|bgr|rgba|bgra|mono|bayer_[rgb]{4})16|(?:16|32|64)[USF]C?\d?", re.IGNORECASE)


_SMALL_GREY = cv2.IMREAD_REDUCED_GRAYSCALE_4 | cv2.IMREAD_IGNORE_ORIENTATION


class Look(NamedTuple):
    """What the pictures of one camera have in common, until somebody reconfigures it."""

    width: int
    height: int
    encoding: str
    frame: str = ""  # the camera's

    def __str__(self) -> str:
        frame = f" of frame {self.frame!r}" if self.frame else ""
        return f"{self.width}x{self.height} px {self.encoding!r}{frame}"


class Pictures:
    """Decodes the messages of one camera."""

    def __init__(self, role: ImageRole, type_name: str):
        if type_name not in TYPES:
            raise AmRosError(f"image: topic {role.topic} has type {type_name}, expected {' or '.join(TYPES)}")
        self._role, self._type = role, type_name
        self._video: video.Video | None = None  # from its first packet on

    def look(self, message) -> Look:
        """What a message's picture looks like; AmRosError, with the kind of fault first, if it is of no use."""
        frame = getattr(getattr(message, "header", None), "frame_id", getattr(message, "frame_id", ""))
        return self._look(message)._replace(frame=frame)

    def _look(self, message) -> Look:
        if self._type in video.TYPES:
            width, height = (message.width, message.height) if hasattr(message, "width") else (0, 0)
            return Look(int(width), int(height), video.codec_of(message))
        if self._type == COMPRESSED:
            return self._look_compressed(message)
        encoding = self._role.encoding or message.encoding
        if _DEEP.search(encoding):
            raise AmRosError(f"encoding {encoding!r}: has more than 8 bits a channel, not supported")
        if encoding not in images.ENCODINGS:
            raise AmRosError(f"encoding {encoding!r}: is not one of {', '.join(images.ENCODINGS)}")
        images.checked_step(message, "cannot be decoded", encoding)  # damaged sizes are no other picture
        return Look(int(message.width), int(message.height), encoding)

    def _look_compressed(self, message) -> Look:
        told = message.format
        if "compressedDepth" in told:
            raise AmRosError(f"format {told!r}: is depth, not colour")
        if _DEEP.search(told) or _is_deep_png(message.data):
            raise AmRosError(f"format {told!r}: has more than 8 bits a channel, not supported")
        if video.is_video(told):
            return Look(0, 0, video.codec_of(message))
        try:
            with Image.open(io.BytesIO(message.data), formats=_FORMATS) as picture:  # reads no further than the size
                if isinstance(picture, TiffImageFile) and set(picture.tag_v2.get(_TIFF_BITS, (8,))) != {8}:
                    raise AmRosError(f"format {told!r}: has other than 8 bits a channel, not supported")
                return Look(*picture.size, told)
        except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError):
            raise AmRosError(f"damaged: {len(message.data)} bytes that are not a JPEG or PNG image") from None

    def take(self, message, stamp_ns: int):
        """What `decode` will want of a message: itself, or of video, which has to be decoded in order, its picture."""
        if self._type not in video.TYPES and not (self._type == COMPRESSED and video.is_video(message.format)):
            return message
        if self._video is None:
            self._video = video.Video(video.codec_of(message))
        return Decoded(message, self._fitted(self._video.decode(message, stamp_ns)))

    def small(self, message) -> np.ndarray | None:
        """A small grey picture of what is used of a message, in which motion shows; None if it cannot be had."""
        try:
            grey: np.ndarray | None
            if isinstance(message, Decoded):
                grey = cv2.cvtColor(message.rgb, cv2.COLOR_RGB2GRAY)
            elif self._type == COMPRESSED:
                grey = cv2.imdecode(np.frombuffer(message.data, np.uint8), _SMALL_GREY)
            else:
                grey = cv2.cvtColor(images.array_from_image(message, encoding=self._role.encoding), cv2.COLOR_RGB2GRAY)
        except (AmRosError, cv2.error):
            return None
        if grey is None or not grey.size:
            return None
        if self._role.crop and not isinstance(message, Decoded):
            factor = grey.shape[1] / max(1, self.look(message).width)
            left, top, width, height = (round(factor * n) for n in self._role.crop)
            grey = grey[top : top + max(1, height), left : left + max(1, width)]
        side = min(_SMALL_PX, *grey.shape) if grey.size else 0
        return cv2.resize(grey, (side, side), interpolation=cv2.INTER_AREA) if side else None

    def decode(self, message) -> np.ndarray:
        """RGB uint8 [height, width, 3] as the mapping asks; raises AmRosError if it is damaged or shows nothing."""
        if isinstance(message, Decoded):
            rgb = message.rgb
        elif self._type == COMPRESSED:
            rgb = self._fitted(images.array_from_compressed(message, encoding=self._role.encoding))
        else:
            rgb = self._fitted(images.array_from_image(message, encoding=self._role.encoding))
        fault = images.fault_of(rgb)
        if fault:
            raise AmRosError(fault)
        return rgb

    def _fitted(self, rgb: np.ndarray) -> np.ndarray:
        role = self._role
        if role.swap_red_blue:
            rgb = rgb[..., ::-1]
        if role.crop:
            left, top, width, height = role.crop
            if left + width > rgb.shape[1] or top + height > rgb.shape[0]:
                raise AmRosError(
                    f"smaller than the crop: {rgb.shape[1]}x{rgb.shape[0]} px, the crop is {list(role.crop)}"
                )
            rgb = rgb[top : top + height, left : left + width]
        return images.crop_resize(rgb, role.height, role.width)


class Decoded:
    """A picture of a video, decoded and of the size that is asked for, in place of its message."""

    def __init__(self, message, rgb: np.ndarray):
        self.header, self.rgb, self.data = getattr(message, "header", None), rgb, rgb.reshape(-1)


def _is_deep_png(data) -> bool:
    """Whether the bytes begin as a PNG of 16 bits a channel; OpenCV would silently drop the lower 8."""
    head = bytes(data[:25])
    return len(head) == 25 and head[:4] == b"\x89PNG" and head[24] == 16
