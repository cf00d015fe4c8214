"""Where the tool was: a track of positions and headings, and the poses that other cells publish."""

import math
from abc import ABC, abstractmethod
from collections import Counter, deque
from typing import NamedTuple

import numpy as np
import pinocchio as pin

from am_ros.errors import AmRosError
from am_ros.ingest.fields import FieldPath
from am_ros.ingest.mapping import FARTHEST_M, PoseRole
from am_ros.ingest.plausible import TOO_MANY, Passed, Plausible
from am_ros.ingest.stamps import READS_SUCH, fault, stamp_of

# Where these types have their pose; any other needs the key `field`.
POSE_FIELDS = {
    "geometry_msgs/msg/PoseStamped": "pose",
    "geometry_msgs/msg/Pose": "",
    "geometry_msgs/msg/PoseWithCovarianceStamped": "pose.pose",
    "geometry_msgs/msg/TransformStamped": "transform",
    "nav_msgs/msg/Odometry": "pose.pose",
}
_KEPT_S = 20.0  # of a track: images wait for 2 s at most (sync.py), and clocks of two machines differ
# No arm reaches further from its base, and none works within so little of it: there the unit is another.
_NEAREST_M, _UNIT_SEEN = 0.005, 20


class ToolPose(NamedTuple):
    """The tool centre point in the project's base frame."""

    position_m: np.ndarray  # [3]
    yaw_rad: float
    tilt_rad: float  # of its z axis from straight down


class Sample(NamedTuple):
    """A pose of the tool by its stamp."""

    stamp_ns: int
    pose: ToolPose
    cut: bool = False  # it is elsewhere than the motion before it leads


class Track:
    """Tool poses by stamp, interpolated in between."""

    def __init__(self, max_gap_s: float):
        self._max_gap_ns = round(max_gap_s * 1e9)
        self._samples: deque[Sample] = deque()
        self.backwards = 0  # samples that were older than the one before

    def add(self, sample: Sample) -> None:
        """The next sample; one that jumps back by more than a second begins a new track, others are not taken."""
        stamp = sample.stamp_ns
        if self._samples and stamp <= self._samples[-1].stamp_ns:
            self.backwards += stamp < self._samples[-1].stamp_ns
            if self._samples[-1].stamp_ns - stamp < 1_000_000_000:
                return
            self._samples.clear()
        self._samples.append(sample)
        while stamp - self._samples[0].stamp_ns > _KEPT_S * 1e9:
            self._samples.popleft()

    def clear(self) -> None:
        """Forget everything: what comes now has nothing to do with it."""
        self._samples.clear()

    def covers(self, stamp: int) -> bool:
        """Whether there is a sample at that stamp or later."""
        return bool(self._samples) and self._samples[-1].stamp_ns >= stamp

    def at(self, stamp: int) -> ToolPose | None:
        """The pose at a stamp; None if the samples around it are too far apart, or there are none."""
        after = None
        for sample in reversed(self._samples):
            if sample.stamp_ns <= stamp:
                return self._between(sample, after, stamp)
            after = sample
        return None

    def _between(self, before: Sample, after: Sample | None, stamp: int) -> ToolPose | None:
        a, t0 = before.pose, before.stamp_ns
        if t0 == stamp:
            return a
        if after is None or after.cut or after.stamp_ns - t0 > self._max_gap_ns:
            return None
        b = after.pose
        share = (stamp - t0) / (after.stamp_ns - t0)
        turn = math.remainder(b.yaw_rad - a.yaw_rad, math.tau)
        return ToolPose(
            a.position_m + share * (b.position_m - a.position_m),
            a.yaw_rad + share * turn,
            max(a.tilt_rad, b.tilt_rad),
        )

    def nearest_s(self, stamp: int) -> float | None:
        """How far the nearest sample is from a stamp [s]."""
        return min((abs(s.stamp_ns - stamp) / 1e9 for s in self._samples), default=None)


class PoseSource(ABC):
    """Turns the messages of the mapped topics into tool poses. Of the subclasses, `pose_source` makes the right one."""

    def __init__(self, role: PoseRole):
        self.role = role
        self.refused: Counter[str] = Counter()  # samples that are no poses, by reason
        self._base, self._tool = _offset(role.base_offset), _offset(role.tool_offset)

    @abstractmethod
    def samples(self, message, receive_ns: int, static: bool = False) -> list[Sample]:
        """What a message brings, in the order of the stamps. AmRosError if the mapping does not fit it."""

    @abstractmethod
    def begin_anew(self) -> None:
        """A clock was set back: what comes now has nothing to do with what came before."""

    def rest(self) -> list[Sample]:
        """What can be told when nothing more will come."""
        return []

    def clocks(self, message, receive_ns: int) -> list[tuple[str, int]]:
        """What moves in this message: a name and the stamp that counts."""
        return [(self.role.topic, self._header_stamp(message, receive_ns))]

    @property
    def spikes(self) -> int:
        """Samples that jumped away and back."""
        return 0

    def missing(self) -> str:
        """Why there was no pose so far, in words."""
        return f"{self.refused.most_common(1)[0][0]}" if self.refused else "no message on it"

    def _unstamped(self, stamp: int) -> bool:
        """Whether nobody stamped a message; it is `refused`."""
        if stamp > 0:
            return False
        self.refused[f"its {fault(stamp)} {READS_SUCH}"] += 1
        return True

    def _header_stamp(self, message, receive_ns: int) -> int:
        return stamp_of(self.role, message, receive_ns)

    def _tool_sample(self, passed: Passed) -> Sample:
        return Sample(passed.stamp_ns, self._tool_pose(passed.placement), passed.cut)

    def _tool_pose(self, recorded: pin.SE3) -> ToolPose:
        ours = self._base * recorded * self._tool
        rotation = ours.rotation
        yaw = math.atan2(rotation[1, 0], rotation[0, 0])
        return ToolPose(ours.translation.copy(), yaw, math.acos(min(1.0, max(-1.0, -rotation[2, 2]))))

    def _placement(self, pose, scale: float, what: str) -> pin.SE3 | None:
        """A Pose or Transform as a placement; None, and `refused`, if it is not finite or no rotation."""
        position = getattr(pose, "position", getattr(pose, "translation", None))
        rotation = getattr(pose, "orientation", getattr(pose, "rotation", None))
        if position is None or rotation is None:
            raise AmRosError(f"{what}: has no position and orientation")
        values = np.array([position.x, position.y, position.z, rotation.x, rotation.y, rotation.z, rotation.w], float)
        if not np.isfinite(values).all():
            self.refused["not finite"] += 1
            return None
        length = math.sqrt(values[3:] @ values[3:])
        if abs(length - 1) > 0.01:
            self.refused["its quaternion is zero" if length < 0.01 else "its quaternion is not of length 1"] += 1
            return None
        values[:3] *= scale
        values[3:] /= length
        return pin.XYZQUATToSE3(values)


class PosesSource(PoseSource):
    """Messages that hold a pose."""

    def __init__(self, role: PoseRole, type_name: str):
        super().__init__(role)
        if not role.field and type_name not in POSE_FIELDS:
            raise AmRosError(
                f"pose: topic {role.topic} has type {type_name}: name the `field` with position and orientation, "
                f"or use one of {', '.join(POSE_FIELDS)}"
            )
        self._path = FieldPath(role.field or POSE_FIELDS[type_name], f"pose: {role.topic}")
        self._scale = 0.001 if role.unit == "mm" else 1.0
        self._motion = Plausible(f"pose: {role.topic}")
        self._seen, self._far, self._farthest_m = 0, 0, 0.0
        self._frame: str | None = role.base.strip("/") or None  # of all poses; None: the first one's
        self._in_others, self._turns, self._last_frame = 0, 0, ""

    def samples(self, message, receive_ns: int, static: bool = False) -> list[Sample]:
        """See PoseSource."""
        frame = getattr(self._path.header(message), "frame_id", "")
        found = self._path.read(message)
        if found is None:
            self.refused[f"there is none in {self._path.path}"] += 1
            return []
        placement = self._placement(found, self._scale, f"pose: {self.role.topic}")
        if placement is None or not self._in_its_frame(frame):
            return []
        self._check_unit(float(np.linalg.norm(placement.translation)))
        stamp = self._header_stamp(message, receive_ns)
        if self._unstamped(stamp):
            return []
        passed = self._motion.add(stamp, placement, f"frame {frame!r}" if frame else "")
        return [self._tool_sample(p) for p in passed]

    def begin_anew(self) -> None:
        """See PoseSource."""
        self._motion.begin_anew()

    def rest(self) -> list[Sample]:
        """See PoseSource."""
        if self._in_others and not self._seen:
            raise AmRosError(
                f"pose: {self.role.topic} is in frame {self._last_frame!r}, the mapping says {self.role.base!r}"
            )
        return []

    @property
    def spikes(self) -> int:
        """See PoseSource."""
        return self._motion.spikes

    def _header_stamp(self, message, receive_ns: int) -> int:
        return stamp_of(self.role, message, receive_ns, self._path.header(message))

    def _in_its_frame(self, told: str) -> bool:
        """Whether a pose is in the frame of the others; what another frame means is not known, so it is `refused`."""
        frame = told.strip("/")
        if self._frame is None:
            self._frame = self._last_frame = frame
        self._turns += frame != self._last_frame
        others, self._last_frame = frame != self._frame, frame
        if self._turns >= TOO_MANY and not self.role.base:
            raise AmRosError(
                f"pose: {self.role.topic}: two sources alternate, or one that changes its frame: one says frame "
                f"{self._frame!r}, the other frame {told!r}: name the one that counts as `base` under pose"
            )
        if not others:
            return True
        self._in_others += 1
        which = "the mapping's" if self.role.base else "the first's: `base` under pose names the one that counts"
        self.refused[f"in frame {told!r}, not in {self._frame!r} ({which})"] += 1
        return False

    def _check_unit(self, distance_m: float) -> None:
        """Millimetres taken for metres, and the other way round."""
        self._seen += 1
        self._far += distance_m > FARTHEST_M
        self._farthest_m = max(self._farthest_m, distance_m)
        near = self._seen == _UNIT_SEEN and self._farthest_m < _NEAREST_M and self.role.unit == "mm"
        if self._far >= 5 or near:
            number, other = distance_m / self._scale, "m" if near else "mm"
            raise AmRosError(
                f"pose: {self.role.topic}: positions such as {number:.4g} with `unit: {self.role.unit}` are "
                f"{distance_m:.4g} m from the base, where no arm works: `unit: {other}`?"
            )


def _offset(numbers) -> pin.SE3:
    return pin.SE3(pin.rpy.rpyToMatrix(*map(float, numbers[3:])), np.array(numbers[:3], float))
