"""Success rates with honest intervals, and what a list of trials adds up to."""

import math
from dataclasses import dataclass, field

import numpy as np


@dataclass
class Trial:
    """One trial: a scene, a goal, and how it ended."""

    task: str
    seed: int
    success: bool  # the task's goal is reached when the trial ends
    success_once: bool  # it was reached after any step
    steps: int
    end: str  # terminated, step_limit, or a fault
    distance_m: float
    best_distance_m: float
    final_q: float = math.nan
    decision_ms: list[float] = field(default_factory=list)
    frames: list[np.ndarray] = field(default_factory=list, repr=False)  # uint8 [H, W, 3] per step, the last included
    goal_image: np.ndarray | None = field(default=None, repr=False)


def wilson_interval(successes: int, trials: int, z: float = 1.96) -> tuple[float, float]:
    """95 % score interval of a proportion (Wilson, 1927); (0, 1) without trials."""
    if trials == 0:
        return 0.0, 1.0
    p = successes / trials
    centre = (p + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z / (1 + z * z / trials) * math.sqrt(p * (1 - p) / trials + z * z / (4 * trials * trials))
    return max(0.0, centre - half), min(1.0, centre + half)


def summarise(trials: list[Trial]) -> dict[str, dict]:
    """Per task: trials, successes, success_rate, ci95, success_once_rate, steps, ends, distance, decision times."""
    summary = {}
    for task in dict.fromkeys(t.task for t in trials):
        mine = [t for t in trials if t.task == task]
        successes = sum(t.success for t in mine)
        ends: dict[str, int] = {}
        for trial in mine:
            ends[trial.end] = ends.get(trial.end, 0) + 1
        summary[task] = {
            "trials": len(mine),
            "successes": successes,
            "success_rate": successes / len(mine),
            "ci95": list(wilson_interval(successes, len(mine))),
            "success_once_rate": sum(t.success_once for t in mine) / len(mine),
            "mean_steps": float(np.mean([t.steps for t in mine])),
            "median_distance_m": float(np.median([t.distance_m for t in mine])),
            "ends": ends,
            "decision_ms": percentiles([ms for t in mine for ms in t.decision_ms]),
        }
    return summary


def percentiles(values: list[float]) -> dict[str, float | None]:
    """Median and 99th percentile; None without values."""
    if not values:
        return {"p50": None, "p99": None}
    return {"p50": float(np.percentile(values, 50)), "p99": float(np.percentile(values, 99))}


def table(summary: dict[str, dict]) -> str:
    """The summary as a table for people."""
    lines = [
        f"{'task':<14}{'trials':>7}{'success':>9}{'95 % interval':>17}{'at any time':>13}{'steps':>7}{'decision':>11}"
    ]
    for task, row in summary.items():
        low, high = row["ci95"]
        decision = row["decision_ms"]["p50"]
        lines.append(
            f"{task:<14}{row['trials']:>7}{row['success_rate']:>9.0%}{f'{low:.0%} ... {high:.0%}':>17}"
            f"{row['success_once_rate']:>13.0%}{row['mean_steps']:>7.1f}"
            f"{'-' if decision is None else f'{decision:.1f} ms':>11}"
        )
    return "\n".join(lines)
