"""Where the tool was: a track of positions and headings from poses, TF frames or joint angles."""

import math
from abc import ABC, abstractmethod
from collections import deque
from typing import NamedTuple

import numpy as np
import pinocchio as pin

from am_ros.bags.types import stamp_ns
from am_ros.control.kinematics import Kinematics
from am_ros.control.robot import robot_description, robot_model
from am_ros.errors import AmRosError
from am_ros.ingest.fields import FieldPath
from am_ros.ingest.mapping import JOINTS, TF, PoseRole

JOINT_STATE, TF_MESSAGE = "sensor_msgs/msg/JointState", "tf2_msgs/msg/TFMessage"
# Where these types have their pose; any other needs the key `field`.
POSE_FIELDS = {
    "geometry_msgs/msg/PoseStamped": "pose",
    "geometry_msgs/msg/Pose": "",
    "geometry_msgs/msg/PoseWithCovarianceStamped": "pose.pose",
    "geometry_msgs/msg/TransformStamped": "transform",
    "nav_msgs/msg/Odometry": "pose.pose",
}
# ROS 1 had TF in two packages.
_TF_TYPES = (TF_MESSAGE, "tf/msg/tfMessage")
_KEPT_S = 20.0  # of a track: images wait for 2 s at most (sync.py), and clocks of two machines differ


class ToolPose(NamedTuple):
    """The tool centre point in the project's base frame."""

    position_m: np.ndarray  # [3]
    yaw_rad: float
    tilt_rad: float  # of its z axis from straight down


class Track:
    """Tool poses by stamp, interpolated in between."""

    def __init__(self, max_gap_s: float):
        self._max_gap_ns = round(max_gap_s * 1e9)
        self._samples: deque[tuple[int, ToolPose]] = deque()
        self.backwards = 0  # samples that were older than the one before

    def add(self, stamp: int, pose: ToolPose) -> None:
        """The next sample; one that jumps back by more than a second begins a new track, others are not taken."""
        if self._samples and stamp <= self._samples[-1][0]:
            self.backwards += stamp < self._samples[-1][0]
            if self._samples[-1][0] - stamp < 1_000_000_000:
                return
            self._samples.clear()
        self._samples.append((stamp, pose))
        while stamp - self._samples[0][0] > _KEPT_S * 1e9:
            self._samples.popleft()

    def covers(self, stamp: int) -> bool:
        """Whether there is a sample at that stamp or later."""
        return bool(self._samples) and self._samples[-1][0] >= stamp

    def at(self, stamp: int) -> ToolPose | None:
        """The pose at a stamp; None if the samples around it are too far apart, or there are none."""
        after = None
        for sample in reversed(self._samples):
            if sample[0] <= stamp:
                return self._between(sample, after, stamp)
            after = sample
        return None

    def _between(self, before, after, stamp: int) -> ToolPose | None:
        (t0, a) = before
        if t0 == stamp:
            return a
        if after is None or after[0] - t0 > self._max_gap_ns:
            return None
        t1, b = after
        share = (stamp - t0) / (t1 - t0)
        turn = math.remainder(b.yaw_rad - a.yaw_rad, math.tau)
        return ToolPose(
            a.position_m + share * (b.position_m - a.position_m),
            a.yaw_rad + share * turn,
            max(a.tilt_rad, b.tilt_rad),
        )

    def nearest_s(self, stamp: int) -> float | None:
        """How far the nearest sample is from a stamp [s]."""
        return min((abs(t - stamp) / 1e9 for t, _ in self._samples), default=None)


class PoseSource(ABC):
    """Turns the messages of the mapped topics into tool poses. Of the subclasses, `pose_source` makes the right one."""

    def __init__(self, role: PoseRole):
        self.role = role
        self._base, self._tool = _offset(role.base_offset), _offset(role.tool_offset)

    @abstractmethod
    def sample(self, message, receive_ns: int, static: bool = False) -> tuple[int, ToolPose] | None:
        """Stamp and pose that a message brings; None if it brings none. AmRosError if the mapping does not fit it."""

    def missing(self) -> str:
        """Why there was no pose so far, in words."""
        return "no message on it"

    def _stamp(self, message, receive_ns: int) -> int:
        header = getattr(message, "header", None)
        if self.role.stamp == "receive" or header is None:
            return receive_ns
        return stamp_ns(header.stamp)

    def _tool_pose(self, recorded: pin.SE3) -> ToolPose:
        ours = self._base * recorded * self._tool
        rotation = ours.rotation
        yaw = math.atan2(rotation[1, 0], rotation[0, 0])
        return ToolPose(ours.translation.copy(), yaw, math.acos(min(1.0, max(-1.0, -rotation[2, 2]))))


class PosesSource(PoseSource):
    """Messages that hold a pose."""

    def __init__(self, role: PoseRole, type_name: str):
        super().__init__(role)
        if not role.field and type_name not in POSE_FIELDS:
            raise AmRosError(
                f"pose: topic {role.topic} has type {type_name}: name the `field` with position and orientation, "
                f"or use one of {', '.join(POSE_FIELDS)}"
            )
        self._path = FieldPath(role.field or POSE_FIELDS[type_name])
        self._scale = 0.001 if role.unit == "mm" else 1.0

    def sample(self, message, receive_ns: int, static: bool = False):
        """See PoseSource."""
        frame = getattr(getattr(message, "header", None), "frame_id", "")
        if self.role.base and frame.strip("/") != self.role.base.strip("/"):
            raise AmRosError(f"pose: {self.role.topic} is in frame {frame!r}, the mapping says {self.role.base!r}")
        placement = _placement(self._path.read(message), self._scale, f"pose: {self.role.topic}")
        return placement and (self._stamp(message, receive_ns), self._tool_pose(placement))


class FramesSource(PoseSource):
    """The frame of the tool in that of the base, out of a tree of frames."""

    def __init__(self, role: PoseRole):
        super().__init__(role)
        # By child: parent, placement, stamp (None: it does not move).
        self._frames: dict[str, tuple[str, pin.SE3, int | None]] = {}

    def sample(self, message, receive_ns: int, static: bool = False):
        """See PoseSource."""
        for transform in message.transforms:
            child = transform.child_frame_id.strip("/")
            placement = _placement(transform.transform, 1.0, f"pose: frame {child}")
            if placement is None:
                continue
            stamp = receive_ns if self.role.stamp == "receive" else stamp_ns(transform.header.stamp)
            self._frames[child] = (transform.header.frame_id.strip("/"), placement, None if static else stamp)
        return None if static else self._tip()

    def missing(self) -> str:
        """See PoseSource."""
        there = sorted(self._frames.keys() | {parent for parent, _, _ in self._frames.values()})
        wanted = [f for f in (self.role.base, self.role.tip) if f.strip("/") not in there]
        listed = f"{', '.join(there[:20])}{' ...' if len(there) > 20 else ''}" or "none"
        if wanted:
            return f"frame {' and '.join(wanted)} not found; there are {listed}"
        return f"frames {self.role.base} and {self.role.tip} are not connected"

    def _tip(self) -> tuple[int, ToolPose] | None:
        tip, base = self._to_root(self.role.tip), self._to_root(self.role.base)
        common = next((frame for frame in tip if frame in base), None)
        stamps = [] if common is None else [*self._stamps(tip, common), *self._stamps(base, common)]
        if not stamps:
            return None
        # Links may come in messages of their own: the chain is as new as its oldest link, and once it was emitted for
        # that stamp, the track takes no second one.
        return min(stamps), self._tool_pose(base[common].inverse() * tip[common])

    def _to_root(self, frame: str) -> dict[str, pin.SE3]:
        """Placement of a frame in each of its ancestors, itself first."""
        frame = frame.strip("/")
        chain, placement = {frame: pin.SE3.Identity()}, pin.SE3.Identity()
        while frame in self._frames:
            frame, step, _ = self._frames[frame]
            if frame in chain:  # a circle: two publishers contradict each other
                break
            placement = step * placement
            chain[frame] = placement
        return chain

    def _stamps(self, chain: dict, common: str) -> list[int]:
        """Stamps of what moves between a frame and an ancestor of it."""
        frames = list(chain)
        below = frames[: frames.index(common)]
        return [stamp for f in below if (stamp := self._frames[f][2]) is not None]


class JointsSource(PoseSource):
    """Joint angles through the arm's kinematics."""

    def __init__(self, role: PoseRole):
        super().__init__(role)
        if role.urdf:
            try:
                with open(role.urdf, encoding="utf-8") as file:
                    text = file.read()
            except (OSError, UnicodeDecodeError) as error:
                raise AmRosError(f"pose: urdf {role.urdf}: cannot be read: {error}") from None
            self._kinematics = Kinematics(text, role.joints, role.tip)
        else:
            facts = robot_model(role.robot_model)
            named, there = len(role.joints), len(facts.joint_names)
            if named != there:
                raise AmRosError(f"pose: joints: {named} names, a {role.robot_model} has {there}")
            self._kinematics = Kinematics(robot_description(role.robot_model), facts.joint_names, facts.tip_frame)
        self._scale = math.pi / 180 if role.angle_unit == "deg" else 1.0
        self._seen: set[str] = set()

    def sample(self, message, receive_ns: int, static: bool = False):
        """See PoseSource."""
        angles = dict(zip(message.name, message.position, strict=False))
        self._seen.update(list(angles)[:50])
        try:
            q = self._scale * np.array([angles[name] for name in self.role.joints], float)
        except KeyError:  # the gripper's joints come in messages of their own
            return None
        if not np.isfinite(q).all():
            return None
        position, rotation = self._kinematics.forward(q)
        return self._stamp(message, receive_ns), self._tool_pose(pin.SE3(rotation, position))

    def missing(self) -> str:
        """See PoseSource."""
        absent = [name for name in self.role.joints if name not in self._seen]
        return f"joint {', '.join(absent)} not found; there are {', '.join(sorted(self._seen)) or 'none'}"


def pose_source(role: PoseRole, type_name: str) -> PoseSource:
    """The source that a mapping asks for; raises AmRosError if the topic's type does not fit it."""
    expected = {TF: _TF_TYPES, JOINTS: (JOINT_STATE,)}.get(role.source)
    if expected and type_name not in expected:
        raise AmRosError(
            f"pose: topic {role.topic or '/tf'} has type {type_name}, source: {role.source} needs {expected[0]}"
        )
    if role.source == TF:
        return FramesSource(role)
    return JointsSource(role) if role.source == JOINTS else PosesSource(role, type_name)


def _offset(numbers) -> pin.SE3:
    return pin.SE3(pin.rpy.rpyToMatrix(*map(float, numbers[3:])), np.array(numbers[:3], float))


def _placement(pose, scale: float, what: str) -> pin.SE3 | None:
    """A Pose or Transform as a placement; None if it is not finite or no rotation."""
    position = getattr(pose, "position", getattr(pose, "translation", None))
    rotation = getattr(pose, "orientation", getattr(pose, "rotation", None))
    if position is None or rotation is None:
        raise AmRosError(f"{what}: has no position and orientation")
    values = np.array([position.x, position.y, position.z, rotation.x, rotation.y, rotation.z, rotation.w], float)
    if not np.isfinite(values).all() or abs(values[3:] @ values[3:] - 1) > 0.02:
        return None
    values[:3] *= scale
    values[3:] /= math.sqrt(values[3:] @ values[3:])
    return pin.XYZQUATToSE3(values)
