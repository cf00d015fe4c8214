"""Contact sheets of trials and curves of trainings, as PNG files."""

import csv
from pathlib import Path

import cv2
import numpy as np

from am_ros.errors import AmRosError
from am_ros.evaluation.statistics import Trial

_TILE = 128
_LABEL = 22
_GREEN, _RED, _GREY = (40, 150, 60), (200, 50, 45), (90, 90, 90)


def contact_sheet(trial: Trial, path, columns: int = 8) -> Path:
    """Draw a trial as tiles: start, steps, end, and the goal with a coloured frame; returns the path."""
    frames = list(trial.frames)
    if not frames or trial.goal_image is None:
        raise AmRosError(f"trial {trial.task} {trial.seed}: has no pictures to draw")
    names = ["start"] + [f"step {i}" for i in range(1, len(frames))]
    if len(frames) > 1:
        names[-1] = f"end (step {len(frames) - 1})"
    colour = _GREEN if trial.success else _RED
    tiles = [_tile(f, n, _GREY) for f, n in zip(frames, names, strict=True)]
    tiles[-1] = _tile(frames[-1], names[-1], colour)
    tiles.append(_tile(trial.goal_image, "GOAL", (30, 80, 190)))
    while len(tiles) % columns and len(tiles) > columns:
        tiles.append(np.full_like(tiles[0], 255))
    rows = [np.hstack(tiles[i : i + columns]) for i in range(0, len(tiles), columns)]
    word = "reached" if trial.success else "missed"
    title = f"{trial.task}, scene {trial.seed}: {word}, {trial.distance_m * 100:.1f} cm from the goal, {trial.end}"
    return _write(path, np.vstack([_title(title, rows[0].shape[1], colour), *rows]))


def overview(trials: list[Trial], path, columns: int = 4) -> Path:
    """One small picture per trial: start, end and goal side by side, framed green (reached) or red."""
    tiles = []
    for trial in trials:
        colour = _GREEN if trial.success else _RED
        if not trial.frames:  # a fault before the first step
            continue
        parts = [
            _tile(trial.frames[0], "start", _GREY),
            _tile(trial.frames[-1], "end", colour),
            _tile(trial.goal_image, "goal", (30, 80, 190)),
        ]
        tiles.append(np.pad(np.hstack(parts), ((4, 4), (4, 4), (0, 0)), constant_values=255))
    if not tiles:
        raise AmRosError(f"{path}: no trial has pictures to draw")
    while len(tiles) % columns:
        tiles.append(np.full_like(tiles[0], 255))
    rows = [np.hstack(tiles[i : i + columns]) for i in range(0, len(tiles), columns)]
    return _write(path, np.vstack(rows))


def learning_curve(metrics_csv, path) -> Path:
    """Draw the losses and Q-values in a trainer's metrics.csv over its updates."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    try:
        with Path(metrics_csv).open() as file:
            rows = [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]
    except (OSError, ValueError, TypeError) as error:
        raise AmRosError(f"{metrics_csv}: cannot be read as a training log ({error})") from None
    if not rows:
        raise AmRosError(f"{metrics_csv}: holds no rows")
    updates = [row["update"] for row in rows]
    figure, axes = pyplot.subplots(1, 2, figsize=(11, 4), layout="constrained")
    for name in ("loss_positive", "loss_negative", "loss_prior"):
        if name in rows[0]:
            axes[0].plot(updates, [row[name] for row in rows], label=name.removeprefix("loss_"))
    axes[0].set(xlabel="update", ylabel="loss", yscale="log", title="losses")
    labels = {
        "q_seen": "seen action, goal reached later",
        "q_seen_random_goal": "seen action, random goal",
        "q_unseen": "unseen actions",
    }
    for name, label in labels.items():
        axes[1].plot(updates, [row[name] for row in rows], label=label)
    axes[1].set(xlabel="update", ylabel="mean Q", ylim=(0, 1), title="what Q says")
    for axis in axes:
        axis.legend(frameon=False)
        axis.grid(alpha=0.3)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
    return path


def _tile(rgb: np.ndarray, label: str, colour) -> np.ndarray:
    tile = cv2.resize(rgb, (_TILE, _TILE), interpolation=cv2.INTER_NEAREST if rgb.shape[0] < _TILE else cv2.INTER_AREA)
    tile = cv2.copyMakeBorder(tile, _LABEL, 3, 3, 3, cv2.BORDER_CONSTANT, value=colour)
    cv2.putText(tile, label, (6, 15), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (255, 255, 255), 1, cv2.LINE_AA)
    return tile


def _title(text: str, width: int, colour) -> np.ndarray:
    band = np.full((26, width, 3), 255, np.uint8)
    cv2.putText(band, text, (6, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.5, colour, 1, cv2.LINE_AA)
    return band


def _write(path, rgb: np.ndarray) -> Path:
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)):
        raise AmRosError(f"{path}: the picture could not be written")
    return path
