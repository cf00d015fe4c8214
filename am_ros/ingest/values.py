"""What a gripper's messages and an operator's markers say."""

from collections import deque
from typing import NamedTuple

import numpy as np

from am_ros.errors import AmRosError
from am_ros.ingest.fields import FieldPath
from am_ros.ingest.mapping import GripperRole, MarkerRole, as_text
from am_ros.ingest.stamps import stamp_of

# A number so far beyond the range of the mapping is of another unit; a finger that overshoots stays within it.
_BEYOND, _SURE = 0.5, 5
# All numbers within so little of it, although they change, are of another unit too.
_WITHIN, _CHANGE = 0.05, 0.3
# Fingers go from one end to the other in 0.1 s at best, and not to and fro: so many changes by so much, in this time.
_FLIPS, _FLIP, FLIPS_NS = 8, 0.3, 1_500_000_000
# A level that is sent again and again says the same as often as this; a button pressed again is pressed later.
LEVEL_NS = 1_500_000_000


# A stream that came as regularly as its last messages did, and is silent so many times longer, and so long, stopped.
_REGULAR, _TIMES_LONGER, _SILENT_NS = 50, 20, 1_000_000_000
# Where everything pauses the recording paused: the time between two images counts up to this.
_PAUSE_NS = 500_000_000
# What `Values.add` returns for a message that nobody stamped.
UNSTAMPED = -1


class Values:
    """A gripper's openings by stamp; each holds until the next."""

    KEPT = 5000  # five seconds of 1 kHz

    def __init__(self, role: GripperRole, what: str):
        self._role, self._what = role, what
        self._path = FieldPath(role.field, f"{what}: {role.topic}")
        self._samples: deque[tuple[int, float]] = deque(maxlen=self.KEPT)
        self._low, self._high, self._beyond = np.inf, -np.inf, 0
        self._flips: deque[int] = deque(maxlen=_FLIPS)
        self._intervals_ns: deque[int] = deque(maxlen=_REGULAR)
        self._silent_ns: tuple[int, int] | None = None  # the first silence that hides a change: from, to
        self._last_image_ns = 0
        self._recorded_ns = 0  # for how long images came since the last number

    def add(self, message, receive_ns: int) -> int | None:
        """Take a message; returns its stamp, None if it holds no number there, and UNSTAMPED if its stamp is none."""
        value = self._path.read(message)
        if value is None:  # a joint that comes in messages of its own
            return 0
        try:
            number = float(value)
        except (TypeError, ValueError):
            raise AmRosError(f"{self._what}: field {self._role.field!r} of {self._role.topic} is no number") from None
        if not np.isfinite(number):
            return None
        share = (number - self._role.closed) / (self._role.open - self._role.closed)
        self._low, self._high = min(self._low, number), max(self._high, number)
        self._beyond += not -_BEYOND <= share <= 1 + _BEYOND
        stamp = stamp_of(self._role, message, receive_ns, self._path.header(message))
        if stamp <= 0:
            return UNSTAMPED
        self._watch_flips(stamp, min(1.0, max(0.0, share)))
        if self._samples and stamp < self._samples[-1][0] - 1_000_000_000:  # a clock was set back
            self._samples.clear()
        if self._samples:
            last_ns, before = self._samples[-1]
            if self._stopped(stamp) and abs(min(1.0, max(0.0, share)) - before) > _CHANGE:
                self._silent_ns = self._silent_ns or (last_ns, stamp)
            self._intervals_ns.append(stamp - last_ns)
        self._samples.append((stamp, min(1.0, max(0.0, share))))
        self._recorded_ns = 0
        return stamp

    def lives_on(self, image_ns: int) -> None:
        """An image came at this stamp: whatever is silent is so although the bag goes on."""
        self._recorded_ns += min(_PAUSE_NS, max(0, image_ns - self._last_image_ns))
        self._last_image_ns = image_ns

    def _watch_flips(self, stamp: int, share: float) -> None:
        """Two grippers on one topic: no finger goes to and fro so often."""
        if self._samples and abs(share - self._samples[-1][1]) > _FLIP:
            self._flips.append(stamp)
        if len(self._flips) == self._flips.maxlen and 0 <= stamp - self._flips[0] < FLIPS_NS:
            raise AmRosError(
                f"{self._what}: {self._role.topic}: two sources alternate, one with {self._role.field} at "
                f"{self._low:.4g}, the other at {self._high:.4g}: record one of them (`ros2 topic info -v` names the "
                "publishers)"
            )

    def _stopped(self, now_ns: int) -> bool:
        """Whether it is silent at a stamp although it came regularly; what sends events alone does not."""
        silent_ns = now_ns - self._samples[-1][0] if self._samples else 0
        return (
            len(self._intervals_ns) == _REGULAR
            and self._recorded_ns > _SILENT_NS
            and silent_ns > max(_SILENT_NS, _TIMES_LONGER * max(self._intervals_ns))
        )  # fmt: skip

    @property
    def of_another_unit(self) -> bool:
        """Whether the numbers are far beyond what the mapping says."""
        return self._beyond >= _SURE

    def clear(self) -> None:
        """Forget what was measured: what comes now is of another time."""
        self._samples.clear()

    def at(self, stamp: int) -> float | None:
        """The newest opening at a stamp; None if there was none yet."""
        return next((value for t, value in reversed(self._samples) if t <= stamp), None)

    def missing(self, stamp: int) -> str:
        """Why there is no opening at a stamp, in words."""
        role = self._role
        if not self._samples:
            return f"{self._what}: no number in {role.field} of {role.topic} so far"
        late_s = (self._samples[0][0] - stamp) / 1e9
        return f"{self._what}: the first number on {role.topic} is {late_s:.1f} s later: do the clocks differ?"

    def doubt(self) -> str:
        """What is strange about all numbers so far, in words; empty: nothing."""
        role = self._role
        if self._high < self._low:
            return ""
        largest, span = max(abs(self._low), abs(self._high)), abs(role.open - role.closed)
        if role.closed == 0 and largest < _WITHIN * span and self._high - self._low > _CHANGE * largest:
            return f"{self._seen()}: always closed. {self._guess()}"
        return ""

    def silence(self, end_ns: int | None) -> str:
        """Where the last number holds for longer than it may be true, in words; empty: nowhere. `end_ns`: the end."""
        if end_ns is not None and self._stopped(end_ns):
            self._silent_ns = self._silent_ns or (self._samples[-1][0], end_ns)
        if self._silent_ns is None:
            return ""
        begin, end = self._silent_ns
        return (
            f"{self._what}: {self._role.topic} stopped at {begin / 1e9:.3f} s, for {(end - begin) / 1e9:.1f} s: its "
            "last number was taken for all that time"
        )

    def refusal(self) -> str:
        """The numbers seen, what they would mean, and what they may be, in words."""
        return f"{self._seen()}. {self._guess()}"

    def _seen(self) -> str:
        role = self._role
        shares = sorted(100 * (n - role.closed) / (role.open - role.closed) for n in (self._low, self._high))
        return (
            f"{self._what}: {role.field} of {role.topic} goes from {self._low:.6g} to {self._high:.6g}, which with "
            f"`open: {role.open:g}, closed: {role.closed:g}` is {shares[0]:.5g} to {shares[1]:.5g} % open"
        )

    def _guess(self) -> str:
        """What the numbers may mean."""
        largest = max(abs(self._low), abs(self._high))
        units = (
            (1.2, "metres, radians, or a share: `open:` and `closed:` are the numbers when fully open and closed"),
            (100.5, "per cent (`open: 100, closed: 0`), or millimetres or degrees of the gripper"),
            (255.5, "a byte, as of Robotiq (`open: 0, closed: 255`), or millimetres or degrees of the gripper"),
            (1000.5, "per mille or tenths of millimetres (`open:` as the number when fully open)"),
        )
        return f"It may be {next((text for limit, text in units if largest <= limit), 'steps of its motor')}"


class Marker(NamedTuple):
    """What an operator says: start, end, success, failure, good, bad, discard, again (a start that takes back the one
    before), or next: an end and a start."""

    stamp_ns: int
    kind: str


class Markers:
    """Reads what an operator's messages say."""

    KINDS = ("discard", "success", "failure", "good", "bad", "end", "start")

    def __init__(self, role: MarkerRole, type_name: str):
        empty = type_name == "std_msgs/msg/Empty"
        self._role, self._path = role, None if empty else FieldPath(role.field, f"marker: {role.topic}")
        self._kinds = {v.strip().lower(): kind for kind in reversed(self.KINDS) for v in getattr(role, kind)}
        if empty or not (role.end or role.success or role.failure or role.good or role.bad):
            self._kinds = {value: "next" if kind == "start" else kind for value, kind in self._kinds.items()}
        self._last: Marker | None = None

    def unknown(self, message) -> str:
        """Which value is not known, and which are, in words."""
        value = "" if self._path is None else as_text(self._path.read(message))
        return f"{self._role.topic} says {value[:40]!r}; the mapping knows {', '.join(map(repr, self._kinds))}"

    def read(self, message, receive_ns: int) -> Marker | None:
        """The marker; None if its value is not known."""
        kind = "next" if self._path is None else self._kinds.get(as_text(self._path.read(message)).strip().lower())
        if kind is None:
            return None
        header = None if self._path is None else self._path.header(message)
        marker, last = Marker(stamp_of(self._role, message, receive_ns, header), kind), self._last
        self._last = marker
        if kind == "start" and last is not None and last.kind == "start":
            # Sent again and again it is a level, in which each says the same; after a pause somebody began anew.
            return marker if marker.stamp_ns - last.stamp_ns < LEVEL_NS else marker._replace(kind="again")
        return marker
