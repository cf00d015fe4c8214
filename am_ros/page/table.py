"""Which episodes are shown, and in what order."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from am_ros.bags.index import EpisodeRow

ANY = "any"
COLUMNS = {
    "began": "date", "name": "episode", "task": "task", "label": "label", "outcome": "outcome", "source": "source",
    "steps": "steps", "bytes": "size", "flaws": "flaws",
}  # fmt: skip
_KEYS = {"began": lambda row: row.began_s, "flaws": lambda row: len(row.flaws)}


@dataclass(frozen=True)
class Choice:
    """What is looked for; ANY lets everything through. `text` is lower case."""

    text: str = ""
    task: str = ANY
    label: str = ANY
    outcome: str = ANY
    source: str = ANY
    flaws: str = ANY


def matching(rows: list[EpisodeRow], choice: Choice) -> list[EpisodeRow]:
    """The rows that fit all of it."""
    tests: list[Callable[[EpisodeRow], bool]] = []
    for name in ("task", "label", "outcome", "source"):
        wanted = getattr(choice, name)
        if wanted != ANY:
            tests.append(partial(_has, name, wanted))
    if choice.flaws != ANY:
        tests.append(lambda row: bool(row.flaws) == (choice.flaws == "with flaws"))
    if choice.text:
        tests.append(lambda row: choice.text in " ".join((row.name, row.task, row.goal_id, row.reason)).lower())
    return [row for row in rows if all(test(row) for test in tests)]


def _has(name: str, wanted: str, row: EpisodeRow) -> bool:
    return (getattr(row, name) or "-") == wanted


def ordered(rows: list[EpisodeRow], column: str, descending: bool) -> list[EpisodeRow]:
    """By a column of COLUMNS, then by name."""
    key = _KEYS.get(column, lambda row: getattr(row, column))
    return sorted(sorted(rows, key=lambda row: row.name), key=key, reverse=descending)
