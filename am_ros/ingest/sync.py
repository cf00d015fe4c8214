"""Brings images together with where the tool and the gripper were at their stamps, in the order of the stamps."""

from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from am_ros.bags.types import stamp_ns
from am_ros.errors import AmRosError
from am_ros.ingest.dropped import Dropped
from am_ros.ingest.fields import FieldPath
from am_ros.ingest.foreign import ForeignBag, Received
from am_ros.ingest.mapping import RECEIVE, TF, GripperRole, Mapping, MarkerRole, as_text
from am_ros.ingest.pictures import Pictures
from am_ros.ingest.poses import ToolPose, Track, pose_source

# An image waits so long for the poses around it, in the bag's time of reception. The slowest pose is 10 Hz or so.
WAIT_NS = 2_000_000_000
# ... and no more than so many bytes of them: a minute of 30 Hz images in a bag without poses would be gigabytes.
WAITING_BYTES = 200_000_000
JUMP_NS = 1_000_000_000
FAR_NS = 600_000_000_000  # cameras are switched on minutes before anybody demonstrates; clocks differ by more


class Seen(NamedTuple):
    """One image with what was measured at its stamp."""

    stamp_ns: int
    message: object
    pose: ToolPose
    opening: float  # of the gripper, 0 closed ... 1 open
    command: float | None  # the newest command before that time; None: there was none


class Unusable(NamedTuple):
    """An image that cannot be used, and why."""

    stamp_ns: int
    reason: str  # the kind, which is counted
    detail: str = ""  # this very case: topic, numbers, mend; the first of each kind is shown


class Marker(NamedTuple):
    """What an operator says: start, end, success, failure, good, bad, discard, or next: an end and a start."""

    stamp_ns: int
    kind: str


class Jump(NamedTuple):
    """The stamps of the images went back: what comes now has nothing to do with what came before."""

    stamp_ns: int


class Synchroniser:
    """Reads one bag; `items()` yields Seen, Unusable, Marker and Jump."""

    def __init__(self, bag: ForeignBag, mapping: Mapping):
        """Looks for the topics; raises AmRosError, naming mapping key and topic, if one is missing or does not fit."""
        self._mapping, self._bag = mapping, bag
        self.dropped = Dropped()  # messages that could not be used
        self.hint = ""  # why no image has a pose, if none has
        pose = mapping.pose
        image_topic = bag.find(mapping.image.topic, "image")
        pose_topic = bag.find(pose.topic or ("/tf" if pose.source == TF else ""), "pose")
        self._readers = {}  # by topic: one method or several, for one topic may hold the arm and the gripper
        self._pictures = Pictures(mapping.image, self._typed(image_topic, mapping.image, "image"))
        self._source = pose_source(pose, self._typed(pose_topic, pose, "pose"))
        self._track = Track(pose.max_gap_s)
        self._add(image_topic.name, self._take_image)
        self._add(pose_topic.name, self._take_pose)
        if pose.source == TF and any(t.strip("/") == pose.static_topic.strip("/") for t in bag.topics):
            self._add(bag.find(pose.static_topic, "pose").name, self._take_static)
        self._opening = self._values(mapping.gripper, "gripper")
        self._command = self._values(mapping.gripper_command, "gripper_command")
        if mapping.marker.topic and mapping.episodes.cut == "marker":
            topic = bag.find(mapping.marker.topic, "marker")
            self._marker = _Markers(mapping.marker, self._typed(topic, mapping.marker, "marker"))
            self._add(topic.name, self._take_marker)
        self._waiting: deque[tuple[int, int, object]] = deque()  # stamp, reception, message
        self._waiting_bytes = 0
        self._out: deque = deque()
        self._markers: deque[Marker] = deque()
        self._last_image_ns: int | None = None
        self._checked = False

    @property
    def topics(self) -> list[str]:
        """The topics that are read."""
        return sorted(self._readers)

    def decode(self, message) -> np.ndarray:
        """The picture of a Seen, RGB uint8 [height, width, 3]; raises AmRosError if it is damaged or shows nothing."""
        try:
            return self._pictures.decode(message)
        except AmRosError as error:
            raise AmRosError(f"{error} (on {self._mapping.image.topic})") from None

    def items(self) -> Iterator[Seen | Unusable | Marker | Jump]:
        """Everything in the bag, in the order of its stamps."""
        for received in self._bag.messages(set(self._readers)):
            for take in self._readers[received.topic]:
                take(received)
            self._release(received.receive_ns)
            yield from self._drain()
        self._release(None)
        self._out.extend(self._markers)
        yield from self._drain()
        if self._track.backwards:
            self.dropped["poses whose stamp goes back"] += self._track.backwards

    def _drain(self) -> Iterator:
        while self._out:
            yield self._out.popleft()

    def _typed(self, topic, role, what: str) -> str:
        found = topic.type_name
        if role.type and found not in (role.type, role.type.replace("/", "/msg/", 1)):  # as ROS 1 writes it
            raise self._bag.error(f"{what}: topic {topic.name} has type {found}, the mapping says {role.type}")
        return found

    def _add(self, topic: str, take) -> None:
        self._readers.setdefault(topic, []).append(take)

    def _values(self, role: GripperRole, what: str) -> "_Values | None":
        if not role.topic:
            return None
        topic = self._bag.find(role.topic, what)
        self._typed(topic, role, what)
        values = _Values(role)

        def take(received: Received) -> None:
            if not values.add(received.message, received.receive_ns):
                self.dropped[f"{what} messages without a number in {role.field}"] += 1

        self._add(topic.name, take)
        return values

    def _take_image(self, received: Received) -> None:
        message = received.message
        if not self._checked:
            self._pictures.check(message)
            self._checked = True
        stamp = _stamp(self._mapping.image, message, received.receive_ns)
        if stamp <= 0:
            raise AmRosError(f"image: {received.topic} has stamps of zero: use `stamp: {RECEIVE}`")
        last, self._last_image_ns = self._last_image_ns, stamp
        if last is not None and stamp <= last:
            if last - stamp < JUMP_NS:
                self.dropped["images that are not newer than the one before"] += 1
                self._last_image_ns = last
                return
            self._release(None)
            self._out.extend([*self._markers, Jump(stamp)])
            self._markers.clear()
        self._waiting.append((stamp, received.receive_ns, message))
        self._waiting_bytes += len(message.data)

    def _take_pose(self, received: Received) -> None:
        found = self._source.sample(received.message, received.receive_ns)
        if found is not None:
            self._track.add(*found)

    def _take_static(self, received: Received) -> None:
        self._source.sample(received.message, received.receive_ns, static=True)

    def _take_marker(self, received: Received) -> None:
        kind = self._marker.kind_of(received.message)
        if kind is None:
            self.dropped["marker messages of no known value"] += 1
            return
        stamp = _stamp(self._mapping.marker, received.message, received.receive_ns)
        if self._last_image_ns is not None and abs(stamp - self._last_image_ns) > FAR_NS:
            far_s = (stamp - self._last_image_ns) / 1e9
            self.hint = f"marker: its stamps are {far_s:.0f} s from the images': do the clocks differ?"
        self._markers.append(Marker(stamp, kind))

    def _release(self, now_ns: int | None) -> None:
        """Let go of the images whose pose is known or will not come any more; None: the end of the bag."""
        while self._waiting:
            stamp, received_ns, message = self._waiting[0]
            patient = now_ns is not None and now_ns - received_ns < WAIT_NS and self._waiting_bytes < WAITING_BYTES
            if patient and not self._track.covers(stamp):
                return
            self._waiting.popleft()
            self._waiting_bytes -= len(message.data)
            while self._markers and self._markers[0].stamp_ns <= stamp:
                self._out.append(self._markers.popleft())
            self._out.append(self._seen(stamp, message))

    def _seen(self, stamp: int, message) -> Seen | Unusable:
        pose = self._track.at(stamp)
        if pose is None:
            nearest = self._track.nearest_s(stamp)
            if nearest is None:
                self.hint = f"pose: {self._source.missing()}"
            elif nearest > self._mapping.pose.max_gap_s:
                self.hint = f"the nearest pose is {nearest:.3f} s away: do the clocks differ (`stamp: {RECEIVE}`)?"
            return Unusable(stamp, f"no pose within {self._mapping.pose.max_gap_s:g} s")
        if pose.tilt_rad > self._mapping.pose.max_tilt_rad:
            self.hint = (
                f"the tool points {np.degrees(pose.tilt_rad):.0f} deg away from straight down: the rotation of "
                "tool_offset or base_offset is wrong, or it was held so"
            )
            return Unusable(stamp, "tool tilted")
        opening = 1.0 if self._opening is None else self._opening.at(stamp)
        if opening is None:
            self.hint = self._opening.missing(stamp)
            return Unusable(stamp, "no gripper opening yet")
        # What is commanded at the stamp of an image was decided on that image, so it is of the step that follows.
        return Seen(stamp, message, pose, opening, self._command and self._command.at(stamp - 1))


class _Values:
    """A gripper's openings by stamp; each holds until the next."""

    KEPT = 5000  # five seconds of 1 kHz

    def __init__(self, role: GripperRole):
        self._role, self._path = role, FieldPath(role.field)
        self._samples: deque[tuple[int, float]] = deque(maxlen=self.KEPT)

    def add(self, message, receive_ns: int) -> bool:
        """Take a message; False if it holds no number there."""
        value = self._path.read(message)
        if value is None:  # a joint that comes in messages of its own
            return True
        try:
            number = float(value)
        except (TypeError, ValueError):
            raise AmRosError(f"field {self._role.field!r} of {self._role.topic} is no number") from None
        if not np.isfinite(number):
            return False
        share = (number - self._role.closed) / (self._role.open - self._role.closed)
        self._samples.append((_stamp(self._role, message, receive_ns), min(1.0, max(0.0, share))))
        return True

    def at(self, stamp: int) -> float | None:
        """The newest opening at a stamp; None if there was none yet."""
        return next((value for t, value in reversed(self._samples) if t <= stamp), None)


    def missing(self, stamp: int) -> str:
        """Why there is no opening at a stamp, in words."""
        role = self._role
        if not self._samples:
            return f"gripper: no number in {role.field} of {role.topic} so far"
        late_s = (self._samples[0][0] - stamp) / 1e9
        return f"gripper: the first number on {role.topic} is {late_s:.1f} s later: do the clocks differ?"


class _Markers:
    """Reads what an operator's message says."""

    KINDS = ("discard", "success", "failure", "good", "bad", "end", "start")

    def __init__(self, role: MarkerRole, type_name: str):
        empty = type_name == "std_msgs/msg/Empty"
        self._path = None if empty else FieldPath(role.field)
        self._kinds = {v.strip().lower(): kind for kind in reversed(self.KINDS) for v in getattr(role, kind)}
        if empty or not (role.end or role.success or role.failure or role.good or role.bad):
            self._kinds = {value: "next" if kind == "start" else kind for value, kind in self._kinds.items()}

    def kind_of(self, message) -> str | None:
        """One of KINDS, `next`, or None."""
        if self._path is None:
            return "next"
        return self._kinds.get(as_text(self._path.read(message)).strip().lower())


def _stamp(role, message, receive_ns: int) -> int:
    header = getattr(message, "header", None)
    return receive_ns if header is None or role.stamp == RECEIVE else stamp_ns(header.stamp)
