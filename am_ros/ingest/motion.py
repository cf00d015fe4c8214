"""How far the camera's clock is from the arm's, out of the data: when does the picture move, when the tool?

Between two images the picture changes by so much, and the tool, if the camera's stamps lack so much, has gone so
far. At the right offset both go up and down together: the offset with the largest correlation is taken. The arm is
measured far more often than it is filmed, so the offset is found to a fraction of the time between two images.
"""

from typing import NamedTuple

import numpy as np

from am_ros.ingest.poses import ToolPose

SEARCH_S = 1.0  # offsets up to this are looked for: what is more shows in the times of reception
COARSE_S, FINE_S = 0.02, 0.002
PAIR_S = 0.5  # images further apart are no pair: where the tool went in between nobody knows
MIN_PAIRS = 30
# Below, something else than the arm moves the picture.
MIN_CORRELATION = 0.6
# The turn of a tool moves the picture as so much way does: the fingers' length.
LEVER_M = 0.1


class CameraOffset(NamedTuple):
    """What the camera's stamps lack to be of the arm's clock: `offset_s` of a mapping."""

    offset_s: float
    uncertain_s: float  # how far the parts of the recording differ in it
    correlation: float  # of picture and tool at that offset, 0 ... 1
    pairs: int  # of images
    frame_s: float  # from one image to the next, median

    @property
    def confident(self) -> bool:
        """Whether it can be told at all, to half a frame."""
        return self.correlation >= MIN_CORRELATION and self.uncertain_s < max(0.5 * self.frame_s, 0.02)

    @property
    def disagrees(self) -> bool:
        """Whether the stamps are wrong by more than half a frame, beyond what is uncertain."""
        return self.confident and abs(self.offset_s) > max(0.5 * self.frame_s, 0.02) + self.uncertain_s

    def __str__(self) -> str:
        if not self.confident:
            return f"not told by the pictures (correlation {self.correlation:.2f} of {self.pairs} pairs of images)"
        return (
            f"{self.offset_s:+.3f} s by the pictures (within {1e3 * self.uncertain_s:.0f} ms, correlation "
            f"{self.correlation:.2f} of {self.pairs} pairs of images)"
        )


class MotionOffset:
    """Takes pictures and poses as they come, up to a number of images, and compares them at the end."""

    def __init__(self, images: int):
        """`images`: so many are compared, from the first that come while the tool moves."""
        self._left = images
        self._last: tuple[int, np.ndarray] | None = None
        self._pairs: list[tuple[int, int, float]] = []  # stamps, change of the picture
        self._poses: list[tuple[int, float, float, float, float]] = []  # stamp, x, y, z [m], yaw [rad]

    @property
    def wants_images(self) -> bool:
        """Whether there are fewer images than it wants."""
        return self._left > 0

    def begin_anew(self) -> None:
        """A clock was set back: what was taken so far is enough, or nothing."""
        if len(self._pairs) >= 3 * MIN_PAIRS:
            self._left = 0
        else:
            self._pairs.clear()
            self._poses.clear()
        self._last = None

    def add_image(self, stamp_ns: int, grey: np.ndarray) -> None:
        """An image [H, W], uint8; those of one camera have one size."""
        self._left -= 1
        small = grey.astype(np.int16)
        last, self._last = self._last, (stamp_ns, small)
        if last is None or last[1].shape != small.shape or not 0 < stamp_ns - last[0] < PAIR_S * 1e9:
            return
        change = np.abs(small - last[1] - round(float(small.mean() - last[1].mean())))  # the light may flicker
        self._pairs.append((last[0], stamp_ns, float(change.mean())))

    def add_pose(self, stamp_ns: int, pose: ToolPose) -> None:
        """A pose of the tool."""
        newest = self._poses[-1][0] if self._poses else -1
        wanted = self._left > 0 or (self._pairs and stamp_ns < self._pairs[-1][1] + SEARCH_S * 1e9)
        if wanted and stamp_ns > newest:
            self._poses.append((stamp_ns, *pose.position_m.tolist(), pose.yaw_rad))

    def estimate(self) -> CameraOffset | None:
        """The offset; None if there are too few images, or too few poses about them."""
        if len(self._pairs) < MIN_PAIRS or len(self._poses) < MIN_PAIRS:
            return None
        poses = np.array(self._poses, float)
        base = self._pairs[0][0]
        times = (np.array([p[0] for p in self._poses], np.int64) - base) / 1e9
        values = np.column_stack([poses[:, 1:4], LEVER_M * np.unwrap(poses[:, 4])])
        begin, end = ((np.array([p[i] for p in self._pairs], np.int64) - base) / 1e9 for i in (0, 1))
        seen = _spread([p[2] for p in self._pairs])
        inside = (begin >= times[0] - SEARCH_S) & (end <= times[-1] + SEARCH_S)
        if inside.sum() < MIN_PAIRS:
            return None
        begin, end, seen = begin[inside], end[inside], seen[inside]
        frame_s = float(np.median(end - begin))

        def best(of: slice | np.ndarray) -> tuple[float, float]:
            return _best_offset(times, values, begin[of], end[of], seen[of])

        offset_s, correlation = best(slice(None))
        # Parts of the recording that agree are worth more than any formula of how sure it is.
        thirds = [best(part)[0] for part in np.array_split(np.arange(len(seen)), 3)]
        uncertain_s = float(np.median(np.abs(np.array(thirds) - offset_s)))
        return CameraOffset(offset_s, uncertain_s, correlation, len(seen), frame_s)


def _best_offset(times, values, begin, end, seen) -> tuple[float, float]:
    coarse = np.arange(-SEARCH_S, SEARCH_S + COARSE_S / 2, COARSE_S)
    scores = np.array([_correlation(times, values, begin + o, end + o, seen) for o in coarse])
    around = coarse[int(np.argmax(scores))]
    fine = np.arange(around - COARSE_S, around + COARSE_S + FINE_S / 2, FINE_S)
    scores = np.array([_correlation(times, values, begin + o, end + o, seen) for o in fine])
    top = int(np.argmax(scores))
    return float(fine[top]), float(scores[top])


def _correlation(times, values, begin, end, seen) -> float:
    """Of what the pictures changed by and what the tool went, where it was measured."""
    after = np.searchsorted(times, end)
    inside = (begin >= times[0]) & (after < len(times))
    inside &= np.diff(times, prepend=times[0])[np.minimum(after, len(times) - 1)] < PAIR_S
    if inside.sum() < MIN_PAIRS / 3:
        return 0.0
    begin, end, seen = begin[inside], end[inside], seen[inside]
    went = sum((np.interp(end, times, column) - np.interp(begin, times, column)) ** 2 for column in values.T)
    went = _spread(np.sqrt(went))
    if went.std() < 1e-9 or seen.std() < 1e-9:
        return 0.0
    return float(np.corrcoef(went, seen)[0, 1])


def _spread(amounts) -> np.ndarray:
    """Amounts of motion, made comparable: what a picture changes by saturates, so its root goes with the way."""
    return np.sqrt(np.asarray(amounts, float))
