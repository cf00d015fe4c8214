"""From images with poses to an episode: which images, and the actions that led from one to the next."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from am_ros.action import OPEN_ABOVE, ActionSpace, CartesianAction, Gripper
from am_ros.episode import Episode, EpisodeInfo, state_vector
from am_ros.errors import AmRosError
from am_ros.ingest.dropped import Dropped
from am_ros.ingest.mapping import Steps
from am_ros.ingest.sync import Seen

COMMAND_OPENS_ABOVE = 0.5
# Stamps jitter: an image that comes this much of the step time early is the one that was meant.
EARLY = 0.02
SHOWS_NOTHING = ("black image", "uniform image")  # as images.fault_of begins
OTHER_SIZE = "smaller than the crop"  # as Pictures.decode begins
NOT_DECODED = "cannot be decoded"


class Kept(NamedTuple):
    """An observation of the episode."""

    seen: Seen  # without its message
    image: np.ndarray


class StepPicker:
    """Picks the observations of one episode as images come by."""

    def __init__(self, config: Steps, action_space: ActionSpace, decode: Callable, counts: Dropped):
        self._config, self._space, self._decode, self._counts = config, action_space, decode, counts
        self.kept: list[Kept] = []
        self.shared = 0  # observations that another episode has too
        self._candidate: Seen | None = None  # the newest image since the last observation, within reach of it
        self._anchor: Seen | None = None  # the last observation before it was replaced: slow motion adds up
        self.refused = False  # whether a step was beyond the action space and is not to be split

    def __len__(self) -> int:
        return max(0, len(self.kept) - 1)

    def begin_with(self, kept: Kept) -> None:
        """Go on from the last observation of another episode."""
        self.kept, self._anchor, self.shared = [kept], kept.seen, 1

    def add(self, seen: Seen) -> bool:
        """Take the next image. False if it is out of reach of all before: the episode ends there."""
        if not self.kept:
            self._keep(seen)
            return True
        last = self.kept[-1].seen
        due = (seen.stamp_ns - last.stamp_ns) / 1e9 >= self._config.time_s * (1 - EARLY)
        if not self._within_reach(last, seen):
            if self._config.too_large == "refuse":
                if due:
                    self.refused = True
                    self._keep(seen)
                return True
            if self._candidate is None:
                return False
            self._counts["steps split at an image in between"] += 1
            self._keep(self._candidate)
            return self.add(seen)
        self._candidate = seen
        if due:
            self._pick(last, seen)
        return True

    def finish(self) -> None:
        """No more images: what has moved since the last observation is a step too, however short."""
        if self._candidate is not None and self.kept:
            self._pick(self.kept[-1].seen, self._candidate)

    def episode(self, info: EpisodeInfo, terminate: bool) -> Episode:
        """The observations with the actions between them; with `terminate`, one more that says so."""
        kept = [*self.kept, self.kept[-1]] if terminate else self.kept
        actions = [self._action(a.seen, b.seen) for a, b in zip(self.kept, self.kept[1:], strict=False)]
        if terminate:
            actions.append(self._space.to_vector(CartesianAction(terminate=True)))
        states = [state_vector(k.seen.pose.position_m, k.seen.pose.yaw_rad, k.seen.opening) for k in kept]
        stamps = np.array([k.seen.stamp_ns for k in kept], np.int64)
        return Episode(info, np.stack([k.image for k in kept]), np.array(states), np.array(actions), stamps)

    def _pick(self, last: Seen, seen: Seen) -> None:
        if self._anchor is None or not self._still(self._anchor, seen):
            self._keep(seen)
        # Standing still is no step, but the newest image tells more of what is to come than the one before the pause.
        elif (len(self.kept) < 2 or self._within_reach(self.kept[-2].seen, seen)) and self._keep(seen, replace=True):
            self._counts["images without motion, replaced by later ones"] += 1

    def _keep(self, seen: Seen, replace: bool = False) -> bool:
        self._candidate = None
        try:
            image = self._decode(seen.message)
        except AmRosError as error:
            what = str(error).partition(":")[0]  # without the numbers, of which each image has its own
            kind = what if what in (*SHOWS_NOTHING, OTHER_SIZE) else NOT_DECODED
            self._counts.note(f"images: {kind}", f"the image of {seen.stamp_ns / 1e9:.3f} s: {error}")
            return False
        if replace:
            self.kept.pop()
        else:
            self._anchor = seen
        self.kept.append(Kept(seen._replace(message=None), image))
        return True

    def _within_reach(self, a: Seen, b: Seen) -> bool:
        try:
            self._space.check(CartesianAction(*_motion(a, b)))
        except AmRosError:
            return False
        return True

    def _still(self, a: Seen, b: Seen) -> bool:
        translation, turn = _motion(a, b)
        moved = math.hypot(*translation) > self._config.still_m or abs(turn) > self._config.still_rad
        grips = abs(b.opening - a.opening) > self._config.gripper_moves or self._gripper(a, b) != self._standing(a)
        return not (moved or grips)

    def _standing(self, seen: Seen) -> Gripper:
        """What the gripper does where nothing is commanded."""
        return Gripper.HOLD if seen.command is None else self._commanded(seen.command)

    @staticmethod
    def _commanded(command: float) -> Gripper:
        return Gripper.OPEN if command > COMMAND_OPENS_ABOVE else Gripper.CLOSE

    def _gripper(self, a: Seen, b: Seen) -> Gripper:
        """What was commanded between two images, or what its measured opening tells of that."""
        if b.command is not None:
            return self._commanded(b.command)
        change = b.opening - a.opening
        if abs(change) <= self._config.gripper_moves:
            return Gripper.HOLD
        return Gripper.OPEN if change > 0 else Gripper.CLOSE

    def _action(self, a: Seen, b: Seen) -> np.ndarray:
        return self._space.to_vector(CartesianAction(*_motion(a, b), self._gripper(a, b)), a.opening)


def is_open(seen: Seen, was_open: bool | None) -> bool:
    """Whether the gripper is open: as commanded, else as measured, with a margin against flutter."""
    if seen.command is not None:
        return seen.command > COMMAND_OPENS_ABOVE
    return seen.opening > OPEN_ABOVE - (0.1 if was_open else 0.0)


def _motion(a: Seen, b: Seen) -> tuple[tuple[float, float, float], float]:
    """Displacement [m] and turn [rad] from one to the other."""
    x, y, z = (b.pose.position_m - a.pose.position_m).tolist()
    return (x, y, z), math.remainder(b.pose.yaw_rad - a.pose.yaw_rad, math.tau)
