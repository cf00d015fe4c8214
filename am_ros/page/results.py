"""What trainings and evaluations leave on a disk: metrics.csv, checkpoints, summaries, curves, pictures. No PyTorch."""

import csv
import json
import math
import os
from collections.abc import Iterator
from pathlib import Path

from am_ros.errors import AmRosError
from am_ros.page.source import CheckpointCard, EvaluationCard, TrainingState, folder_of

MAX_POINTS = 400  # of a curve: more than a screen has pixels for
MAX_DEPTH = 4  # folders below the one that was named
MAX_JSON = 20_000_000  # bytes
_SKIPPED = (".", "replay", "log", "quarantine")
_PICTURES = (".png", ".jpg", ".jpeg")


def walk(folder: Path, depth: int = MAX_DEPTH) -> Iterator[tuple[Path, set[str]]]:
    """The folder and those below, each with the names in it; but for bags and hidden ones: those hold no results."""
    try:
        with os.scandir(folder) as listed:
            entries = list(listed)
    except OSError:
        return
    names = {entry.name for entry in entries}
    if "metadata.yaml" in names or any(name.endswith(".mcap") for name in names):
        return
    yield folder, names
    for entry in entries if depth else ():
        if not entry.name.startswith(_SKIPPED) and entry.is_dir(follow_symlinks=False):
            yield from walk(folder / entry.name, depth - 1)


def read_curves(path: Path, limit: int = MAX_POINTS) -> dict[str, list[tuple[float, float]]]:
    """Each column of a metrics.csv over `update`, thinned to `limit`; raises AmRosError that names the file."""
    try:
        with path.open(encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise AmRosError(f"{path}: cannot be read as a training log ({error})") from None
    names = rows[0] if rows else ()
    return curves_of([(name, [(row.get("update"), row.get(name)) for row in rows]) for name in names], limit)


def curves_of(columns, limit: int = MAX_POINTS) -> dict[str, list[tuple[float, float]]]:
    """(name, [(update, value)]) pairs as curves: what is no number is left out, long ones are thinned."""
    curves = {}
    for name, pairs in columns:
        points = [p for p in map(_numbers, pairs) if p is not None]
        if name not in ("update", None) and points:
            curves[name] = thinned(points, limit)
    return curves


def thinned(points: list, limit: int = MAX_POINTS) -> list:
    """At most `limit` of them, evenly, the last one among them."""
    step = max(1, -(-len(points) // limit))
    return points[::-1][::step][::-1]


def read_training(folder: Path, above: Path) -> TrainingState:
    """What lies where a trainer wrote to."""
    curves = read_curves(folder / "metrics.csv")
    last = {name: points[-1] for name, points in curves.items()}
    meta = _json(folder / "checkpoint" / "checkpoint.json") if (folder / "checkpoint").is_dir() else {}
    updates = ((meta.get("config") or {}).get("trainer") or {}).get("updates", 0)
    return TrainingState(
        folder_of(folder, above),
        update=int(max((p[0] for p in last.values()), default=0)),
        updates=updates if isinstance(updates, int) else 0,
        updates_per_s=last.get("updates_per_s", (0, 0.0))[1],
        episodes=_int(meta.get("episodes")),
        transitions=_int(meta.get("transitions")),
        curves={name: points for name, points in curves.items() if name not in ("trained_s", "updates_per_s")},
        success=read_success(folder),
    )


def read_success(folder: Path) -> dict[str, list[tuple[float, float]]]:
    """Success over updates per task, where `am-ros evaluate` wrote a curve beside a training."""
    found: dict[str, list[tuple[float, float]]] = {}
    for path in [folder / "success_curve.json", *sorted(folder.glob("*/success_curve.json"))]:
        if not path.is_file():
            continue
        rows = _json(path)
        for row in rows if isinstance(rows, list) else []:
            point = _numbers((row.get("update"), row.get("success_rate"))) if isinstance(row, dict) else None
            if point:
                found.setdefault(str(row.get("task", "")), []).append(point)
    return found


def read_checkpoint(folder: Path, above: Path) -> CheckpointCard:
    """From its checkpoint.json; its weights are not looked at."""
    name = folder_of(folder, above)
    try:
        meta = _json(folder / "checkpoint.json")
        if not isinstance(meta, dict):
            raise AmRosError(f"{folder}: checkpoint.json is no object")
    except AmRosError as error:
        return CheckpointCard(name, flaw=str(error))
    method = ((meta.get("config") or {}).get("method") or {}).get("method", "")
    return CheckpointCard(
        name,
        update=_int(meta.get("update")),
        trained_s=float(meta.get("trained_s") or 0.0),
        episodes=_int(meta.get("episodes")),
        transitions=_int(meta.get("transitions")),
        method=str(method),
        data_hash=str(meta.get("data_hash", "")),
        image_px=_int(meta.get("image_size")),
        sha256=str(meta.get("sha256", "")),
    )


def read_evaluation(path: Path, above: Path) -> EvaluationCard | None:
    """The table in a file of `am-ros evaluate --json` or `am-ros demo`; None if it is neither."""
    content = _json(path)
    if not isinstance(content, dict):
        return None
    single = any(isinstance(value, dict) and "success_rate" in value for value in content.values())
    tables = {"": content} if single else content
    rows = []
    for policy, tasks in tables.items():
        for task, figures in tasks.items() if isinstance(tasks, dict) else ():
            if isinstance(figures, dict) and "success_rate" in figures and "ci95" in figures:
                rows.append(_row(policy, task, figures))
    if not rows:
        return None
    pictures = sorted(p for f in (path.parent, path.parent / "pictures") if f.is_dir() for p in f.iterdir())
    names = tuple(str(p.relative_to(path.parent)) for p in pictures if p.suffix.lower() in _PICTURES)
    columns = ("policy", "task", "trials", "reached", "95 % interval", "median distance", "decision p50")
    return EvaluationCard(folder_of(path, above), columns, tuple(rows), names[:200])


def _row(policy: str, task: str, figures: dict) -> tuple[str, ...]:
    try:
        low, high = figures["ci95"]
        distance, decision = figures.get("distance_m") or {}, figures.get("decision_ms") or {}
        return (
            policy, task, str(figures.get("trials", "")), f"{figures['success_rate']:.0%}",
            f"{low * 100:.0f} ... {high * 100:.0f} %", _unit(distance.get("median"), 100, "cm"),
            _unit(decision.get("p50"), 1, "ms"),
        )  # fmt: skip
    except (TypeError, ValueError):
        return (policy, task, "", "damaged", "", "", "")


def _unit(value, factor: float, unit: str) -> str:
    return f"{value * factor:.1f} {unit}" if isinstance(value, (int, float)) else ""


def _json(path: Path):
    try:
        if path.stat().st_size > MAX_JSON:
            raise AmRosError(f"{path}: is longer than {MAX_JSON} bytes")
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise AmRosError(f"{path}: cannot be read ({error})") from None


def _numbers(pair) -> tuple[float, float] | None:
    try:
        update, value = map(float, pair)
    except (TypeError, ValueError):
        return None
    return (update, value) if math.isfinite(update) and math.isfinite(value) else None


def _int(value) -> int:
    return value if isinstance(value, int) else 0
