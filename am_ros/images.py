"""Images between ROS messages, files and the policy: RGB uint8 arrays [height, width, 3] everywhere inside.

NumPy and OpenCV only; messages are duck-typed, so this serves rclpy and rosbags messages alike, live and out of bags.
The encodings of 8 bits that cameras and simulators publish are converted here, because cv_bridge is not to be had from
PyPI and breaks with NumPy 2 in some distributions; for anything else cv_bridge is imported when it is needed.
"""

import re
from array import array
from typing import Any, TypeAlias

import cv2
import numpy as np

from am_ros.errors import AmRosError

# Longest side of an image that is accepted [px]: larger than any camera in use, and a claim of 2^32 rows in a
# damaged message or file is refused before memory is asked for.
MAX_SIDE_PX = 8192
# A PNG of noise of that size. (What a few bytes may claim to be is bounded by OpenCV: am_ros/__init__.py.)
MAX_ENCODED_BYTES = MAX_SIDE_PX * MAX_SIDE_PX * 3 + 1_000_000

# A goal image without light or without content teaches nothing and can be "reached" anywhere. A covered lens of a
# camera with automatic gain has a mean of 1 to 3; a scene that is merely dark lies above 10.
BLACK_BELOW_MEAN = 4.0
# Sensor noise alone gives a standard deviation of 1 to 2 on a plain surface.
UNIFORM_BELOW_STD = 3.0

# The usual 4:2:0 of JPEG halves the resolution of colour: at 64 px a small coloured block smears into the table.
# OpenCV 4.6 (apt's on Ubuntu 24.04) knows nothing else yet; there, record PNG where it matters.
_FULL_COLOUR = (
    [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    if hasattr(cv2, "IMWRITE_JPEG_SAMPLING_FACTOR")
    else []
)

# By encoding: bytes per pixel, and what makes RGB of them. Of a Bayer pattern ROS names the first two pixels of the
# first row, OpenCV those of the second row from its second column on.
_RAW: dict[str, tuple[int, int | None]] = {
    "rgb8": (3, None),
    "bgr8": (3, cv2.COLOR_BGR2RGB),
    "rgba8": (4, cv2.COLOR_RGBA2RGB),
    "bgra8": (4, cv2.COLOR_BGRA2RGB),
    "mono8": (1, cv2.COLOR_GRAY2RGB),
    # OpenCV's own order of colours, as cv_bridge has it.
    "8UC1": (1, cv2.COLOR_GRAY2RGB),
    "8UC3": (3, cv2.COLOR_BGR2RGB),
    "8UC4": (4, cv2.COLOR_BGRA2RGB),
    "bayer_rggb8": (1, cv2.COLOR_BayerBG2RGB),
    "bayer_bggr8": (1, cv2.COLOR_BayerRG2RGB),
    "bayer_gbrg8": (1, cv2.COLOR_BayerGR2RGB),
    "bayer_grbg8": (1, cv2.COLOR_BayerGB2RGB),
    "yuv422": (2, cv2.COLOR_YUV2RGB_UYVY),
    "uyvy": (2, cv2.COLOR_YUV2RGB_UYVY),
    "yuv422_yuy2": (2, cv2.COLOR_YUV2RGB_YUY2),
    "yuyv": (2, cv2.COLOR_YUV2RGB_YUY2),
}
ENCODINGS = tuple(_RAW)  # of sensor_msgs/Image that are read without cv_bridge
Bytes: TypeAlias = "bytes | bytearray | memoryview | array[int] | np.ndarray"  # of messages and of files

_COLOURS = re.compile(r"(?:rgb|bgr)a?(?:8|16)")  # what image_transport counts as colour


def check_rgb(rgb: object, what: str = "image") -> np.ndarray:
    """Return `rgb` as a contiguous array; raise AmRosError unless it is uint8 [H, W, 3] of a sensible size."""
    if not isinstance(rgb, np.ndarray) or rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3:
        found = f"{rgb.dtype} {list(rgb.shape)}" if isinstance(rgb, np.ndarray) else type(rgb).__name__
        raise AmRosError(f"{what}: expected uint8 [height, width, 3], got {found}")
    _check_size(what, rgb.shape[0], rgb.shape[1])
    return np.ascontiguousarray(rgb)


def _check_size(what: str, height: int, width: int) -> None:
    if not (1 <= height <= MAX_SIDE_PX and 1 <= width <= MAX_SIDE_PX):
        raise AmRosError(f"{what}: {width}x{height} px is outside 1x1 ... {MAX_SIDE_PX}x{MAX_SIDE_PX}")


def encode_jpeg(rgb: np.ndarray, quality: int = 95) -> bytes:
    """JPEG of an image [H, W, 3] at full colour resolution (4:4:4, with OpenCV 4.7 or later).

    Raises AmRosError if `rgb` is not an image or `quality` not in 1 ... 100.
    """
    if not 1 <= quality <= 100:
        raise AmRosError(f"parameter quality: {quality} is outside 1 ... 100")
    return _encode(".jpg", rgb, [cv2.IMWRITE_JPEG_QUALITY, int(quality), *_FULL_COLOUR])


def encode_png(rgb: np.ndarray) -> bytes:
    """PNG of an image [H, W, 3], lossless. Raises AmRosError if `rgb` is not an image."""
    return _encode(".png", rgb, [])


def _encode(extension: str, rgb: np.ndarray, options: list[int]) -> bytes:
    done, data = cv2.imencode(extension, cv2.cvtColor(check_rgb(rgb), cv2.COLOR_RGB2BGR), options)
    if not done:
        raise AmRosError(f"image: cannot be encoded as {extension[1:]}")
    return data.tobytes()


def decode(data: Bytes, what: str = "image data", turned: bool = True) -> np.ndarray:
    """Decode a JPEG or PNG (bytes-like) to RGB uint8 [H, W, 3]; `turned`: as its EXIF orientation says, of photographs.

    Raises AmRosError, naming `what`, if it is not one or is cut short.
    """
    buffer = np.frombuffer(data, np.uint8)
    if not buffer.size:
        raise AmRosError(f"{what}: is empty")
    if buffer.size > MAX_ENCODED_BYTES:
        raise AmRosError(f"{what}: has {buffer.size} bytes, more than {MAX_ENCODED_BYTES}")
    # Some recorders pad each file with zeros to the size of their buffer.
    head, tail = buffer[:4].tobytes(), buffer[-64:].tobytes() if buffer[-1] else buffer.tobytes().rstrip(b"\0")[-64:]
    # OpenCV fills what is missing of a truncated image with grey and says nothing.
    if (head[:2] == b"\xff\xd8" and b"\xff\xd9" not in tail) or (head == b"\x89PNG" and b"IEND" not in tail):
        raise AmRosError(f"{what}: is cut short at {buffer.size} bytes")
    try:
        bgr = cv2.imdecode(buffer, cv2.IMREAD_COLOR | (0 if turned else cv2.IMREAD_IGNORE_ORIENTATION))
    except cv2.error:
        bgr = None
    if bgr is None:
        raise AmRosError(f"{what}: {buffer.size} bytes that are not a JPEG or PNG image")
    return check_rgb(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), what)


def crop_box(height: int, width: int, to_height: int, to_width: int) -> tuple[int, int, int, int]:
    """Largest centred box with the aspect of the target: (top, left, height, width) in pixels of the source."""
    box_height = min(height, max(1, round(width * to_height / to_width)))
    box_width = min(width, max(1, round(height * to_width / to_height)))
    return (height - box_height) // 2, (width - box_width) // 2, box_height, box_width


def crop_resize(rgb: np.ndarray, height: int, width: int) -> np.ndarray:
    """Crop an image [H, W, 3] centrally to the aspect of the target, then average it down to [height, width, 3].

    An image that has the size already is returned as it is. Raises AmRosError if `rgb` is not an image.
    """
    rgb = check_rgb(rgb)
    _check_size("crop_resize", height, width)
    if rgb.shape[:2] == (height, width):
        return rgb
    top, left, box_height, box_width = crop_box(rgb.shape[0], rgb.shape[1], height, width)
    box = rgb[top : top + box_height, left : left + box_width]
    # Averaging over areas is the only one that does not alias when shrinking; OpenCV's own is nearest when growing.
    method = cv2.INTER_AREA if box_height >= height else cv2.INTER_LINEAR
    return cv2.resize(box, (width, height), interpolation=method)


def larger_view(whole: np.ndarray, height: int, width: int, longest_px: int) -> np.ndarray | None:
    """What `crop_resize(whole, height, width)` shows, up to a longest side of `longest_px`; None if not larger."""
    _, _, box_height, box_width = crop_box(whole.shape[0], whole.shape[1], height, width)
    factor = min(longest_px, max(box_height, box_width)) / max(height, width)
    if factor <= 1:
        return None
    return crop_resize(whole, max(1, round(height * factor)), max(1, round(width * factor)))


def array_from_image(msg: Any, what: str = "image message", encoding: str = "") -> np.ndarray:
    """Convert a sensor_msgs/Image to RGB uint8 [H, W, 3]: ENCODINGS here, others by cv_bridge where it is installed.

    `encoding` counts more than the message's own. The result may share memory with the message. Raises AmRosError,
    naming `what`, if the sizes in the message contradict each other or the encoding cannot be converted.
    """
    height, width, encoding = int(msg.height), int(msg.width), encoding or msg.encoding
    step = checked_step(msg, what, encoding)
    if encoding not in _RAW:
        return _by_cv_bridge(msg, what)
    channels, conversion = _RAW[encoding]
    rows = np.frombuffer(msg.data, np.uint8).reshape(height, step)[:, : width * channels]
    pixels = np.ascontiguousarray(rows).reshape(height, width, channels)
    if conversion is None:
        return pixels
    if channels == 2 and width % 2:
        raise AmRosError(f"{what}: width {width} is odd, but two pixels share a colour in {encoding}")
    return _convert(pixels, conversion, what)


def checked_step(msg: Any, what: str, encoding: str) -> int:
    """Bytes per row of a sensor_msgs/Image; AmRosError, naming `what`, if its sizes contradict each other."""
    height, width, step, size = int(msg.height), int(msg.width), int(msg.step), len(msg.data)
    _check_size(what, height, width)
    channels = _RAW[encoding][0] if encoding in _RAW else 0
    if not step and channels and size == height * width * channels:
        step = size // height  # a driver that leaves it out; only one value fits
    if size != height * step:
        raise AmRosError(f"{what}: {size} bytes of data, but height {height} x step {step} is {height * step}")
    if step < width * channels:
        raise AmRosError(f"{what}: step {step} is less than width {width} x {channels} bytes of {encoding}")
    return step


def _convert(pixels: np.ndarray, conversion: int, what: str) -> np.ndarray:
    try:
        return cv2.cvtColor(pixels, conversion)
    except cv2.error:  # a mosaic of fewer than 2x2 pixels
        raise AmRosError(f"{what}: {pixels.shape[1]}x{pixels.shape[0]} px cannot be converted") from None


def array_from_compressed(msg: Any, what: str = "image data", encoding: str = "") -> np.ndarray:
    """Convert a sensor_msgs/CompressedImage (JPEG, PNG) to RGB uint8 [H, W, 3], by image_transport's rule.

    Its `format` is "<encoding of the camera>; jpeg compressed <encoding of the file>". Without "compressed bgr" the
    file has red and blue exchanged; a Bayer camera's file is a grey mosaic unless its colours were made before.
    `encoding` counts more than the one in the format. Raises AmRosError, naming `what`, if the file is damaged.
    """
    camera, separator, file = msg.format.partition(";")
    camera = encoding or camera.strip()
    rgb = decode(msg.data, what, turned=False)  # as the camera's other topics have it
    _, conversion = _RAW.get(camera, (0, None))
    if camera.startswith("bayer_") and conversion is not None and "compressed bgr" not in file and _is_grey(rgb):
        return _convert(np.ascontiguousarray(rgb[..., 0]), conversion, what)
    exchanged = separator and _COLOURS.fullmatch(camera) and "compressed bgr" not in file
    return np.ascontiguousarray(rgb[..., ::-1]) if exchanged else rgb


def is_plain(text: str) -> bool:
    """Whether a CompressedImage of this `format` is what its file decodes to, whatever is in it."""
    camera, separator, file = text.partition(";")
    return not separator or ("compressed bgr" in file and not camera.strip().startswith("bayer_"))


def _is_grey(rgb: np.ndarray) -> bool:
    return bool((rgb[..., 0] == rgb[..., 1]).all() and (rgb[..., 1] == rgb[..., 2]).all())


def _by_cv_bridge(msg: Any, what: str) -> np.ndarray:
    try:
        from cv_bridge import CvBridge  # only in an apt install of ROS 2, and only for rare encodings
    except ImportError:
        raise AmRosError(
            f"{what}: encoding {msg.encoding!r} is not one of {', '.join(ENCODINGS)}, and cv_bridge "
            "(package ros-jazzy-cv-bridge), which knows more, is not installed"
        ) from None
    try:
        return check_rgb(np.asarray(CvBridge().imgmsg_to_cv2(msg, desired_encoding="rgb8")), what)
    except AmRosError:
        raise
    except Exception as error:  # CvBridgeError, cv2.error, or what a NumPy mismatch raises inside it
        reason = " ".join(str(error).split())
        raise AmRosError(f"{what}: cv_bridge cannot convert encoding {msg.encoding!r}: {reason}") from None


def fill_image(msg: Any, rgb: np.ndarray) -> None:
    """Put an image [H, W, 3] into a sensor_msgs/Image as rgb8; the header is left as it is."""
    rgb = check_rgb(rgb)
    msg.height, msg.width = rgb.shape[:2]
    msg.encoding, msg.is_bigendian, msg.step = "rgb8", 0, rgb.shape[1] * 3
    # 0.02 ms for 472x472: rclpy copies an array('B') as a block, but checks and converts a list or ndarray by item.
    data = array("B")
    data.frombytes(rgb.data)
    msg.data = data


def fault_of(
    rgb: np.ndarray, black_below: float = BLACK_BELOW_MEAN, uniform_below: float = UNIFORM_BELOW_STD
) -> str | None:
    """Why an image [H, W, 3] shows nothing ("black image: ...", "uniform image: ..."); None if it shows something.

    Its mean must not be below `black_below`, nor its standard deviation below `uniform_below`, of 255.
    """
    step = max(1, min(rgb.shape[:2]) // 100)  # every fourth pixel of 472 tells as much, in a tenth of the time
    means, deviations = cv2.meanStdDev(np.ascontiguousarray(rgb[::step, ::step]))  # of each colour
    mean, deviation = float(means.mean()), float(deviations.max())
    if mean < black_below:
        return f"black image: mean {mean:.1f} below {black_below:g}"
    if deviation < uniform_below:
        return f"uniform image: standard deviation {deviation:.1f} below {uniform_below:g}"
    return None
