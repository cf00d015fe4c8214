"""Curves over a training: its losses, and what its checkpoints reach (figure 5 of the paper)."""

import csv
import json
from pathlib import Path

from am_ros.errors import AmRosError
from am_ros.learning import checkpoint

COLUMNS = ("run", "update", "trained_s", "task", "trials", "successes", "success_rate", "ci_low", "ci_high",
           "success_once_rate", "median_distance_m", "checkpoint")  # fmt: skip


def find_checkpoints(folder) -> list[Path]:
    """The checkpoints that a training kept, by their update; `folder` may be a checkpoint itself.

    They lie in the folder or in one of its folders: `checkpoint/`, `checkpoints/<any name>/`. Of several of one update,
    one is taken. Raises AmRosError if there is none or one is damaged.
    """
    folder = Path(folder)
    found = [p.parent for depth in ("", "*/", "*/*/") for p in folder.glob(f"{depth}checkpoint.json")]
    by_update: dict[int, Path] = {}
    for path in found:
        if not any(part.startswith(".") for part in path.relative_to(folder).parts):  # of a save that was cut off
            by_update.setdefault(checkpoint.load(path).meta["update"], path)
    if not by_update:
        raise AmRosError(f"{folder}: holds no checkpoint")
    return [by_update[update] for update in sorted(by_update)]


def curve_rows(summaries: dict[str, dict[str, dict]], runs: dict[str, str]) -> list[dict]:
    """One row per checkpoint and task, run by run and by update; `runs` names the training of each checkpoint."""
    rows = []
    for folder, summary in summaries.items():
        meta = checkpoint.load(folder).meta
        for task, figures in summary.items():
            low, high = figures["ci95"]
            values = (runs[folder], meta["update"], meta.get("trained_s"), task, figures["trials"],
                      figures["successes"], figures["success_rate"], low, high, figures["success_once_rate"],
                      figures["distance_m"]["median"], folder)  # fmt: skip
            rows.append(dict(zip(COLUMNS, values, strict=True)))
    order = list(runs.values())
    return sorted(rows, key=lambda row: (order.index(row["run"]), row["update"]))


def write_curve(rows: list[dict], folder) -> Path:
    """Write success_curve.csv, .json and .png into the folder; returns the path of the picture."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "success_curve.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    (folder / "success_curve.json").write_text(json.dumps(rows, indent=2, allow_nan=False) + "\n")
    return success_curve(rows, folder / "success_curve.png")


def success_curve(rows: list[dict], path) -> Path:
    """Draw success over updates per task, a line per training with its 95 % interval as a band (figure 5)."""
    tasks, runs = (list(dict.fromkeys(row[key] for row in rows)) for key in ("task", "run"))
    columns = min(4, len(tasks))
    lines = -(-len(tasks) // columns)
    figure, axes = new_figure(lines, columns, figsize=(1 + 3.4 * columns, 3.1 * lines), sharey=True)
    for axis, task in zip(axes.flat, tasks, strict=False):
        for run in runs:
            mine = [row for row in rows if (row["task"], row["run"]) == (task, run)]
            updates = [row["update"] for row in mine]
            axis.fill_between(
                updates, [row["ci_low"] for row in mine], [row["ci_high"] for row in mine], alpha=0.15, linewidth=0
            )
            label = run if len(runs) > 1 else "at the end"
            axis.plot(updates, [row["success_rate"] for row in mine], marker="o", markersize=4, label=label)
            if len(runs) == 1:
                once = [row["success_once_rate"] for row in mine]
                axis.plot(updates, once, ":", color="grey", label="at any time")
        trials = next(row["trials"] for row in rows if row["task"] == task)
        axis.set(title=f"{task} ({trials} trials)", xlabel="update", ylim=(-0.02, 1.02))
        axis.grid(alpha=0.3)
    for axis in axes.flat[len(tasks) :]:
        axis.axis("off")
    axes[0, 0].set_ylabel("success, 95 % interval")
    axes[0, 0].legend(frameon=False)
    return save_figure(figure, path)


def learning_curve(metrics_csv, path) -> Path:
    """Draw the losses and Q-values in a trainer's metrics.csv over its updates."""
    try:
        with Path(metrics_csv).open() as file:
            rows = [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]
    except (OSError, ValueError, TypeError) as error:
        raise AmRosError(f"{metrics_csv}: cannot be read as a training log ({error})") from None
    if not rows:
        raise AmRosError(f"{metrics_csv}: holds no rows")
    updates = [row["update"] for row in rows]
    labels = {
        "q_seen": "seen action, goal reached later",
        "q_seen_random_goal": "seen action, random goal",
        "q_unseen": "unseen actions",
    }
    told = [name for name in labels if name in rows[0]]  # cloning has no Q
    figure, (axes,) = new_figure(1, 2 if told else 1, figsize=(11 if told else 5.5, 4))
    for name in ("loss_positive", "loss_negative", "loss_prior"):
        if name in rows[0]:
            axes[0].plot(updates, [row[name] for row in rows], label=name.removeprefix("loss_"))
    axes[0].set(xlabel="update", ylabel="loss", yscale="log", title="losses")
    for name in told:
        axes[-1].plot(updates, [row[name] for row in rows], label=labels[name])
    if told:
        axes[-1].set(xlabel="update", ylabel="mean Q", ylim=(0, 1), title="what Q says")
    for axis in axes:
        if axis.lines:
            axis.legend(frameon=False)
        axis.grid(alpha=0.3)
    return save_figure(figure, path)


def new_figure(rows: int, columns: int, **options):
    """A figure and its axes [rows, columns]; needs no display and no backend of the caller's."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=options.pop("figsize"), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def save_figure(figure, path) -> Path:
    """Write a figure; returns the path. Raises AmRosError if the disk refuses."""
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=110)
    except OSError as error:
        raise AmRosError(f"{path}: cannot be written ({error.strerror})") from None
    return path
