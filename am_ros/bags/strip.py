"""Draw an episode as one picture: its images in a row, under each what was decided there."""

import cv2
import numpy as np

from am_ros.action import CLOSE, TERMINATE, ActionSpace
from am_ros.episode import Episode

TILE_PX = 176
CAPTION_PX = 62
PER_ROW = 8
_FONT, _FONT_SCALE, _INK, _PAPER = cv2.FONT_HERSHEY_SIMPLEX, 0.4, (20, 20, 20), 255


def draw_strip(episode: Episode, action_space: ActionSpace) -> np.ndarray:
    """RGB picture, uint8 [height, width, 3]: the T+1 images, `PER_ROW` in a row, with displacement and gripper."""
    info = episode.info
    count = len(episode) + 1
    columns, rows = min(count, PER_ROW), -(-count // PER_ROW)
    title = (
        f"{info.episode_id}  task {info.task or '-'}  goal {info.goal_id or '-'}  {info.source}  "
        f"{len(episode)} steps  {info.outcome.name.lower()} {info.reason}"
    )
    picture = np.full((24 + rows * (TILE_PX + CAPTION_PX), columns * TILE_PX, 3), _PAPER, np.uint8)
    _write(picture, title, 4, 16)
    for t in range(count):
        top, left = 24 + t // PER_ROW * (TILE_PX + CAPTION_PX), t % PER_ROW * TILE_PX
        picture[top : top + TILE_PX, left : left + TILE_PX] = _tile(episode.images[t])
        for line, text in enumerate(_caption(episode, action_space, t)):
            _write(picture, text, left + 4, top + TILE_PX + 16 + 18 * line)
    return picture


def _caption(episode: Episode, action_space: ActionSpace, t: int) -> list[str]:
    where = f"t {t}  {(episode.stamps_ns[t] - episode.stamps_ns[0]) / 1e9:.1f} s  open {episode.states[t][0]:.2f}"
    if t == len(episode):
        return [where, "end"]
    vector = episode.actions[t]
    if vector[TERMINATE]:
        return [where, "terminate"]
    action = action_space.from_vector(vector)
    x, y, z = (100 * v for v in action.translation_m)
    grip = "close" if vector[CLOSE] else "open"
    return [where, f"{x:+.1f} {y:+.1f} {z:+.1f} cm", f"{np.degrees(action.rotation_z_rad):+.0f} deg, {grip}"]


def _tile(image: np.ndarray) -> np.ndarray:
    """The image in a square of TILE_PX, its aspect kept; small images are enlarged without blur."""
    height, width = image.shape[:2]
    scale = TILE_PX / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    scaled = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST)
    tile = np.full((TILE_PX, TILE_PX, 3), _PAPER, np.uint8)
    tile[: scaled.shape[0], : scaled.shape[1]] = scaled
    return tile


def _write(picture: np.ndarray, text: str, x: int, y: int) -> None:
    cv2.putText(picture, text, (x, y), _FONT, _FONT_SCALE, _INK, 1, cv2.LINE_AA)
