"""What an online fine-tuning has come to: its ledger, improvement.json, by which it also resumes, and the picture."""

import json
from pathlib import Path

from am_ros.errors import AmRosError
from am_ros.evaluation.curves import new_figure, save_figure
from am_ros.sim.dataset_card import write_atomically

NAME, PICTURE = "improvement.json", "improvement.png"


class Ledger:
    """`plan` (flat JSON data) says what is run, `rounds` what was done of it: one row per policy, see loop.py.

    Raises AmRosError if the folder holds the ledger of another plan: its curve would mix two experiments.
    """

    def __init__(self, out: Path, plan: dict):
        self.path = Path(out) / NAME
        self.plan = json.loads(json.dumps(plan))  # tuples become lists, as in the file
        self.rounds: list[dict] = []
        if self.path.exists():
            self._resume()

    def _resume(self) -> None:
        try:
            there = json.loads(self.path.read_text(encoding="utf-8"))
            plan, self.rounds = dict(there["plan"]), list(there["rounds"])
        except (OSError, ValueError, TypeError, KeyError):
            raise AmRosError(f"{self.path}: is damaged; delete the file to have it made anew") from None
        # A parameter that one of the two does not know is from another version of am_ros.
        different = [name for name in plan if name in self.plan and plan[name] != self.plan[name]]
        if different:
            names = ", ".join(different)
            raise AmRosError(f"{self.path}: was begun with another {names}; choose another folder or the same values")

    def row(self, number: int) -> dict:
        """The row of policy `number`; a new one if there is none."""
        while len(self.rounds) <= number:
            self.rounds.append({"round": len(self.rounds)})
        return self.rounds[number]

    def save(self) -> None:
        """Write the ledger, whole or not at all."""
        try:
            write_atomically(
                self.path, json.dumps({"plan": self.plan, "rounds": self.rounds}, indent=2, allow_nan=False) + "\n"
            )
        except OSError as error:
            raise AmRosError(f"{self.path}: cannot be written ({error.strerror})") from None

    def last_rate(self, part: str) -> float | None:
        """The latest success rate of `collection` or `evaluation`; None before the first."""
        return next((row[part]["success_rate"] for row in reversed(self.rounds) if part in row), None)


def improvement_curve(rounds: list[dict], task: str, path) -> Path:
    """Draw success over the episodes that a policy had learned from: when judged, and when it collected the next."""
    figure, ((axis,),) = new_figure(1, 1, figsize=(7, 4.2))
    parts = (
        ("evaluation", "o", "judged on held-out scenes"),
        ("collection", "s", "while it collects, with exploration"),
    )
    for part, marker, label in parts:
        rows = [row for row in rounds if part in row]
        if not rows:
            continue
        episodes = [row["episodes_before"] for row in rows]
        rates = [row[part]["success_rate"] for row in rows]
        (line,) = axis.plot(episodes, rates, marker=marker, markersize=4, label=label)
        band = zip(*(row[part]["ci95"] for row in rows), strict=True)
        axis.fill_between(episodes, *band, alpha=0.15, linewidth=0, color=line.get_color())
        if part == "evaluation":
            once = [row[part]["success_once_rate"] for row in rows]
            axis.plot(episodes, once, ":", color="grey", label="judged, reached at any time")
    axis.set(title=task, xlabel="episodes collected before", ylabel="success, 95 % interval", ylim=(-0.02, 1.02))
    axis.grid(alpha=0.3)
    axis.legend(frameon=False)
    return save_figure(figure, path)
