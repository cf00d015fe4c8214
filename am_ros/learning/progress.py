"""How a training stands: for people, for the log."""

from dataclasses import dataclass, field
from pathlib import Path

from am_ros.errors import AmRosError


@dataclass
class Progress:
    """Where the training stands, once a second and at the end."""

    update: int
    updates: int  # planned; 0 where only time ends the training
    updates_per_s: float
    data_wait_share: float
    seconds_left: float
    metrics: dict[str, float] = field(default_factory=dict)
    ended: str = ""  # why, once it has: updates, minutes, cpu_minutes, stopped
    part: str = ""  # of a training of two parts, the first one's name
    limit: str = ""  # which limit comes first, as fast as it goes: updates, minutes, cpu_minutes

    def __str__(self) -> str:
        shown = " ".join(f"{k} {v:.3f}" for k, v in self.metrics.items() if k in ("loss", "q_seen", "q_unseen"))
        left = f"{self.seconds_left:.0f} s left{f' of its {self.limit}' if self.limit else ''}"
        part, planned = f"{self.part}: " if self.part else "", f"/{self.updates}" if self.updates else ""
        return (
            f"{part}update {self.update}{planned}  {self.updates_per_s:.1f} updates/s  "
            f"data wait {self.data_wait_share:.0%}  {f'ended by {self.ended}' if self.ended else left}  {shown}"
        )


class MetricsFile:
    """metrics.csv: one row a second. Rows after a resumed update are dropped."""

    def __init__(self, path: Path, update: int):
        self.path = path
        if path.exists():
            rows = path.read_text().splitlines()
            kept = rows[:1] + [r for r in rows[1:] if r.split(",")[0].isdigit() and int(r.split(",")[0]) <= update]
            path.write_text("".join(row + "\n" for row in kept))

    def write(self, progress: Progress, trained_s: float) -> None:
        values = {
            "update": progress.update,
            "trained_s": round(trained_s, 1),
            "updates_per_s": round(progress.updates_per_s, 2),
            **progress.metrics,
        }
        new = not self.path.exists() or self.path.stat().st_size == 0
        with self.path.open("a") as file:
            if new:
                file.write(",".join(values) + "\n")
            file.write(",".join(f"{v:.6g}" for v in values.values()) + "\n")


class TensorBoardLog:
    """The same figures for TensorBoard, in `folder`. Raises AmRosError if the package is not installed."""

    def __init__(self, folder: Path, update: int):
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise AmRosError(
                "parameter tensorboard: the package tensorboard is not installed; install it, or do without, as "
                "metrics.csv has the same figures"
            ) from None
        self._writer = SummaryWriter(folder, purge_step=update + 1)

    def write(self, progress: Progress, trained_s: float) -> None:
        figures = {**progress.metrics, "updates_per_s": progress.updates_per_s, "trained_s": trained_s}
        for name, value in figures.items():
            self._writer.add_scalar(name, value, progress.update)
        self._writer.flush()


def open_logs(out: Path, update: int, tensorboard: bool) -> "list[MetricsFile | TensorBoardLog]":
    """The logs of a training that goes on from `update`; each has write(progress, trained_s)."""
    logs: list[MetricsFile | TensorBoardLog] = [MetricsFile(out / "metrics.csv", update)]
    return [*logs, TensorBoardLog(out / "tensorboard", update)] if tensorboard else logs
