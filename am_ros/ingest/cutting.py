"""Where episodes start and end in the stream of images, by markers, gripper events or pauses."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from am_ros.bags.labels import LABELS
from am_ros.episode import Outcome
from am_ros.ingest.mapping import Mapping
from am_ros.ingest.steps import is_open
from am_ros.ingest.sync import Jump, Seen, Unusable
from am_ros.ingest.values import Marker

_OUTCOMES = {"success": Outcome.SUCCESS, "failure": Outcome.FAILURE}


class End(NamedTuple):
    """The episode that was under way is over."""

    reason: str
    complete: bool = False  # it ended where the mapping's `cut` says, so its last state was meant
    discard: bool = False
    outcome: Outcome = Outcome.UNKNOWN
    label: str = ""


class Cutter:
    """Passes on the images that belong to an episode, and an End where one is over."""

    def __init__(self, mapping: Mapping):
        self._config = mapping.episodes
        self._awaits_end = False  # a marker that ends it will come
        self._recording = self._config.cut != "marker"
        self._open: bool | None = None  # the gripper, when last seen
        self._end_ns: int | None = None  # where the episode ends after a gripper event
        self._image_ns: int | None = None
        self._seen_ns: int | None = None
        self.outside = 0  # images between episodes

    def run(self, items: Iterable) -> Iterator[Seen | End | Unusable]:
        """The images of all episodes, an End after each, and what could not be used on the way."""
        for item in items:
            if isinstance(item, Marker):
                yield from self._marker(item)
            elif isinstance(item, Jump):
                self._image_ns = self._seen_ns = self._end_ns = None
                yield End(item.reason)
            else:
                yield from self._image(item)
        if self._awaits_end:
            yield End("end marker missing", discard=True)
        else:
            yield self._pause("bag_end")

    def _pause(self, reason: str) -> End:
        """Nothing comes any more; after a gripper event that is as good as the time that was to pass."""
        released, self._end_ns = self._end_ns is not None, None
        return End("gripper" if released else reason, complete=released or self._config.cut == "gap")

    def _marker(self, marker: Marker) -> Iterator[End]:
        self._awaits_end = marker.kind in ("start", "again")
        if marker.kind in ("start", "next", "again"):
            if marker.kind == "next":
                yield End("marker", complete=True)
            elif marker.kind == "again" and self._recording:  # nobody says how the first try went
                yield End("started anew before an end, the first try is dropped", discard=True)
            self._recording = True
            return
        if self._recording:
            discard = marker.kind == "discard"
            yield End(
                "discarded by marker" if discard else "marker",
                complete=not discard,
                discard=discard,
                outcome=_OUTCOMES.get(marker.kind, Outcome.UNKNOWN),
                label=marker.kind if marker.kind in LABELS else "",
            )
        self._recording = False

    def _image(self, item: Seen | Unusable) -> Iterator[Seen | End | Unusable]:
        stamp, limit_ns = item.stamp_ns, self._config.gap_s * 1e9
        if self._image_ns is not None and stamp - self._image_ns > limit_ns:
            yield self._pause("gap")
        elif self._seen_ns is not None and stamp - self._seen_ns > limit_ns:
            self._seen_ns = None
            yield End("observations_missing")
        self._image_ns = stamp
        if isinstance(item, Unusable):
            if self._recording:
                yield item
            return
        self._seen_ns = stamp
        if self._end_ns is not None and stamp >= self._end_ns:
            self._end_ns = None
            yield End("gripper", complete=True)
        self._watch_gripper(item)
        if self._recording:
            yield item
        else:
            self.outside += 1

    def _watch_gripper(self, seen: Seen) -> None:
        before, self._open = self._open, is_open(seen, self._open)
        if self._config.cut != "gripper" or before is None or before == self._open or self._end_ns is not None:
            return
        if self._open == (self._config.gripper_event == "opens"):
            self._end_ns = seen.stamp_ns + round(self._config.after_s * 1e9)
