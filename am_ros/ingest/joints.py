"""The tool's pose out of joint angles, through the arm's kinematics; the joints may come in parts."""

import math

import numpy as np
import pinocchio as pin

from am_ros.control.kinematics import Kinematics
from am_ros.control.robot import robot_description, robot_model
from am_ros.errors import AmRosError
from am_ros.ingest.histories import History, due
from am_ros.ingest.mapping import PoseRole
from am_ros.ingest.plausible import Plausible
from am_ros.ingest.poses import PoseSource, Sample

JOINT_STATE = "sensor_msgs/msg/JointState"
_SEEN = 50  # joint names that a sentence may list, and messages before a unit is judged
# No joint is turned further, and an arm whose joints are all within so few degrees is stretched out.
_FURTHEST_RAD, _STRETCHED_DEG = 7.0, 3.3


class JointsSource(PoseSource):
    """Joint angles, by name, in whatever order and in one message or several."""

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
        self._names: set[str] = set()
        self._index = {name: i for i, name in enumerate(role.joints)}
        self._parts: dict[tuple[int, ...], History] = {}  # by the joints, as they are numbered in `joints`
        self._names_of: dict[tuple[int, ...], str] = {}  # all that such a message names
        self._emitted: int | None = None
        self._max_gap_ns = round(role.max_gap_s * 1e9)
        self._motion = Plausible(f"pose: {role.topic}")
        self._messages, self._turned, self._furthest = 0, 0, 0.0

    def samples(self, message, receive_ns: int, static: bool = False) -> list[Sample]:
        """See PoseSource."""
        angles = dict(zip(message.name, message.position, strict=False))
        if len(self._names) < _SEEN:
            self._names.update(list(angles)[:_SEEN])
        ours = [name for name in message.name if name in self._index]
        if not ours:  # the gripper's joints come in messages of their own
            return []
        if len(message.name) != len(message.position):
            self.refused["not as many positions as names of joints"] += 1
            return []
        if len(set(ours)) != len(ours):
            self.refused["a joint is named twice in one message"] += 1
            return []
        part = tuple(i for name, i in self._index.items() if name in angles)
        values = np.array([angles[self.role.joints[i]] for i in part], float)
        if not np.isfinite(values).all():
            self.refused["a joint angle is not finite"] += 1
            return []
        self._check_unit(float(np.abs(values).max()))
        stamp = self._header_stamp(message, receive_ns)
        if self._unstamped(stamp):
            return []
        if len(part) == len(self._index):
            return self._whole(stamp, self._scale * values, _listed(message.name))
        return self._in_parts(part, stamp, self._scale * values, _listed(message.name))

    def clocks(self, message, receive_ns: int) -> list[tuple[str, int]]:
        """See PoseSource."""
        part = tuple(i for name, i in self._index.items() if name in message.name)
        if not part:
            return []
        whole = len(part) == len(self._index)
        name = "" if whole else f" joints {_listed([self.role.joints[i] for i in part])}"
        return [(f"{topic}{name}", stamp) for topic, stamp in super().clocks(message, receive_ns)]

    def begin_anew(self) -> None:
        """See PoseSource."""
        self._motion.begin_anew()
        self._emitted = None
        for history in self._parts.values():
            history.begin_anew()

    def rest(self) -> list[Sample]:
        """See PoseSource."""
        return self._together(last=True)

    @property
    def spikes(self) -> int:
        """See PoseSource."""
        return self._motion.spikes

    def missing(self) -> str:
        """See PoseSource."""
        absent = [name for name in self.role.joints if name not in self._names]
        if absent:
            return f"joint {', '.join(absent)} not found; there are {', '.join(sorted(self._names)) or 'none'}"
        if self.refused:
            return super().missing()
        named = " and ".join(_listed([self.role.joints[i] for i in part]) for part in self._parts)
        return f"the joints come in parts, {named}, whose stamps are too far apart to be one pose"

    def _whole(self, stamp: int, q: np.ndarray, names: str) -> list[Sample]:
        position, rotation = self._kinematics.forward(q)
        passed = self._motion.add(stamp, pin.SE3(rotation, position), f"joints {names}")
        return [self._tool_sample(p) for p in passed]

    def _in_parts(self, part: tuple[int, ...], stamp: int, values: np.ndarray, names: str) -> list[Sample]:
        """Put the parts together at the stamps at which all of them are known, each interpolated there."""
        if part not in self._parts:
            self._parts[part] = History(_between, _same)
            self._names_of[part] = names
            self._check_parts()
        self._parts[part].add(stamp, values)
        if self._emitted is not None and stamp < self._emitted - 1_000_000_000:
            self._emitted = None  # a clock was set back
        return self._together()

    def _together(self, last: bool = False) -> list[Sample]:
        known = [part for part, history in self._parts.items() if history.stamps]
        if sum(map(len, known)) < len(self._index):
            return []
        found = []
        for at in due(self._parts.values(), self._emitted, last):
            self._emitted = at
            q = np.zeros(len(self._index))
            values = [(list(p), history.at(at, self._max_gap_ns)) for p, history in self._parts.items()]
            if all(value is not None for _, value in values):
                for indices, value in values:
                    q[indices] = value
                found += self._whole(at, q, "in parts")
        return found

    def _check_parts(self) -> None:
        """Two messages that name the same joint are of two sources."""
        parts = list(self._parts)
        for one in parts[:-1]:
            both = sorted(set(one) & set(parts[-1]))
            if both:
                raise AmRosError(
                    f"pose: {self.role.topic}: joint {_listed([self.role.joints[i] for i in both])} comes from two "
                    f"sources, messages with {self._names_of[one]} and messages with {self._names_of[parts[-1]]}: "
                    "record one of them (`ros2 topic info -v` names the publishers)"
                )

    def _check_unit(self, furthest: float) -> None:
        """Degrees taken for radians, and the other way round."""
        self._messages += 1
        self._furthest = max(self._furthest, furthest)
        degrees = self.role.angle_unit == "deg"
        self._turned += self._scale * furthest > _FURTHEST_RAD
        stretched = degrees and self._messages == _SEEN and 0.3 < self._furthest < _STRETCHED_DEG
        if self._turned >= 5 or stretched:
            raise AmRosError(
                f"pose: {self.role.topic}: angles of up to {self._furthest:.4g} with `angle_unit: "
                f"{self.role.angle_unit}` are {'a stretched arm' if stretched else 'more than any joint turns'}: "
                f"`angle_unit: {'rad' if degrees else 'deg'}`?"
            )


def _listed(names) -> str:
    names = list(names)
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def _between(a: np.ndarray, b: np.ndarray, share: float) -> np.ndarray:
    return a + share * (b - a)


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    return bool(np.abs(a - b).max() < 0.002)
