"""The bricks of all pictures of trials: labelled tiles, titles, PNG files."""

from pathlib import Path

import cv2
import numpy as np

from am_ros.errors import AmRosError

TILE = 128  # [px]
LABEL = 22  # height of a tile's label [px]
GREEN, RED, GREY, BLUE = (40, 150, 60), (200, 50, 45), (90, 90, 90), (30, 80, 190)


def tile(rgb: np.ndarray, label: str, colour, size: int = TILE) -> np.ndarray:
    """A square picture with a coloured frame and its label above."""
    enlarged = rgb.shape[0] < size
    picture = cv2.resize(rgb, (size, size), interpolation=cv2.INTER_NEAREST if enlarged else cv2.INTER_AREA)
    picture = cv2.copyMakeBorder(picture, LABEL, 3, 3, 3, cv2.BORDER_CONSTANT, value=colour)
    _text(picture, label, (6, 15), (255, 255, 255), 0.42 if size >= TILE else 0.36)
    return picture


def goal_tile(goal_image: np.ndarray | None, size: int = TILE) -> np.ndarray:
    """The goal image; one of zeros, or none, is what a task without goal image gives its policy."""
    if goal_image is None:
        goal_image = np.zeros((size, size, 3), np.uint8)
    return tile(goal_image, "GOAL" if goal_image.any() else "no goal image", BLUE, size)


def title(text: str, width: int, colour) -> np.ndarray:
    """A line of text on white, [26, width, 3]."""
    band = np.full((26, width, 3), 255, np.uint8)
    _text(band, text, (6, 18), colour, 0.5)
    return band


def grid(tiles: list[np.ndarray], columns: int) -> np.ndarray:
    """Tiles of one size in rows; what is missing in the last row is white."""
    columns = min(columns, len(tiles))
    tiles = tiles + [np.full_like(tiles[0], 255)] * (-len(tiles) % columns)
    return np.vstack([np.hstack(tiles[i : i + columns]) for i in range(0, len(tiles), columns)])


def write_png(path, rgb: np.ndarray) -> Path:
    """Write a picture; raises AmRosError if the disk refuses."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)):
        raise AmRosError(f"{path}: the picture could not be written")
    return path


def _text(picture: np.ndarray, text: str, corner, colour, size: float) -> None:
    cv2.putText(picture, text, corner, cv2.FONT_HERSHEY_SIMPLEX, size, colour, 1, cv2.LINE_AA)
