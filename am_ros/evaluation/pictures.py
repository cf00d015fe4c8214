"""Pictures of trials: a contact sheet each, and per task an overview and an animation."""

import io
from pathlib import Path

import numpy as np

from am_ros.errors import AmRosError
from am_ros.evaluation.drawing import BLUE, GREEN, GREY, LABEL, RED, TILE, goal_tile, grid, tile, title, write_png
from am_ros.evaluation.statistics import Trial

OVERVIEW_TRIALS = 100  # more rows than that nobody looks at
ANIMATED = 3  # trials of either kind
STEP_MS, LAST_STEP_MS = 350, 2000
MAX_ANIMATION_BYTES = 1_000_000


def contact_sheet(trial: Trial, path, columns: int = 8) -> Path:
    """Draw a trial as tiles: start, steps, end, and the goal with a coloured frame; returns the path."""
    frames = list(trial.frames)
    if not frames or trial.goal_image is None:
        raise AmRosError(f"trial {trial.task} {trial.seed}: has no pictures to draw")
    colour = GREEN if trial.success else RED
    tiles = [tile(frame, _moment(i, len(frames)), GREY) for i, frame in enumerate(frames)]
    tiles[-1] = tile(frames[-1], _moment(len(frames) - 1, len(frames)), colour)
    sheet = grid([*tiles, goal_tile(trial.goal_image)], columns)
    text = f"{trial.task}, scene {trial.seed}: {_word(trial)}, {trial.distance_m * 100:.1f} cm from the goal, "
    return write_png(path, np.vstack([title(text + (trial.reason or trial.end), sheet.shape[1], colour), sheet]))


def overview(trials: list[Trial], path, columns: int = 4) -> Path:
    """One small picture per trial: start, end and goal side by side, framed green (reached) or red."""
    tiles = []
    for trial in trials[:OVERVIEW_TRIALS]:
        if not trial.frames:  # a fault before the first step
            continue
        end = tile(trial.frames[-1], "end", GREEN if trial.success else RED)
        parts = [tile(trial.frames[0], f"scene {trial.seed}", GREY), end, goal_tile(trial.goal_image)]
        tiles.append(np.pad(np.hstack(parts), ((4, 4), (4, 4), (0, 0)), constant_values=255))
    if not tiles:
        raise AmRosError(f"{path}: no trial has pictures to draw")
    return write_png(path, grid(tiles, columns))


def animation(trials: list[Trial], path) -> Path:
    """An animated GIF of some trials that reached their goal (above) and some that missed it (below).

    All start together; each stands still, framed green or red, once it has ended. Below 1 MB: the pictures get
    smaller until they are. Raises AmRosError if no trial has pictures.
    """
    trials = [t for t in trials if t.frames]
    kinds = [[t for t in trials if t.success][:ANIMATED], [t for t in trials if not t.success][:ANIMATED]]
    rows = [kind for kind in kinds if kind]
    if not rows:
        raise AmRosError(f"{path}: no trial has pictures to draw")
    for size in (TILE, 96, 64):
        data = _encode_gif(_movie(rows, size))
        if len(data) <= MAX_ANIMATION_BYTES:
            break
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    except OSError as error:
        raise AmRosError(f"{path}: cannot be written ({error.strerror})") from None
    return path


def _movie(rows: list[list[Trial]], size: int) -> list[np.ndarray]:
    columns = max(map(len, rows))
    length = max(len(t.frames) for row in rows for t in row)
    empty = np.full((LABEL + size + 3, 2 * (size + 6), 3), 255, np.uint8)

    def cell(trial: Trial | None, moment: int) -> np.ndarray:
        if trial is None:
            return empty
        last = min(moment, len(trial.frames) - 1)
        ended = last == len(trial.frames) - 1
        colour = GREY if not ended else GREEN if trial.success else RED
        label = f"{trial.seed}: {_word(trial) if ended else _moment(last, len(trial.frames))}"
        return np.hstack([tile(trial.frames[last], label, colour, size), goal_tile(trial.goal_image, size)])

    def picture(moment: int) -> np.ndarray:
        lines = [[cell(t, moment) for t in row + [None] * (columns - len(row))] for row in rows]
        name = title(f"{rows[0][0].task}, step {moment}", columns * empty.shape[1], BLUE)
        return np.vstack([name, *(np.hstack(line) for line in lines)])

    return [picture(moment) for moment in range(length)]


def _encode_gif(frames: list[np.ndarray]) -> bytes:
    from PIL import Image

    # One palette for all and no dithering: what stands still stays the same from frame to frame, and costs nothing.
    # Colours by coverage, not by count: a small block must not take the colour of the next larger thing.
    palette = Image.fromarray(np.vstack([frames[0], frames[-1]])).quantize(256, Image.Quantize.MAXCOVERAGE)
    pictures = [Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    durations = [STEP_MS] * (len(frames) - 1) + [LAST_STEP_MS]
    out = io.BytesIO()
    pictures[0].save(
        out, "GIF", save_all=True, append_images=pictures[1:], duration=durations, loop=0, disposal=1, optimize=False
    )
    return out.getvalue()


def _moment(step: int, frames: int) -> str:
    if step == 0:
        return "start"
    return f"end (step {step})" if step == frames - 1 else f"step {step}"


def _word(trial: Trial) -> str:
    return "reached" if trial.success else "missed"


class Album:
    """The pictures of an evaluation, drawn as its trials come in, so that memory stays bounded.

    <folder>/<task>.png         overview: start, end and goal of each trial
    <folder>/<task>.gif         animation of some reached and some missed goals
    <folder>/<task>/0000.png    contact sheet of scene 0
    """

    def __init__(self, folder):
        self.folder = Path(folder)
        self._trials: dict[str, list[Trial]] = {}

    def add(self, trial: Trial) -> None:
        """Draw the contact sheet; keep start and end, and all steps only of what may be animated."""
        if not trial.frames:
            return
        contact_sheet(trial, self.folder / trial.task / f"{trial.seed:04d}.png")
        mine = self._trials.setdefault(trial.task, [])
        mine.append(trial)
        mine.sort(key=lambda t: t.seed)  # trials end in any order; the pictures are the same all the same
        for other in [t for t in mine if t.success == trial.success][ANIMATED:]:
            other.frames = [other.frames[0], other.frames[-1]]

    def close(self) -> None:
        """Draw overviews and animations."""
        for task, trials in self._trials.items():
            overview(trials, self.folder / f"{task}.png")
            animation(trials, self.folder / f"{task}.gif")
