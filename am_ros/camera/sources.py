"""Where images come from, through OpenCV: a device, a network stream, a video file, a folder of images.

A source that is live (device, stream) paces itself and may come back after a failure. A file or a folder has to be
there at the start; `rate_hz` says how fast it is to be played.
"""

import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from am_ros.configuration import parameter
from am_ros.errors import AmRosError
from am_ros.images import decode

# OpenCV and FFmpeg write to stderr what they think of each attempt, the password in the URL included. Whoever wants
# to read it sets the variables.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
if "OPENCV_LOG_LEVEL" not in os.environ:
    (cv2.setLogLevel if hasattr(cv2, "setLogLevel") else cv2.utils.logging.setLogLevel)(0)  # OpenCV 4, OpenCV 5

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
FOLDER_RATE_HZ = 10.0
FILE_RATE_HZ = 30.0  # of a video that does not say


@dataclass(frozen=True)
class SourceConfig:
    """Which camera, and how to read it."""

    source: str = parameter("0", "device index or path, RTSP or HTTP URL, video file, or folder of images")
    rate_hz: float = parameter(
        0.0,
        "at most so many images per second from a device or stream, exactly so many from a file [Hz]; "
        "0: as many as the source has",
        range=(0.0, 240.0),
    )
    loop: bool = parameter(True, "start a file or folder again at its end")
    capture_width: int = parameter(0, "width to ask a device for [px]; 0: its default", range=(0, 8192))
    capture_height: int = parameter(0, "height to ask a device for [px]; 0: its default", range=(0, 8192))
    capture_fourcc: str = parameter("", "pixel format to ask a device for, e.g. MJPG; empty: its default")
    source_timeout_s: float = parameter(5.0, "give a stream up after so long without data [s]", range=(0.1, 60.0))

    def __post_init__(self):
        if not self.source:
            raise AmRosError("parameter source: is empty")
        if len(self.capture_fourcc) not in (0, 4):
            raise AmRosError(f"parameter capture_fourcc: {self.capture_fourcc!r} is not four letters, e.g. MJPG")


class EndOfSource(Exception):
    """A file or folder that is not to be looped has no more images."""


class Source(Protocol):
    """What every source offers."""

    rate_hz: float
    """How often `read` is to be called [Hz]; 0: it blocks until the next image is there."""

    def read(self) -> tuple[np.ndarray, float]:
        """The next image, uint8 [H, W, 3] RGB, and the time.monotonic() [s] of its capture.

        Raises EndOfSource, or AmRosError if there is none to be had; the source is then to be closed.
        """

    def close(self) -> None:
        """Release the source."""


def is_live(source: str) -> bool:
    """Whether a source is a device or a network stream, which may come back after a failure."""
    device = source.startswith("/dev/") and not source.startswith("/dev/shm/")  # files in memory are files
    return source.isdigit() or device or "://" in source


def public_name(source: str) -> str:
    """The source as it may be logged: without the password of a URL."""
    return re.sub(r"(?<=://)[^/]*@", "***@", source)


def open_source(config: SourceConfig, report: Callable[[str], None] = lambda sentence: None) -> Source:
    """Open a source. `report` is told, in one sentence each, of images that are skipped.

    Raises AmRosError ("source ... cannot be opened: ...").
    """
    if is_live(config.source):
        return LiveSource(config)
    path = Path(config.source).expanduser()
    if path.is_dir():
        return FolderSource(path, config, report)
    if path.is_file():
        return FileSource(path, config)
    raise cannot_open(config.source, "no such file or folder")


def cannot_open(source: str, why: str) -> AmRosError:
    """The sentence of every failure to open."""
    return AmRosError(f"source {public_name(source)} cannot be opened: {why}")


class LiveSource:
    """A device (V4L2) or a network stream (FFmpeg): read() blocks until the next image."""

    rate_hz = 0.0

    def __init__(self, config: SourceConfig):
        self._config = config
        self._interval_s = 1 / config.rate_hz if config.rate_hz else 0.0
        self._due_s = 0.0
        timeout_ms = int(config.source_timeout_s * 1000)
        if "://" in config.source:
            options = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, timeout_ms, cv2.CAP_PROP_READ_TIMEOUT_MSEC, timeout_ms]
            self._capture = cv2.VideoCapture(config.source, cv2.CAP_FFMPEG, options)
            why = f"no stream there (waited at most {config.source_timeout_s:g} s)"
        else:
            device = int(config.source) if config.source.isdigit() else config.source
            self._capture = cv2.VideoCapture(device, cv2.CAP_V4L2)
            why = "no such camera, or another program uses it"
        if not self._capture.isOpened():
            raise cannot_open(config.source, why)
        if "://" not in config.source:
            self._ask_device()

    def _ask_device(self) -> None:
        """Set what was asked for, the format first because it decides which sizes there are. The driver may refuse."""
        c = self._config
        letters = c.capture_fourcc
        fourcc = cv2.VideoWriter_fourcc(*letters) if letters else 0  # type: ignore[attr-defined]  # not in its stubs
        # One buffer: an image that waited in a queue of four is 130 ms old when it is read.
        for what, value in (
            (cv2.CAP_PROP_FOURCC, fourcc),
            (cv2.CAP_PROP_FRAME_WIDTH, c.capture_width),
            (cv2.CAP_PROP_FRAME_HEIGHT, c.capture_height),
            (cv2.CAP_PROP_FPS, c.rate_hz),
            (cv2.CAP_PROP_BUFFERSIZE, 1),
        ):
            if value:
                self._capture.set(what, value)

    def read(self) -> tuple[np.ndarray, float]:
        """See Source. Images above the rate asked for are passed over without being decoded."""
        while True:
            if not self._capture.grab():
                raise AmRosError(f"source {public_name(self._config.source)} gives no images any more")
            captured_s = time.monotonic()
            # A quarter of an interval of jitter is allowed, or a 20 Hz camera asked for 20 Hz would lose some.
            if captured_s >= self._due_s - self._interval_s / 4:
                break
        self._due_s = max(self._due_s + self._interval_s, captured_s)
        done, bgr = self._capture.retrieve()
        if not done:
            raise AmRosError(f"source {public_name(self._config.source)} gives images that cannot be decoded")
        return _rgb(bgr), captured_s

    def close(self) -> None:
        """See Source."""
        self._capture.release()


class FileSource:
    """A video file."""

    def __init__(self, path: Path, config: SourceConfig):
        self._path, self._loop = path, config.loop
        self._images = 0
        self._open()
        own_rate = self._capture.get(cv2.CAP_PROP_FPS)
        self.rate_hz = config.rate_hz or (own_rate if 0.1 <= own_rate <= 240 else FILE_RATE_HZ)

    def _open(self) -> None:
        self._capture = cv2.VideoCapture(str(self._path), cv2.CAP_FFMPEG)
        if not self._capture.isOpened():
            raise cannot_open(str(self._path), "not a video that FFmpeg can read")
        self._images = 0

    def read(self) -> tuple[np.ndarray, float]:
        """See Source."""
        done, bgr = self._capture.read()
        if not done:
            if not self._images:
                raise AmRosError(f"source {self._path}: not one image in it can be decoded")
            if not self._loop:
                raise EndOfSource
            self.close()
            self._open()  # not every format can seek to its start
            return self.read()
        self._images += 1
        return _rgb(bgr), time.monotonic()

    def close(self) -> None:
        """See Source."""
        self._capture.release()


class FolderSource:
    """A folder of images, played in the order of their names."""

    def __init__(self, folder: Path, config: SourceConfig, report: Callable[[str], None]):
        self._folder, self._loop, self._report = folder, config.loop, report
        self._paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
        if not self._paths:
            raise cannot_open(str(folder), f"the folder holds no image ({', '.join(IMAGE_SUFFIXES)})")
        self._next = 0
        self._skipped: set[Path] = set()
        self.rate_hz = config.rate_hz or FOLDER_RATE_HZ

    def read(self) -> tuple[np.ndarray, float]:
        """See Source. An image that cannot be read is skipped and reported once."""
        for _ in self._paths:
            if self._next == len(self._paths):
                if not self._loop:
                    raise EndOfSource
                self._next = 0
            path = self._paths[self._next]
            self._next += 1
            try:
                return decode(path.read_bytes(), str(path)), time.monotonic()
            except (AmRosError, OSError) as error:
                if path not in self._skipped:
                    self._skipped.add(path)
                    self._report(f"skipped {error}")
        raise AmRosError(f"source {self._folder}: not one image in it can be decoded")

    def close(self) -> None:
        """See Source: nothing is held open."""


def _rgb(bgr: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(bgr, cv2.COLOR_GRAY2RGB if bgr.ndim == 2 else cv2.COLOR_BGR2RGB)
