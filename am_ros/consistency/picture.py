"""Goal, today's view, and both in one picture: what agrees, and where the rest has gone."""

import textwrap

import cv2
import numpy as np

from am_ros.consistency.check import Consistency, Finding

TILE_PX, TITLE_PX, FOOT_PX = 240, 20, 38
_COLOURS = {
    Finding.CONSISTENT: (30, 130, 50),
    Finding.MOVED: (190, 40, 35),
    Finding.SCENE_DIFFERS: (190, 40, 35),
    Finding.UNDECIDED: (150, 110, 0),
}


def draw(goal: np.ndarray, now: np.ndarray, found: Consistency) -> np.ndarray:
    """Three tiles and the finding, uint8 RGB [298, 720, 3].

    In the third what is darker in the goal is red and what is darker now is cyan, so that what lies in the same place
    is grey; patches that agree at the estimated shift are framed green, and an arrow says where they went.
    """
    then, today = _tile(goal), _tile(now)
    rows = [np.hstack([_titled(t, name) for t, name in zip([then, today, _overlay(then, today, goal, found)],
            ("goal", "now", "dark in goal: red, dark now: cyan"), strict=True)])]  # fmt: skip
    foot = np.full((FOOT_PX, rows[0].shape[1], 3), 255, np.uint8)
    text = found.sentence.replace("°", " deg").replace("±", "+-")
    for number, line in enumerate(textwrap.wrap(text, 115)[:2]):
        _text(foot, line, (5, 14 + 16 * number), _COLOURS[found.finding], 0.36)
    return np.vstack([*rows, foot])


def _tile(rgb: np.ndarray) -> np.ndarray:
    shrink = max(rgb.shape[:2]) > TILE_PX
    return cv2.resize(rgb, (TILE_PX, TILE_PX), interpolation=cv2.INTER_AREA if shrink else cv2.INTER_CUBIC)


def _overlay(goal_tile: np.ndarray, now_tile: np.ndarray, goal: np.ndarray, found: Consistency) -> np.ndarray:
    goal_grey, now_grey = (cv2.cvtColor(t, cv2.COLOR_RGB2GRAY) for t in (goal_tile, now_tile))
    picture = np.ascontiguousarray(np.dstack([now_grey, goal_grey, goal_grey]))
    agrees = found.registration.agrees
    side = TILE_PX / len(agrees)
    for row, column in np.argwhere(agrees):
        corner = round((column + 0.25) * side), round((row + 0.25) * side)
        far = round((column + 0.75) * side), round((row + 0.75) * side)
        cv2.rectangle(picture, corner, far, (40, 170, 60), 1)
    if found.finding == Finding.MOVED:
        scale = TILE_PX / found.compared_px
        height = found.compared_px * goal.shape[0] / goal.shape[1]
        centre = np.array([[[found.compared_px / 2, height / 2]]])
        there = cv2.perspectiveTransform(centre, found.registration.warp)
        start, end = (tuple(round(float(x)) for x in p[0, 0] * scale) for p in (centre, there))
        cv2.arrowedLine(picture, start, end, (230, 160, 0), 2, cv2.LINE_AA, tipLength=0.25)
    return picture


def _titled(tile: np.ndarray, text: str) -> np.ndarray:
    band = np.full((TITLE_PX, tile.shape[1], 3), 70, np.uint8)
    _text(band, text, (5, 14), (255, 255, 255), 0.4)
    return np.vstack([band, tile])


def _text(picture: np.ndarray, text: str, corner, colour, size: float) -> None:
    cv2.putText(picture, text, corner, cv2.FONT_HERSHEY_SIMPLEX, size, colour, 1, cv2.LINE_AA)
