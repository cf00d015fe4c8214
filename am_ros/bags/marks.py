"""What went wrong while a bag was recorded, as its metadata says it: `<mark> <topic>: <how much or what>`."""

from collections.abc import Mapping

from am_ros.episode import EpisodeInfo

MESSAGES_LOST = "messages_lost"  # how many were published and are not in the bag
TYPE_CHANGED = "type_changed"  # what another publisher, or the same one later, sent on the topic; it is not in the bag
STEPS_MISSING = "steps_missing"  # how many of the steps that END speaks of never came
MARKS = (MESSAGES_LOST, TYPE_CHANGED, STEPS_MISSING)
RENAMED = "renamed"  # no fault: what we call a topic that the driver calls otherwise


def marks_of(info: EpisodeInfo) -> list[str]:
    """The marks of an episode, one sentence each; none if its recording went well."""
    return [f"{key}: {value}" for key, value in sorted(info.extra.items()) if key.split(" ")[0] in MARKS]


def own_name(extra: Mapping[str, str], topic: str) -> str:
    """What we call a topic of a bag, as its metadata says it; empty: as it stands there."""
    return extra.get(f"{RENAMED} {topic}", "")


class SequenceGaps:
    """Counts what a subscription lost, from the numbers that a publisher gives to its messages: 1, 2, 3, ...

    Numbers of several publishers, or of one that was started again, come interleaved: a number goes on from the
    nearest one below it, and one below all is of a new publisher. A publisher that was heard late and beside another
    is the one case in which this counts too many.
    """

    STREAMS = 4

    def __init__(self) -> None:
        self._last: list[int] = []  # number of the newest message of each publisher, the newest publisher last

    def lost_before(self, number: int) -> int:
        """How many messages are missing between this one and the one before it; 0 is no number."""
        if number <= 0:
            return 0
        before = max((last for last in self._last if last < number), default=None)
        if before is None:
            self._last = [*self._last[1 - self.STREAMS :], number]
            return 0
        self._last[self._last.index(before)] = number
        return number - before - 1
