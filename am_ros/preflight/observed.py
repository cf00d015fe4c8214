"""What was seen of a running cell; `am_ros.ros.introspection.prober` fills it, the checks read it."""

from dataclasses import dataclass, field

import numpy as np

from am_ros.control.joint_states import VelocityCheck

# Faster than any joint turns (an iiwa's fastest: 3.2 rad/s), and further than noise: two sources take turns.
MAX_SPEED_RAD_S, MIN_JUMP_RAD = 10.0, 0.03
MOST_PARTS = 20


@dataclass(frozen=True)
class Endpoint:
    """One publisher or subscriber of a topic."""

    node: str  # with its namespace
    type: str
    reliable: bool = True
    latched: bool = False  # transient local


def incompatible(publisher: Endpoint, subscriber: Endpoint) -> str:
    """Why DDS does not connect the two ("offers best effort, ..."), or empty."""
    if subscriber.reliable and not publisher.reliable:
        return "offers best effort, reliable is asked for"
    if subscriber.latched and not publisher.latched:
        return "offers volatile, transient local is asked for"
    return ""


@dataclass
class TopicSeen:
    """Who publishes and hears a topic, and what came of it while it was listened to."""

    name: str
    publishers: tuple[Endpoint, ...] = ()
    subscribers: tuple[Endpoint, ...] = ()
    arrived_s: list[float] = field(default_factory=list)  # time.monotonic() of each message
    stamps_ns: list[int] = field(default_factory=list)  # its header stamp
    ages_s: list[float] = field(default_factory=list)  # the ROS clock at its arrival minus that stamp
    frames: set[str] = field(default_factory=set)
    lost: int = 0  # by the numbers that the publisher gives its messages
    listened_s: float = 0.0

    @property
    def rate_hz(self) -> float:
        """Messages per second from the first to the last; 0 with fewer than two."""
        span_s = self.arrived_s[-1] - self.arrived_s[0] if self.arrived_s else 0.0
        return (len(self.arrived_s) - 1) / span_s if span_s > 0 else 0.0

    @property
    def longest_gap_s(self) -> float:
        """Longest time without a message after the first one came."""
        return float(np.diff(self.arrived_s).max()) if len(self.arrived_s) > 1 else self.listened_s


@dataclass
class JointWatch:
    """What the messages of joint_states say of their sources."""

    parts: set[tuple[str, ...]] = field(default_factory=set)  # the sets of names that they come with
    jumps: int = 0  # positions that no joint reaches in the time
    farthest: str = ""  # the largest of them, in words
    contradiction: str = ""  # velocities that do not fit the positions, in words
    _checks: dict[tuple[str, ...], VelocityCheck] = field(default_factory=dict)
    _last: dict[str, tuple[float, float, float]] = field(default_factory=dict)  # by joint: stamp, arrival [s], position
    _largest_rad: float = 0.0

    def add(self, stamp_s: float, arrived_s: float, names, positions, velocities=()) -> None:
        """Take a message. Stamps may all be zero, and messages may arrive in bunches: the longer time counts."""
        several = len(velocities) == len(positions) == len(names) and len(self._checks) < MOST_PARTS
        if several and np.isfinite([*positions, *velocities]).all():
            check = self._checks.setdefault(tuple(names), VelocityCheck(names))
            angles, speeds = np.array(positions, float), np.array(velocities, float)
            self.contradiction = self.contradiction or check.update(stamp_s or arrived_s, angles, speeds)
        if len(self.parts) < MOST_PARTS:
            self.parts.add(tuple(sorted(names)))
        jumped = False
        for name, position in zip(names, positions, strict=False):
            stamp_before_s, arrived_before_s, before = self._last.get(name, (stamp_s, arrived_s, position))
            self._last[name] = stamp_s, arrived_s, position
            way, seconds = abs(position - before), max(stamp_s - stamp_before_s, arrived_s - arrived_before_s)
            if way > MIN_JUMP_RAD and way > MAX_SPEED_RAD_S * seconds:
                jumped = True
                if way > self._largest_rad:
                    self._largest_rad = way
                    then = f"{1e3 * seconds:.0f} ms later, at {position:.3f} rad"
                    self.farthest = f"{name} is at {before:.3f} and, {then}"
        self.jumps += jumped

    @property
    def overlap(self) -> list[str]:
        """Joints that come in messages with different names."""
        seen: set[str] = set()
        twice: set[str] = set()
        for part in self.parts:
            twice |= seen & set(part)
            seen |= set(part)
        return sorted(twice)


@dataclass(frozen=True)
class JointsSeen:
    """The newest value of every joint that joint_states names."""

    positions: dict[str, float]
    velocities: dict[str, float]
    malformed: str = ""
    watch: JointWatch = field(default_factory=JointWatch)


@dataclass(frozen=True)
class ImageSeen:
    """The newest image: uint8 [H, W, 3], or why it could not be read."""

    rgb: np.ndarray | None
    problem: str = ""


@dataclass
class Observed:
    """A running cell, by the full names of its topics."""

    topics: dict[str, TopicSeen]
    joints: JointsSeen | None = None
    image: ImageSeen | None = None
    camera_info_size: tuple[int, int] | None = None  # (height, width)
    robot_description: str = ""  # URDF text that the cell publishes
    nodes: tuple[str, ...] = ()  # with their namespaces

    def topic(self, name: str) -> TopicSeen:
        """What was seen of a topic; nothing, if nobody looked."""
        return self.topics.get(name) or TopicSeen(name)
