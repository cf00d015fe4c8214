"""Goals that look as if they were reached: the tool is where the goal shows it, the objects are not.

Hindsight never shows such a pair: whatever has its tool at the goal's place has its objects there, too. So a network
learns to terminate where the arm is right, and a trial whose grasp missed ends as if it had succeeded. Here the goal is
an observation of another episode, of another scene, with the tool at about the same place.
"""

import numpy as np

from am_ros.episode import STATE_DIM, STATE_NAMES
from am_ros.replay.store import ReplayStore

CANDIDATES = 512  # observations that are looked through for each batch: the nearest is 3 cm away in the usual workspace
POSITION = [STATE_NAMES.index(name) for name in ("x_m", "y_m", "height_m")]
TURNED = [i for i in range(STATE_DIM) if i not in POSITION]  # opening, sine and cosine
_TURN_M = 0.1  # what another opening or turn (0 ... 1) counts beside a distance


def look_alikes(
    store: ReplayStore, rows: np.ndarray, candidates: np.ndarray, near_m: float
) -> tuple[np.ndarray, np.ndarray]:
    """For rows [n], of candidates [K] the one of another episode whose tool is nearest: goals int64 [n], bool [n].

    The second says whether it is within `near_m` (another opening of the gripper, or turn, counts as a distance too)
    and the robot says at all where its tool is.
    """
    here, there = store.records(rows), store.records(candidates)
    a, b = here["state"][:, None], there["state"][None]
    away_m = np.linalg.norm((a - b)[..., POSITION], axis=-1) + _TURN_M * np.abs((a - b)[..., TURNED]).max(axis=-1)
    same = (rows - here["before"])[:, None] == (candidates - there["before"])[None]
    away_m = np.where(same, np.inf, away_m)
    nearest = away_m.argmin(axis=1)
    found: np.ndarray = (away_m[np.arange(len(rows)), nearest] < near_m) & here["state"].any(axis=1)
    return candidates[nearest], found
