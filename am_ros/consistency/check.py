"""From a registration to a finding: consistent, moved, another scene, or not to be told."""

import math
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from am_ros.configuration import parameter
from am_ros.consistency.registration import MIN_STILL, Registration, register
from am_ros.errors import AmRosError
from am_ros.images import check_rgb, crop_resize


class Finding(IntEnum):
    """The values are those of am_msgs/CheckGoal."""

    CONSISTENT = 0
    MOVED = 1
    SCENE_DIFFERS = 2
    UNDECIDED = 3


@dataclass(frozen=True)
class ConsistencyConfig:
    """What counts as moved. The defaults follow from docs/consistency.md."""

    max_shift_deg: float = parameter(
        0.7, "moved: the picture is shifted by more, on average [deg]", range=(0.05, 45.0)
    )
    max_shift_share: float = parameter(
        0.021, "the same as a share of the picture's width, where the opening angle is not known", range=(0.001, 0.5)
    )
    min_matched: float = parameter(
        0.12, "scene_differs: the camera is not where it was, and fewer of the compared patches agree at any shift",
        range=(0.01, 1.0),
    )  # fmt: skip
    min_patches: int = parameter(60, "undecided: fewer of the 576 patches can be compared", range=(4, 576))


@dataclass(frozen=True)
class Consistency:
    """A finding and what it rests on. Angles are NaN where the camera's opening angle is not known."""

    finding: Finding
    sentence: str
    registration: Registration
    shift_px: float  # mean over the picture, pixels of the goal image
    shift_deg: float  # the same as an angle between lines of sight
    right_deg: float  # the camera looks so much further right than then
    down_deg: float
    clockwise_deg: float  # the camera was turned about its line of sight, clockwise as seen from behind it
    scale: float  # size of the picture against then
    compared_px: int  # width of the pictures that were compared

    @property
    def ok(self) -> bool:
        """Whether nothing speaks against pursuing the goal; an undecided finding does not."""
        return self.finding in (Finding.CONSISTENT, Finding.UNDECIDED)


def check_view(
    goal: np.ndarray, now: np.ndarray, focal_px: float | None = None, config: ConsistencyConfig | None = None
) -> Consistency:
    """Compare a goal image with today's view, uint8 RGB [H, W, 3].

    `focal_px` is the focal length of the goal image's camera in its pixels; without it no angles are known. A view of
    another size is cropped and resized to the smaller of both. Raises AmRosError for what is not an image.
    """
    config = config or ConsistencyConfig()
    goal, now = check_rgb(goal, "goal image"), check_rgb(now, "view")
    width = goal.shape[1]
    size = min(goal.shape[:2], now.shape[:2])
    if min(size) < 32:
        raise AmRosError(f"goal consistency: pictures of {size[1]}x{size[0]} px tell nothing; 32x32 are the least")
    goal, now = crop_resize(goal, *size), crop_resize(now, *size)
    registration = register(goal, now)
    grown = width / size[1]  # from compared pixels to those of the goal image
    focal = focal_px / grown if focal_px else None
    measures = _measures(registration.warp, size, focal)
    measures["shift_px"] *= grown
    finding, why = _judge(registration, measures, width, config, focal_px)
    sentence = f"{finding.name.lower()}: {why}"
    return Consistency(finding, sentence, registration, compared_px=size[1], **measures)


def _measures(warp: np.ndarray, size: tuple[int, int], focal: float | None) -> dict[str, float]:
    """What a warp of a picture of `size` (height, width) means for the camera."""
    height, width = size
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    grid = np.stack(np.meshgrid(np.linspace(0, width - 1, 9), np.linspace(0, height - 1, 9)), -1).reshape(-1, 2)
    there = _apply(warp, grid)
    middle = _apply(warp, centre[None])[0]
    steps = _apply(warp, centre + np.eye(2)) - middle
    shift_deg = right_deg = down_deg = math.nan
    if focal:
        before, after = (_rays(points - centre, focal) for points in (grid, there))
        shift_deg = float(np.degrees(np.arccos(np.clip((before * after).sum(1), -1, 1))).mean())
        # The picture goes where the camera does not.
        right_deg, down_deg = (-math.degrees(math.atan(d / focal)) for d in middle - centre)
    return {
        "shift_px": float(np.linalg.norm(there - grid, axis=1).mean()),
        "shift_deg": shift_deg,
        "right_deg": right_deg,
        "down_deg": down_deg,
        "clockwise_deg": -math.degrees(math.atan2(steps[0, 1], steps[0, 0])),
        "scale": float(math.sqrt(abs(np.linalg.det(steps)))),
    }


def _judge(
    found: Registration, measures: dict, width: int, config: ConsistencyConfig, focal_px: float | None
) -> tuple[Finding, str]:
    compared, agreeing = int(found.compared.sum()), int(found.agrees.sum())
    of = f"{agreeing} of {compared} patches agree"
    if compared < config.min_patches:
        why = f"only {compared} of {found.compared.size} patches have contrast in both pictures"
        return Finding.UNDECIDED, f"too few features: {why}"
    if found.still and found.matched < MIN_STILL:
        return Finding.UNDECIDED, f"too little of the static parts is seen in both; {of} where the camera was"
    if not found.still and found.matched < config.min_matched:
        why = "another scene, a camera moved far, or a view that the arm or objects cover"
        return Finding.SCENE_DIFFERS, f"at no shift do the pictures fit: {of} at best ({why})"
    limit_px = math.tan(math.radians(config.max_shift_deg)) * focal_px if focal_px else config.max_shift_share * width
    if found.uncertainty_px > limit_px / 2:
        return Finding.UNDECIDED, f"the static parts fix the shift to ±{found.uncertainty_px:.1f} px only; {of}"
    shift = f"mean shift {measures['shift_px']:.1f} px" + (f", {measures['shift_deg']:.1f}°" if focal_px else "")
    if measures["shift_px"] <= limit_px:
        return Finding.CONSISTENT, f"{shift}; {of}"
    return Finding.MOVED, f"the camera {_where(measures)} than for the goal ({shift}; {of})"


def _where(m: dict) -> str:
    """How the camera stands now, in words."""
    parts = []
    if not math.isnan(m["right_deg"]):
        for name, opposite, angle in (("right", "left", m["right_deg"]), ("down", "up", m["down_deg"])):
            if abs(angle) >= 0.1:
                parts.append(f"{abs(angle):.1f}° further {name if angle > 0 else opposite}")
    if abs(m["clockwise_deg"]) >= 0.3:
        sense = "clockwise" if m["clockwise_deg"] > 0 else "counter-clockwise"
        parts.append(f"{abs(m['clockwise_deg']):.1f}° further {sense}")
    if abs(m["scale"] - 1) >= 0.02:
        parts.append("nearer" if m["scale"] > 1 else "further away")
    return ("looks " + ", ".join(parts)) if parts else "looks elsewhere"


def _apply(warp: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points [N, 2] through a homography."""
    there = np.column_stack([points, np.ones(len(points))]) @ warp.T
    return there[:, :2] / there[:, 2:]


def _rays(offsets: np.ndarray, focal: float) -> np.ndarray:
    """Unit vectors [N, 3] of pixels given from the picture's centre."""
    rays = np.column_stack([offsets / focal, np.ones(len(offsets))])
    return rays / np.linalg.norm(rays, axis=1, keepdims=True)
