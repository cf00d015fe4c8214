"""What a look at the cell found: one line each, with what to do about it."""

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass

OK, WARNING, WRONG = "ok", "warning", "wrong"


@dataclass(frozen=True)
class Finding:
    """`name` never changes and is for scripts; `seen` and `mend` are for people."""

    level: str
    name: str
    seen: str
    mend: str = ""

    def __str__(self) -> str:
        return f"{self.level:8}{self.name:22}{self.seen}" + (f" -> {self.mend}" if self.mend else "")


def ok(name: str, seen: str) -> Finding:
    """As it should be."""
    return Finding(OK, name, seen)


def warning(name: str, seen: str, mend: str) -> Finding:
    """It works, and is likely not what was meant."""
    return Finding(WARNING, name, seen, mend)


def wrong(name: str, seen: str, mend: str) -> Finding:
    """With this the cell does not work, or not safely."""
    return Finding(WRONG, name, seen, mend)


def worst(findings: Iterable[Finding]) -> str:
    """The worst level among them."""
    return max((f.level for f in findings), key=(OK, WARNING, WRONG).index, default=OK)


def summary(findings: list[Finding]) -> str:
    """How many of each, as one line."""
    counts = [sum(f.level == level for f in findings) for level in (WRONG, WARNING, OK)]
    return "{} wrong, {} warning{}, {} ok".format(counts[0], counts[1], "s" * (counts[1] != 1), counts[2])


def as_json(findings: list[Finding], **about) -> dict:
    """For `--json`: whether all is well, what was looked at, and every finding."""
    return {"ok": worst(findings) != WRONG, **about, "findings": [dataclasses.asdict(f) for f in findings]}
