"""Is what the camera shows to be believed? Faults of a stream of images, each by name, judged image by image.

Whoever acts asks before each decision and while the arm moves. Times are those of time.monotonic(); stamps are those
of the headers and are compared with the node's clock and with each other, never with the monotonic clock.
"""

import math
import zlib
from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from am_ros import topics
from am_ros.configuration import parameter
from am_ros.images import BLACK_BELOW_MEAN, UNIFORM_BELOW_STD, fault_of

_POSES_KEPT = 500  # ten seconds of ee_pose at 50 Hz; an image is never that old


@dataclass(frozen=True)
class ImageWatchConfig:
    """When images are no longer acted on."""

    image_timeout_s: float = parameter(2.0, "image_stale: no new image for so long [s]", range=(0.05, 60.0))
    bad_images: int = parameter(
        3, "so many images in a row that are black, of another size or wrongly stamped are a fault", range=(1, 100)
    )
    black_below: float = parameter(
        BLACK_BELOW_MEAN, "image_black: a mean below this, of 255; 0: never", range=(0.0, 255.0)
    )
    uniform_below: float = parameter(
        UNIFORM_BELOW_STD, "image_black: a standard deviation below this, of 255; 0: never", range=(0.0, 128.0)
    )
    stamp_tolerance_s: float = parameter(
        0.5, "image_stamp_jump: a stamp may be so far in the future, or behind the last one [s]", range=(0.01, 60.0)
    )
    frozen_images: int = parameter(
        5, "image_frozen: so many images in a row with the same pixels after the arm moved, or with the same stamp",
        range=(2, 1000),
    )  # fmt: skip
    frozen_after_s: float = parameter(
        0.3, "... over at least so long; longer than images take to arrive [s]", range=(0.02, 60.0)
    )
    # A pixel of a 64 px image is 1 to 2 cm wide on the table.
    frozen_motion_m: float = parameter(
        0.02, "... and the arm moved by more than this meanwhile [m]", range=(0.001, 1.0)
    )


class Repetition:
    """Counts how often in a row something was the same, and for how long."""

    def __init__(self):
        self._value = None
        self.count, self.since_s = 0, 0.0

    def update(self, value, now_s: float) -> bool:
        """Take the next value; returns whether it is the one before."""
        same = self.count > 0 and value == self._value
        if not same:
            self._value, self.count, self.since_s = value, 0, now_s
        self.count += 1
        return same

    def lasts(self, count: int, seconds: float, now_s: float) -> bool:
        """Whether the value came at least `count` times, over at least `seconds`."""
        return self.count >= count and now_s - self.since_s >= seconds


def fingerprint(rgb: np.ndarray) -> int:
    """A number that tells images apart: those with the same one have the same pixels (but for 1 in 4e9)."""
    return zlib.crc32(np.ascontiguousarray(rgb).data, rgb.shape[1])


class Fault(NamedTuple):
    """What is wrong with an image: a name that never changes, and a sentence."""

    name: str
    sentence: str

    def on(self, topic: str) -> str:
        """The sentence as it is told to whoever asks."""
        return f"{self.name}: topic {topic}: {self.sentence}"


def size_fault(size: tuple[int, int], expected: tuple[int, int]) -> Fault | None:
    """Whether an image has another size (height, width) than the one expected."""
    if size == expected:
        return None
    found = f"image of {size[1]}x{size[0]} px"
    return Fault("image_wrong_size", f"{found}, but {expected[1]}x{expected[0]} is expected")


def pixel_fault(
    rgb: np.ndarray,
    size: tuple[int, int] | None = None,
    black_below: float = BLACK_BELOW_MEAN,
    uniform_below: float = UNIFORM_BELOW_STD,
) -> Fault | None:
    """Whether an image [H, W, 3] has another size (height, width) than the one expected, or shows nothing."""
    wrong = size_fault(rgb.shape[:2], size) if size else None
    nothing = None if wrong else fault_of(rgb, black_below, uniform_below)
    return Fault("image_black", nothing) if nothing else wrong


def stamp_fault(stamp_ns: int, now_ns: int, max_age_s: float, tolerance_s: float) -> Fault | None:
    """Whether a stamp is older than `max_age_s` by the clock, or more than `tolerance_s` in its future."""
    if stamp_ns <= 0:
        return Fault("image_stamp_jump", "the image has no stamp")
    age_s = (now_ns - stamp_ns) / 1e9
    if age_s > max_age_s:
        return Fault("image_stale", f"stale image: its stamp is {age_s:.1f} s old, more than {max_age_s:g} s")
    if age_s < -tolerance_s:
        return Fault("image_stamp_jump", f"the image is stamped {-age_s:.1f} s in the future: the clocks differ")
    return None


class ImageWatch:
    """Watches the images of one episode. The first fault stays; a new episode takes a new watch.

    `size` (height, width) is what the policy needs; None: that of the first image. A camera whose pixels never change
    is frozen only if the arm moved meanwhile: images of an arm at rest may well be the same, simulated ones always are.
    """

    def __init__(
        self, config: ImageWatchConfig, now_s: float, size: tuple[int, int] | None = None, topic: str = topics.IMAGE
    ):
        self.config = config
        self._size, self._topic = size, topic
        self._fault: Fault | None = None
        self._last_s, self._last_ns = now_s, 0  # the newest good image: when it came, and its stamp
        self._seen = False
        self._bad = 0  # images in a row, and what is wrong with the last one
        self._why: Fault | None = None
        self._poses: deque[tuple[int, tuple[float, float, float]]] = deque(maxlen=_POSES_KEPT)
        self._pixels, self._stamps = Repetition(), Repetition()
        self._first_ns = 0  # stamp of the first image with the present pixels
        self._start: tuple[float, float, float] | None = None  # where the arm was then
        self._moved = Repetition()  # images with the same pixels, counted from where the arm has moved

    def pose(self, position_m: tuple[float, float, float], stamp_ns: int) -> None:
        """Note where the arm is; what is not finite is passed over."""
        if all(map(math.isfinite, position_m)):
            self._poses.append((stamp_ns, position_m))

    def image(self, rgb: np.ndarray, stamp_ns: int, now_ns: int, now_s: float) -> bool:
        """Take an image [H, W, 3]; returns whether it may be acted on. `now_ns`: the clock that stamps are of."""
        if self._stamps.update(stamp_ns, now_s):
            if self._stamps.lasts(self.config.frozen_images, self.config.frozen_after_s, now_s):
                self._set(Fault("image_frozen", f"{self._stamps.count} images in a row have the same stamp"))
            return False  # what was seen is not seen again
        if self._size is None:
            self._size = rgb.shape[:2]
        why = self._stamp_jump(stamp_ns) or self._fault_of(rgb, stamp_ns, now_ns)
        if why:
            self.bad(why)
            return False
        self._last_s, self._last_ns, self._seen, self._bad = now_s, stamp_ns, True, 0
        self._watch_pixels(rgb, stamp_ns, now_s)
        return self._fault is None

    def bad(self, why: Fault) -> None:
        """Note an image that cannot be used, and why."""
        self._bad, self._why = self._bad + 1, why
        if self._bad >= self.config.bad_images:
            self._set(why)

    def fault(self, now_s: float) -> str | None:
        """What is wrong with the images ("image_stale: topic image_raw: ..."), or None."""
        limit_s = self.config.image_timeout_s
        if now_s - self._last_s > limit_s:
            came = "the newest came before" if self._seen else "none came"
            if self._bad and self._why:
                came = f"those that came cannot be used: {self._why.sentence}"
            self._set(Fault("image_stale", f"no new image for {limit_s:g} s ({came})"))
        return self._fault.on(self._topic) if self._fault else None

    def _set(self, fault: Fault) -> None:
        self._fault = self._fault or fault

    def _stamp_jump(self, stamp_ns: int) -> Fault | None:
        back_s = (self._last_ns - stamp_ns) / 1e9
        if back_s <= self.config.stamp_tolerance_s:
            return None
        return Fault("image_stamp_jump", f"the image is stamped {back_s:.1f} s before the one before it")

    def _fault_of(self, rgb: np.ndarray, stamp_ns: int, now_ns: int) -> Fault | None:
        config = self.config
        stamp = stamp_fault(stamp_ns, now_ns, config.image_timeout_s, config.stamp_tolerance_s)
        return stamp or pixel_fault(rgb, self._size, config.black_below, config.uniform_below)

    def _watch_pixels(self, rgb: np.ndarray, stamp_ns: int, now_s: float) -> None:
        if not self._pixels.update(fingerprint(rgb), now_s):
            self._first_ns, self._start, self._moved = stamp_ns, None, Repetition()
            return
        # Known once a pose of a later moment has come: on a busy machine poses are later than images.
        if self._start is None and self._poses and self._poses[-1][0] >= self._first_ns:
            self._start = self._position_at(self._first_ns)
        here = self._position_at(stamp_ns)
        if self._start is None or here is None:
            return
        moved_m = math.dist(here, self._start)
        self._moved.update(moved_m > self.config.frozen_motion_m, now_s)
        if moved_m > self.config.frozen_motion_m and self._moved.lasts(
            self.config.frozen_images, self.config.frozen_after_s, now_s
        ):
            same = f"{self._pixels.count} images in a row have the same pixels"
            self._set(Fault("image_frozen", f"{same}, while the arm moved by {moved_m * 1e3:.0f} mm"))

    def _position_at(self, stamp_ns: int) -> tuple[float, float, float] | None:
        """Where the arm was at a moment: the last pose before it, or else the first one known."""
        for pose_ns, position in reversed(self._poses):
            if pose_ns <= stamp_ns:
                return position
        return self._poses[0][1] if self._poses else None


class SourceWatch:
    """What is wrong with the images of a source, for whoever looks at the camera; nothing is held back for it."""

    def __init__(self, frozen_after_s: float):
        self._frozen_after_s = frozen_after_s
        self._pixels = Repetition()
        self._newest: np.ndarray | None = None
        self._size: tuple[int, int] | None = None  # of the source's first image
        self._source_size: tuple[int, int] | None = None

    def image(self, rgb: np.ndarray, source_size: tuple[int, int], now_s: float) -> None:
        """Take an image [H, W, 3] as published; `source_size` (height, width) is that before crop and resize."""
        self._pixels.update(fingerprint(rgb), now_s)
        self._newest, self._source_size = rgb, source_size
        self._size = self._size or source_size

    def same_s(self, now_s: float) -> float:
        """How long the pixels have been the same [s]; 0.0 while they change."""
        return now_s - self._pixels.since_s if self._pixels.count > 1 else 0.0

    def fault(self, now_s: float) -> Fault | None:
        """What is wrong now; an image that only stands still may be that of a scene in which nothing moves."""
        if self._newest is None or self._source_size is None or self._size is None:
            return None
        fault = size_fault(self._source_size, self._size) or pixel_fault(self._newest)
        if fault is None and self._pixels.lasts(2, self._frozen_after_s, now_s):
            fault = Fault("image_frozen", f"the same pixels for {self.same_s(now_s):.0f} s")
        return fault
