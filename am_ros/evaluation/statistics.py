"""Success rates with honest intervals, and what a list of trials adds up to."""

import math
from collections import Counter
from dataclasses import dataclass, field

import numpy as np


@dataclass
class Trial:
    """One trial: a scene, a goal, and how it ended."""

    task: str
    seed: int  # number of the scene in the evaluation set
    success: bool  # the task's goal is reached when the trial ends
    success_once: bool  # it was reached after any step
    steps: int
    end: str  # terminated, step_limit, cancelled or fault
    distance_m: float
    best_distance_m: float
    final_q: float = math.nan  # of the last decision; NaN without Q
    decision_ms: list[float] = field(default_factory=list)
    reason: str = ""  # of a fault, in one sentence
    actor: str = ""  # who acted
    frames: list[np.ndarray] = field(default_factory=list, repr=False)  # uint8 [H, W, 3] per step, the last included
    goal_image: np.ndarray | None = field(default=None, repr=False)  # uint8 [H, W, 3]; all zeros: the task has none


def wilson_interval(successes: int, trials: int, z: float = 1.96) -> tuple[float, float]:
    """95 % score interval of a proportion (Wilson, 1927); (0, 1) without trials."""
    if trials == 0:
        return 0.0, 1.0
    p = successes / trials
    centre = (p + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z / (1 + z * z / trials) * math.sqrt(p * (1 - p) / trials + z * z / (4 * trials * trials))
    return max(0.0, centre - half), min(1.0, centre + half)


def summarise(trials: list[Trial]) -> dict[str, dict]:
    """Per task, in the order of the trials: rates with 95 % intervals, steps, ends, distances, decision times.

    Every number is finite; what has no value (steps of successes where there are none) is None.
    """
    return {task: _figures([t for t in trials if t.task == task]) for task in dict.fromkeys(t.task for t in trials)}


def _figures(trials: list[Trial]) -> dict:
    count, successes, once = len(trials), sum(t.success for t in trials), sum(t.success_once for t in trials)
    distances = [t.distance_m for t in trials if math.isfinite(t.distance_m)]
    return {
        "trials": count,
        "successes": successes,
        "success_rate": successes / count,
        "ci95": list(wilson_interval(successes, count)),
        "success_once_rate": once / count,
        "success_once_ci95": list(wilson_interval(once, count)),
        "mean_steps": _mean([t.steps for t in trials]),
        "mean_steps_of_successes": _mean([t.steps for t in trials if t.success]),
        "ends": dict(sorted(Counter(t.end for t in trials).items())),
        "distance_m": {
            "median": _percentile(distances, 50),
            "mean": _mean(distances),
            "p90": _percentile(distances, 90),
        },
        "decision_ms": percentiles([ms for t in trials for ms in t.decision_ms]),
    }


def with_trial_list(summary: dict[str, dict], trials: list[Trial]) -> dict[str, dict]:
    """The summary with a `trial_list` per task: each trial by itself, as JSON data without NaN."""
    return {
        task: figures | {"trial_list": [_record(t) for t in trials if t.task == task]}
        for task, figures in summary.items()
    }


def _record(trial: Trial) -> dict:
    numbers = {name: getattr(trial, name) for name in ("distance_m", "best_distance_m", "final_q")}
    return {
        "seed": trial.seed, "success": bool(trial.success), "success_once": bool(trial.success_once),
        "steps": int(trial.steps), "end": trial.end, **({"reason": trial.reason} if trial.reason else {}),
        **{name: float(value) if math.isfinite(value) else None for name, value in numbers.items()},
    }  # fmt: skip


def percentiles(values: list[float]) -> dict[str, float | None]:
    """Median and 99th percentile; None without values."""
    return {"p50": _percentile(values, 50), "p99": _percentile(values, 99)}


def _percentile(values: list[float], q: float) -> float | None:
    return float(np.percentile(values, q)) if values else None


def _mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None


def table(summary: dict[str, dict]) -> str:
    """The summary as a table for people."""
    lines = [
        f"{'task':<20}{'trials':>7}{'success':>9}{'95 % interval':>17}{'at any time':>13}{'steps':>7}"
        f"{'distance':>10}{'decision':>11}"
    ]
    for task, row in summary.items():
        low, high = row["ci95"]
        decision, distance = row["decision_ms"]["p50"], row["distance_m"]["median"]
        lines.append(
            f"{task:<20}{row['trials']:>7}{row['success_rate']:>9.0%}{f'{low:.0%} ... {high:.0%}':>17}"
            f"{row['success_once_rate']:>13.0%}{row['mean_steps']:>7.1f}"
            f"{'-' if distance is None else f'{distance * 100:.1f} cm':>10}"
            f"{'-' if decision is None else f'{decision:.1f} ms':>11}"
        )
    return "\n".join(lines)
