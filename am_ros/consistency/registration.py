"""Where the static parts of one picture lie in another, though the arm, the objects and the light are different.

A search over all shifts (by correlation) for a few turns and sizes gives candidates. Each is refined on the patches
that agree, by OpenCV's enhanced correlation, and judged by how many do: arm and objects agree on little else.
"""

import itertools
import math
from dataclasses import dataclass, replace
from functools import lru_cache

import cv2
import numpy as np

# Larger pictures are averaged down to this: noise goes, and 1 px of it is 0.2 degrees of a camera of 32 degrees.
WORK_PX, SEARCH_PX = 160, 80
ROLLS_DEG, SCALES = (-12.0, -8.0, -4.0, 0.0, 4.0, 8.0, 12.0), (0.92, 1.0, 1.08)
MIN_OVERLAP = 0.4  # of the pictures, or a sliver of each fits somewhere
CANDIDATES, REFINED = 12, 3
GRID = 24  # patches per side; what a patch is compared on is about as wide
# A patch tells something if its standard deviation is above this [of 255]; noise, averaged, is below.
MIN_CONTRAST = 1.0
AGREES_ABOVE = 0.85  # correlation of two patches that show the same; by chance 1 in 50 patches of a plain table has it
# Found from no shift at all: believed if so many of the compared patches agree, and if nowhere else so many times more.
MIN_STILL, OUTVOTED_BY = 0.05, 2.5
# A small shift is believed if so many times more patches agree there: at 1 degree it is more than twice as many.
DRIFT_PAYS = 1.25


@dataclass(frozen=True)
class Registration:
    """How one picture becomes the other."""

    warp: np.ndarray  # [3, 3]: pixels of the first picture -> pixels of the second
    agrees: np.ndarray  # bool [GRID, GRID]: patches of the first picture that the second one shows at their new place
    compared: np.ndarray  # bool [GRID, GRID]: patches with contrast in both
    uncertainty_px: float  # standard deviation of the shift in its least certain direction, pixels of the first picture
    still: bool = True  # found from no shift at all, not by the search

    @property
    def matched(self) -> float:
        """Share of the compared patches that agree."""
        return float(self.agrees.sum() / max(1, self.compared.sum()))

    @property
    def spread(self) -> float:
        """How far apart the patches that agree lie: 1 all over the picture, 0 on a line; the arm is in one place."""
        if self.agrees.sum() < 3:
            return 0.0
        places = np.argwhere(self.agrees) / GRID
        return 12 * math.sqrt(max(0.0, np.linalg.det(np.cov(places.T))))


def register(first: np.ndarray, second: np.ndarray) -> Registration:
    """What takes `first` to `second`, uint8 RGB [H, W, 3] of the same size.

    That nothing moved is believed before anything else: what agrees there cannot do so by chance, while the arm, in two
    similar poses, agrees with itself somewhere else, and may be larger than what is left of the table.
    """
    scale = min(1.0, WORK_PX / max(first.shape[:2]))
    a, b = (_prepare(rgb, scale) for rgb in (first, second))
    unmoved = _judge(a, b, np.eye(3))
    still, *found = [_refined(a, b, warp) for warp in (np.eye(3), *_candidates(a, b))]
    still = still if still.agrees.sum() >= DRIFT_PAYS * unmoved.agrees.sum() else unmoved
    best = max([still, *found], key=lambda r: r.agrees.sum() * r.spread)
    believed = still.matched >= MIN_STILL and still.agrees.sum() * OUTVOTED_BY >= best.agrees.sum()
    chosen = still if believed else replace(best, still=best is still)
    to_work = np.array([[scale, 0, (scale - 1) / 2], [0, scale, (scale - 1) / 2], [0, 0, 1]])
    warp = np.linalg.inv(to_work) @ chosen.warp @ to_work
    return replace(chosen, warp=warp / warp[2, 2], uncertainty_px=chosen.uncertainty_px / scale)


def _prepare(rgb: np.ndarray, scale: float) -> np.ndarray:
    """Grey, float32, at working size, slightly smoothed."""
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    if scale < 1:
        grey = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return cv2.GaussianBlur(grey.astype(np.float32), (0, 0), 0.8)


def _normalised(grey: np.ndarray) -> np.ndarray:
    """Local contrast set to one, so that a faint grain counts like the edge of the arm; clipped."""
    sigma = max(grey.shape) / 24
    detail = grey - cv2.GaussianBlur(grey, (0, 0), sigma)
    spread = np.sqrt(cv2.GaussianBlur(detail * detail, (0, 0), sigma))
    return np.clip(detail / (spread + MIN_CONTRAST), -2.5, 2.5)


def _candidates(a: np.ndarray, b: np.ndarray) -> list[np.ndarray]:
    """Warps [3, 3] at which the pictures correlate best, of all shifts, a few turns and sizes."""
    scale = min(1.0, SEARCH_PX / max(a.shape))
    grey_a, grey_b = (cv2.resize(x, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) for x in (a, b))
    a, b = _normalised(grey_a), _normalised(grey_b)
    height, width = a.shape
    padded = cv2.getOptimalDFTSize(2 * height), cv2.getOptimalDFTSize(2 * width)

    def transform(x):
        return np.fft.rfft2(x, padded)

    def correlate(x, y):
        return np.fft.irfft2(np.conj(x) * y, padded)

    whole = np.ones_like(a)
    fb, fb2, f1 = transform(b), transform(b * b), transform(whole)
    peaks = []
    for roll, size in itertools.product(ROLLS_DEG, SCALES):
        turn = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), roll, size)
        turned, mask = (cv2.warpAffine(x, turn, (width, height)) for x in (a, whole))
        f_mask = transform(mask)
        overlap = correlate(f_mask, f1) / a.size
        energy = correlate(transform(turned * turned), f1) * correlate(f_mask, fb2)
        score = correlate(transform(turned), fb) / np.sqrt(np.maximum(energy, 1.0)) * np.sqrt(np.maximum(overlap, 0))
        score[overlap < MIN_OVERLAP] = -1
        for _ in range(2):
            y, x = np.unravel_index(np.argmax(score), score.shape)
            dy, dx = (y + height) % padded[0] - height, (x + width) % padded[1] - width
            warp = np.vstack([turn, (0, 0, 1)])
            warp[:2, 2] += dx, dy
            peaks.append((float(score[y, x]), warp))
            rows, columns = ((np.arange(-4, 5) + at) % n for at, n in zip((y, x), padded))
            score[np.ix_(rows, columns)] = -1
    best: list[tuple[int, np.ndarray]] = []
    for _, warp in sorted(peaks, key=lambda p: -p[0]):
        if all(_distance(warp, other, height) > 3 for _, other in best):
            best.append((int(_judge(grey_a, grey_b, warp).agrees.sum()), warp))
        if len(best) == CANDIDATES:
            break
    up = np.array([[1 / scale, 0, (1 / scale - 1) / 2], [0, 1 / scale, (1 / scale - 1) / 2], [0, 0, 1]])
    return [up @ warp @ np.linalg.inv(up) for _, warp in sorted(best, key=lambda p: -p[0])[:REFINED]]


def _distance(one: np.ndarray, other: np.ndarray, size: float) -> float:
    """Largest distance of where two warps take the corners [px]."""
    corners = np.array([[[0, 0]], [[size, 0]], [[0, size]], [[size, size]]], np.float64)
    return float(np.abs(cv2.perspectiveTransform(corners, one) - cv2.perspectiveTransform(corners, other)).max())


def _refined(a: np.ndarray, b: np.ndarray, warp: np.ndarray) -> Registration:
    """The best of the candidate itself and its refinements, each on the patches that agreed before it."""
    best = _judge(a, b, warp)
    na, nb = _normalised(a), _normalised(b)
    for motion in (cv2.MOTION_EUCLIDEAN, cv2.MOTION_EUCLIDEAN, cv2.MOTION_AFFINE, cv2.MOTION_HOMOGRAPHY):
        refined = _ecc(na, nb, best, motion)
        if refined is None:
            continue
        judged = _judge(a, b, refined)
        # More freedom fits the arm and the noise too: it has to pay.
        gain = 1.0 if motion == cv2.MOTION_EUCLIDEAN else 1.08
        if judged.agrees.sum() >= gain * best.agrees.sum():
            best = judged
    return best


def _ecc(a: np.ndarray, b: np.ndarray, start: Registration, motion: int) -> np.ndarray | None:
    """OpenCV's alignment by enhanced correlation, on the patches that agree; None if it does not converge."""
    height, width = a.shape
    agrees = start.agrees if start.agrees.sum() >= 8 else np.ones_like(start.agrees)
    mask = cv2.resize(agrees.astype(np.uint8) * 255, (width, height), interpolation=cv2.INTER_NEAREST)
    mask = cv2.warpPerspective(mask, start.warp, (width, height), flags=cv2.INTER_NEAREST)
    rows = 3 if motion == cv2.MOTION_HOMOGRAPHY else 2
    matrix: np.ndarray = np.ascontiguousarray(start.warp[:rows], np.float32)
    stop = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 15, 1e-4)
    try:
        _, matrix = cv2.findTransformECC(a, b, matrix, motion, stop, mask, 3)
    except cv2.error:
        return None
    warp = np.eye(3)
    warp[:rows] = matrix
    return warp if np.isfinite(warp).all() and abs(np.linalg.det(warp[:2, :2])) > 0.3 else None


def _judge(a: np.ndarray, b: np.ndarray, warp: np.ndarray) -> Registration:
    """Compare patch by patch at a warp."""
    height, width = a.shape
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    moved = cv2.warpPerspective(b, warp, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    inside = cv2.warpPerspective(np.ones_like(b), warp, (width, height), flags=flags)
    sigma = max(a.shape) / 24

    def mean(x):
        return cv2.GaussianBlur(x, (0, 0), sigma)

    mean_a, mean_b = mean(a), mean(moved)
    variance_a, variance_b = mean(a * a) - mean_a**2, mean(moved * moved) - mean_b**2
    covariance = mean(a * moved) - mean_a * mean_b
    correlation = covariance / np.sqrt(np.maximum(variance_a * variance_b, 1e-3))
    contrast = np.sqrt(np.maximum(np.minimum(variance_a, variance_b), 0))
    at = _patch_centres(height, width)
    compared = (contrast[at] > MIN_CONTRAST) & (mean(inside)[at] > 0.9)
    agrees = compared & (correlation[at] > AGREES_ABOVE)
    return Registration(warp, agrees, compared, _uncertainty(a, moved, agrees))


def _uncertainty(a: np.ndarray, moved: np.ndarray, agrees: np.ndarray) -> float:
    """Standard deviation of the shift in its least certain direction [px], from gradients and what is left over."""
    height, width = a.shape
    mask = cv2.resize(agrees.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST) > 0
    if mask.sum() < 16:
        return math.inf
    na, nb = _normalised(a)[mask], _normalised(moved)[mask]
    gx, gy = (cv2.Sobel(_normalised(a), cv2.CV_32F, *d, ksize=3, scale=1 / 8)[mask] for d in ((1, 0), (0, 1)))
    tensor = np.array([[gx @ gx, gx @ gy], [gx @ gy, gy @ gy]], np.float64)
    # Neighbouring pixels are not independent after smoothing: about one in six is.
    left = np.median(np.abs(na - nb)) * 1.48
    weakest = np.linalg.eigvalsh(tensor)[0] / 6
    return float(left / math.sqrt(weakest)) if weakest > 0 else math.inf


@lru_cache(maxsize=4)
def _patch_centres(height: int, width: int):
    rows, columns = (((np.arange(GRID) + 0.5) * n / GRID).astype(int) for n in (height, width))
    return np.ix_(rows, columns)
