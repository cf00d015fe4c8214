"""What was seen of a running cell; `am_ros.ros.introspection.prober` fills it, the checks read it."""

from dataclasses import dataclass, field

import numpy as np


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


@dataclass(frozen=True)
class JointsSeen:
    """The newest value of every joint that joint_states names."""

    positions: dict[str, float]
    velocities: dict[str, float]
    malformed: str = ""


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
