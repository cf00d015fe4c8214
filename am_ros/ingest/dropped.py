"""What was not used: counted by reason, and of each reason the first case in full."""

from collections import Counter


class Dropped(Counter):
    """Counts by reason. `first` holds of each reason one sentence about its first case: topic, stamp, mend."""

    def __init__(self, *counts, first: dict[str, str] | None = None):
        super().__init__(*counts)
        self.first: dict[str, str] = dict(first or {})

    def __reduce__(self):
        return _restored, (dict(self), self.first)

    def note(self, reason: str, sentence: str = "", count: int = 1) -> None:
        """Count a case; the first `sentence` of a reason is kept."""
        self[reason] += count
        if sentence:
            self.first.setdefault(reason, sentence)

    def take(self, other: "Dropped") -> None:
        """Add the counts of another one, and its sentences where there is none yet."""
        self.update(other)
        self.first = {**other.first, **self.first}


def _restored(counts: dict, first: dict) -> Dropped:
    return Dropped(counts, first=first)
