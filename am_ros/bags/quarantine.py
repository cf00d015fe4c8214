"""Where unfinished bags of dead processes go, out of the way of the new ones."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from am_ros.bags.writer import UNFINISHED, is_being_written

QUARANTINE = "quarantine"
Report: TypeAlias = Callable[[bool, str], None]  # told whether something is a problem, and a sentence


def say_nothing(problem: bool, text: str) -> None:
    """A report that nobody wants."""


def quarantine(folder: Path, report: Report = say_nothing) -> list[Path]:
    """Move unfinished bags of dead processes to `folder/quarantine/`; return where they are now."""
    moved = []
    for path in sorted(folder.glob("*" + UNFINISHED)):
        if is_being_written(path):
            continue
        target = folder / QUARANTINE / path.name
        for n in range(1, 1000):
            if not target.exists():
                break
            target = folder / QUARANTINE / f"{path.name.removesuffix(UNFINISHED)}.{n}{UNFINISHED}"
        target.parent.mkdir(exist_ok=True)
        path.rename(target)
        moved.append(target)
        report(True, f"unfinished bag of an earlier run moved to {target}: `am-ros bags salvage` recovers it")
    return moved
