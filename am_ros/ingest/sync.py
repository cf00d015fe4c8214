"""Brings images together with where the tool and the gripper were at their stamps, in the order of the stamps."""

from collections import Counter, deque
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from am_ros.errors import AmRosError
from am_ros.ingest.clocks import Clocks
from am_ros.ingest.dropped import Dropped
from am_ros.ingest.fields import FieldMissing, fields_of_its_type
from am_ros.ingest.foreign import ForeignBag, Received
from am_ros.ingest.frames import FramesSource
from am_ros.ingest.frozen import Frozen
from am_ros.ingest.mapping import RECEIVE, TF, GripperRole, Mapping
from am_ros.ingest.motion import MotionOffset
from am_ros.ingest.pictures import Look, Pictures
from am_ros.ingest.poses import Sample, ToolPose, Track
from am_ros.ingest.sources import pose_source
from am_ros.ingest.stamps import READS_SUCH, fault, stamp_of
from am_ros.ingest.values import UNSTAMPED, Marker, Markers, Values

# An image waits so long for the poses around it, in the bag's time of reception. The slowest pose is 10 Hz or so.
WAIT_NS = 2_000_000_000
# ... and no more than so many bytes of them: a minute of 30 Hz images in a bag without poses would be gigabytes.
WAITING_BYTES = 200_000_000
JUMP_NS = 1_000_000_000
FAR_NS = 600_000_000_000  # cameras are switched on minutes before anybody demonstrates; clocks differ by more
# So many images of no use, before the first that is of any, and the bag is refused.
HOPELESS = 100
# The picture changes now and then as somebody reconfigures the camera; two cameras on one topic take turns.
TURNS, AMONG = 10, 40


class Seen(NamedTuple):
    """One image with what was measured at its stamp."""

    stamp_ns: int
    message: Any
    pose: ToolPose
    opening: float  # of the gripper, 0 closed ... 1 open
    command: float | None  # the newest command before that time; None: there was none


class Unusable(NamedTuple):
    """An image that cannot be used, and why."""

    stamp_ns: int
    reason: str  # the kind, which is counted
    detail: str = ""  # this very case: topic, numbers, mend; the first of each kind is shown


class Jump(NamedTuple):
    """What comes now has nothing to do with what came before: the episode ends, and `reason` says why."""

    stamp_ns: int
    reason: str = "stamps_went_back"


class Synchroniser:
    """Reads one bag; `items()` yields Seen, Unusable, Marker and Jump."""

    def __init__(self, bag: ForeignBag, mapping: Mapping):
        """Looks for the topics; raises AmRosError, naming mapping key and topic, if one is missing or does not fit."""
        self._mapping, self._bag = mapping, bag
        self.dropped = Dropped()  # messages that could not be used
        self.hint = ""  # why no image has a pose, if none has
        self.doubts: list[str] = []  # what is strange, and may be wrong
        self.clocks = Clocks(mapping.clocks.max_delay_s)
        self.motion = MotionOffset(mapping.clocks.images)
        pose = mapping.pose
        image_topic = bag.find(mapping.image.topic, "image")
        pose_topic = bag.find(pose.topic or ("/tf" if pose.source == TF else ""), "pose")
        # By topic: one method or several, for one topic may hold the arm and the gripper.
        self._readers: dict[str, list[Callable[[Received], None]]] = {}
        self._pictures = Pictures(mapping.image, self._typed(image_topic, mapping.image, "image"))
        self._source = pose_source(pose, self._typed(pose_topic, pose, "pose"))
        self._track = Track(pose.max_gap_s)
        self._add(image_topic.name, self._take_image)
        self._add(pose_topic.name, self._take_pose)
        self._static = ""
        if pose.source == TF and any(t.strip("/") == pose.static_topic.strip("/") for t in bag.topics):
            self._static = bag.find(pose.static_topic, "pose").name
            self._add(self._static, self._take_static)
        self._opening = self._values(mapping.gripper, "gripper")
        self._command = self._values(mapping.gripper_command, "gripper_command")
        if mapping.marker.topic and mapping.episodes.cut == "marker":
            topic = bag.find(mapping.marker.topic, "marker")
            self._marker = Markers(mapping.marker, self._typed(topic, mapping.marker, "marker"))
            self._add(topic.name, self._take_marker)
        self._frozen = Frozen()
        self._waiting: deque[_Waiting] = deque()
        self._waiting_bytes = 0
        self._out: deque = deque()
        self._markers: deque[Marker] = deque()
        self._cuts: deque[Jump] = deque()
        self._newest: dict[str, int] = {}  # time of reception by topic
        self._last_image_ns: int | None = None
        self._look: Look | None = None
        self._first_look: Look | None = None
        self._looks: deque[bool] = deque(maxlen=AMONG)  # whether the picture changed
        self._useless: Counter[str] = Counter()

    @property
    def topics(self) -> list[str]:
        """The topics that are read."""
        return sorted(self._readers)

    def decode(self, message) -> np.ndarray:
        """The picture of a Seen, RGB uint8 [height, width, 3]; raises AmRosError if it is damaged or shows nothing."""
        try:
            with fields_of_its_type():
                return self._pictures.decode(message)
        except AmRosError as error:
            raise AmRosError(f"{error} (on {self._mapping.image.topic})") from None

    def items(self) -> Iterator[Seen | Unusable | Marker | Jump]:
        """Everything in the bag, in the order of its stamps. Raises AmRosError where the rest of it is of no use."""
        self._read_static()
        for received in self._bag.messages(set(self._readers)):
            self._watch_order(received)
            for take in self._readers[received.topic]:
                try:
                    with fields_of_its_type():
                        take(received)
                except FieldMissing as error:
                    kind = f"messages on {received.topic} that are not what their type says"
                    self.dropped.note(kind, f"{received.topic} {received.receive_ns / 1e9:.3f} s: {error}")
            self._release(received.receive_ns)
            yield from self._drain()
        self.clocks.finish()
        self._take_samples(self._source.rest())
        self._release(None)
        self._out.extend(self._markers)
        yield from self._drain()
        self._conclude()

    def _conclude(self) -> None:
        """The end of the bag: what there is to say of all of it."""
        if self._useless and self._look is None:
            self._refuse_pictures()
        backwards, spikes = self._track.backwards, self._source.spikes
        self.dropped.update({"poses whose stamp goes back": backwards} if backwards else {})
        self.dropped.update({"poses that jump away and back": spikes} if spikes else {})
        self.dropped.update({f"poses: {reason}": count for reason, count in self._source.refused.items()})
        for values in (self._opening, self._command):
            if values is not None:
                self.doubts += [d for d in (values.doubt(), values.silence(self._last_image_ns)) if d]
        self.doubts += [d] if (d := self._frozen.doubt(self._mapping.image.topic)) else []
        for child, moved_m in getattr(self._source, "changed_static", {}).items():
            self.doubts.append(f"pose: frame {child} on {self._static} was set anew, {1e3 * moved_m:.0f} mm away")

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

    def _values(self, role: GripperRole, what: str) -> Values | None:
        if not role.topic:
            return None
        topic = self._bag.find(role.topic, what)
        self._typed(topic, role, what)
        values = Values(role, what)

        def take(received: Received) -> None:
            stamp = values.add(received.message, received.receive_ns)
            if values.of_another_unit:
                self._refuse_values(values, received.topic)
            if stamp is None:
                self.dropped[f"{what} messages without a number in {role.field}"] += 1
            elif stamp == UNSTAMPED:
                self.dropped[f"{what} messages without a stamp {READS_SUCH}"] += 1
            elif stamp:
                self._clock(what, received.topic, stamp, received.receive_ns)

        self._add(topic.name, take)
        return values

    def _refuse_values(self, values: Values, topic: str) -> None:
        for received in self._bag.messages({topic}):  # the whole range tells more than its beginning
            values.add(received.message, received.receive_ns)
        raise AmRosError(values.refusal())

    def _read_static(self) -> None:
        """Frames that do not move hold for all time, also for the time before they were recorded."""
        if self._static and isinstance(self._source, FramesSource):
            for received in self._bag.messages({self._static}):
                self._source.hold(received.message)

    def _watch_order(self, received: Received) -> None:
        """Where the recorder's clock was set back, reception goes back on every topic."""
        newest = self._newest.get(received.topic, 0)
        if 0 < received.receive_ns < newest:
            self._begin_anew(received.receive_ns, "recorder's clock set back")
            self._newest.clear()
        self._newest[received.topic] = received.receive_ns

    def _begin_anew(self, stamp: int, reason: str) -> None:
        """Let go of everything, and cut."""
        self._release(None)
        self._out.extend([*self._markers, Jump(stamp, reason)])
        self._markers.clear()
        self._cuts.clear()
        self._track.clear()
        self._source.begin_anew()
        self.motion.begin_anew()
        for values in (self._opening, self._command):
            if values is not None:
                values.clear()
        self._last_image_ns = None

    def _clock(self, role: str, name: str, stamp: int, receive_ns: int) -> float:
        return self.clocks.add(role, name, stamp, receive_ns)

    def _take_image(self, received: Received) -> None:
        message, role = received.message, self._mapping.image
        stamp = stamp_of(role, message, received.receive_ns)
        try:
            if stamp <= 0:
                raise AmRosError(f"{fault(stamp)}: `stamp: {RECEIVE}` reads such images")
            look = self._pictures.look(message)
            if role.crop and self._first_look is not None and look[:2] != self._first_look[:2]:
                raise AmRosError("of another size than the first: the crop is not meant for them")
        except AmRosError as error:
            self._drop(str(error), stamp)
            return
        self._watch_look(look, stamp)
        shift = self._clock("image", received.topic, stamp, received.receive_ns)
        last, self._last_image_ns = self._last_image_ns, stamp
        for values in filter(None, (self._opening, self._command)):
            values.lives_on(stamp)
        if last is not None and stamp <= last:
            if last - stamp < JUMP_NS and not shift:
                self.dropped["images that are not newer than the one before"] += 1
                self._last_image_ns = last
                return
            self._release(None)
            self._out.extend([*self._markers, Jump(stamp)])
            self._markers.clear()
            self.motion.begin_anew()
        elif shift:
            self._cuts.append(Jump(stamp, "camera's clock jumped"))
        try:
            message = self._pictures.take(message, stamp)
        except AmRosError as error:
            if str(error).startswith("image: "):
                raise
            self._drop(str(error), stamp)
            return
        if self.motion.wants_images and (grey := self._pictures.small(message)) is not None:
            self.motion.add_image(stamp, grey)
        self._waiting.append(_Waiting(stamp, received.receive_ns, message))
        self._waiting_bytes += len(message.data)

    def _drop(self, why: str, stamp: int) -> None:
        """Count an image that is of no use; where no other is, the bag is of none."""
        self._useless[why] += 1
        if self._look is None and sum(self._useless.values()) >= HOPELESS:
            self._refuse_pictures()
        self.dropped.note(f"images: {why.partition(':')[0]}", f"the image of stamp {stamp / 1e9:.3f} s: {why}")

    def _refuse_pictures(self) -> None:
        why, count = self._useless.most_common(1)[0]
        raise AmRosError(f"image: no image on {self._mapping.image.topic} can be used: {why} ({count} of them)")

    def _watch_look(self, look: Look, stamp: int) -> None:
        """Another size or encoding is another picture: what was learned from one says little of the other."""
        before, self._look = self._look, look
        self._first_look = self._first_look or look
        self._looks.append(before is not None and look != before)
        if not self._looks[-1]:
            return
        if sum(self._looks) >= TURNS:
            raise AmRosError(
                f"image: two sources alternate on {self._mapping.image.topic}, one with {before}, the other "
                f"with {look}: record one of them (`ros2 topic info -v` names the publishers)"
            )
        self.dropped[f"changes of the picture from {before} to {look}, cut there"] += 1
        self._cuts.append(Jump(stamp, "picture changed"))

    def _take_pose(self, received: Received) -> None:
        shift = 0.0
        samples = self._source.samples(received.message, received.receive_ns)
        for name, stamp in self._source.clocks(received.message, received.receive_ns):
            shift = shift or self._clock("pose", name, stamp, received.receive_ns)
        if shift:
            self._track.clear()
            if samples:
                self._cuts.append(Jump(samples[0].stamp_ns, "arm's clock jumped"))
        self._take_samples(samples)

    def _take_samples(self, samples: list[Sample]) -> None:
        for sample in samples:
            if sample.cut:
                self.dropped["jumps of the tool that no arm makes, cut there"] += 1
                self._cuts.append(Jump(sample.stamp_ns, "tool jumped"))
            self._track.add(sample)
            self.motion.add_pose(sample.stamp_ns, sample.pose)

    def _take_static(self, received: Received) -> None:
        self._source.samples(received.message, received.receive_ns, static=True)

    def _take_marker(self, received: Received) -> None:
        marker = self._marker.read(received.message, received.receive_ns)
        if marker is None:
            self.dropped.note("marker messages of no known value", self._marker.unknown(received.message))
            return
        if marker.stamp_ns <= 0:
            self.hint = f"marker: its {fault(marker.stamp_ns)} {READS_SUCH}"
            self.dropped[f"marker messages without a stamp {READS_SUCH}"] += 1
            return
        self._clock("marker", received.topic, marker.stamp_ns, received.receive_ns)
        if self._last_image_ns is not None and abs(marker.stamp_ns - self._last_image_ns) > FAR_NS:
            far_s = (marker.stamp_ns - self._last_image_ns) / 1e9
            self.hint = f"marker: its stamps are {far_s:.0f} s from the images': do the clocks differ?"
        self._markers.append(marker)

    def _release(self, now_ns: int | None) -> None:
        """Let go of the images whose pose is known or will not come any more; None: the end of the bag."""
        while self._waiting:
            stamp, received_ns, message = self._waiting[0]
            full = self._waiting_bytes >= WAITING_BYTES
            if now_ns is not None and not full:
                patient = now_ns - received_ns < WAIT_NS and not self._track.covers(stamp)
                if patient or (now_ns > 0 and not self.clocks.settled(now_ns)):
                    return
            self._waiting.popleft()
            self._waiting_bytes -= len(message.data)
            while self._markers and self._markers[0].stamp_ns <= stamp:
                self._out.append(self._markers.popleft())
            while self._cuts and self._cuts[0].stamp_ns <= stamp:
                self._out.append(self._cuts.popleft())
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
        if self._frozen.is_old(message.data, pose.position_m):
            return Unusable(stamp, "the same as the one before, while the tool moved on")
        opening = 1.0
        if self._opening is not None:
            measured = self._opening.at(stamp)
            if measured is None:
                self.hint = self._opening.missing(stamp)
                return Unusable(stamp, "no gripper opening yet")
            opening = measured
        # What is commanded at the stamp of an image was decided on that image, so it is of the step that follows.
        command = None if self._command is None else self._command.at(stamp - 1)
        return Seen(stamp, message, pose, opening, command)


class _Waiting(NamedTuple):
    """An image whose pose is not known yet."""

    stamp_ns: int
    receive_ns: int
    message: Any
