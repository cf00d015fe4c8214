"""The tool's pose out of a tree of TF frames, each of which may come in messages of its own."""

import numpy as np
import pinocchio as pin

from am_ros.errors import AmRosError
from am_ros.ingest.histories import History, due
from am_ros.ingest.mapping import PoseRole
from am_ros.ingest.plausible import Plausible
from am_ros.ingest.poses import PoseSource, Sample
from am_ros.ingest.stamps import counted

TF_MESSAGE = "tf2_msgs/msg/TFMessage"
TF_TYPES = (TF_MESSAGE, "tf/msg/tfMessage")  # ROS 1 had TF in two packages
# Two publishers that give one frame different parents take turns.
_PARENT_CHANGES = 6
_SAME_M, _SAME_RAD = 0.001, 0.002


class _Frame:
    """What is known of one frame below its parent."""

    def __init__(self, parent: str, topic: str, child: str):
        self.parent, self.parent_changes = parent, 0
        self.static: pin.SE3 | None = None  # it does not move
        self.history = History(pin.SE3.Interpolate, same_placement)
        self.motion = Plausible(f"pose: frame {child} on {topic}")
        self.cuts: list[int] = []  # stamps at which it is elsewhere than its motion leads


class FramesSource(PoseSource):
    """The frame of the tool in that of the base."""

    def __init__(self, role: PoseRole):
        super().__init__(role)
        self._topic = role.topic or "/tf"
        self._base_frame, self._tip_frame = role.base.strip("/"), role.tip.strip("/")
        self._frames: dict[str, _Frame] = {}
        self._max_gap_ns = round(role.max_gap_s * 1e9)
        self._emitted: int | None = None
        self._chain: tuple[list[str], list[str]] | None = None
        self.changed_static: dict[str, float] = {}  # static frames that were given anew elsewhere: by how far [m]

    def samples(self, message, receive_ns: int, static: bool = False) -> list[Sample]:
        """See PoseSource."""
        for transform in message.transforms:
            child, parent = transform.child_frame_id.strip("/"), transform.header.frame_id.strip("/")
            placement = self._placement(transform.transform, 1.0, f"pose: frame {child}")
            if placement is None:
                continue
            frame = self._frame(child, parent)
            if static:
                self._take_static(child, frame, placement)
            elif frame.static is not None:
                self._conflict(child, frame, placement)
            else:
                stamp = counted(self.role, transform.header.stamp, receive_ns)
                if self._unstamped(stamp):
                    continue
                # Only what the pose is made of needs to be plausible: others simulate, or track badly.
                if self._in_chain(child):
                    for passed in frame.motion.add(stamp, placement, f"parent {parent}"):
                        frame.history.add(passed.stamp_ns, passed.placement)
                        frame.cuts += [passed.stamp_ns] if passed.cut else []
                else:
                    frame.history.add(stamp, placement)
        return [] if static else self._new_poses()

    def hold(self, message) -> None:
        """Take static frames before anything else: the first value of each holds for the time before it came."""
        for transform in message.transforms:
            child, parent = transform.child_frame_id.strip("/"), transform.header.frame_id.strip("/")
            placement = self._placement(transform.transform, 1.0, f"pose: frame {child}")
            if placement is not None and child not in self._frames:
                self._frame(child, parent).static = placement

    def begin_anew(self) -> None:
        """See PoseSource."""
        self._emitted = None
        for frame in self._frames.values():
            frame.motion.begin_anew()
            frame.history.begin_anew()
            frame.cuts.clear()

    def rest(self) -> list[Sample]:
        """See PoseSource: a link that stood all the time does so to the end."""
        return self._new_poses(last=True)

    def clocks(self, message, receive_ns: int) -> list[tuple[str, int]]:
        """See PoseSource: frames that stand may be stamped ahead, which is usual and does no harm."""
        found = []
        for transform in message.transforms:
            child = transform.child_frame_id.strip("/")
            frame = self._frames.get(child)
            if frame is not None and frame.history.moved and self._in_chain(child):
                stamp = counted(self.role, transform.header.stamp, receive_ns)
                found.append((f"{self._topic} frame {child}", stamp))
        return found

    @property
    def spikes(self) -> int:
        """See PoseSource."""
        return sum(frame.motion.spikes for frame in self._frames.values())

    def missing(self) -> str:
        """See PoseSource."""
        there = sorted(self._frames.keys() | {frame.parent for frame in self._frames.values()})
        wanted = [f for f in (self._base_frame, self._tip_frame) if f not in there]
        listed = f"{', '.join(there[:20])}{' ...' if len(there) > 20 else ''}" or "none"
        if wanted:
            refused = f"; a frame was left out: {super().missing()}" if self.refused else ""
            return f"frame {' and '.join(wanted)} not found; there are {listed}{refused}"
        if self._find_chain() is None:
            return f"frames {self._base_frame} and {self._tip_frame} are not connected"
        return f"between frames {self._base_frame} and {self._tip_frame} nothing comes on {self._topic}"

    def _frame(self, child: str, parent: str) -> _Frame:
        frame = self._frames.get(child)
        if frame is None:
            frame = self._frames[child] = _Frame(parent, self._topic, child)
            self._chain = None
        elif frame.parent != parent:
            frame.parent_changes += 1
            if frame.parent_changes >= _PARENT_CHANGES and self._in_chain(child):
                raise AmRosError(
                    f"pose: frame {child} on {self._topic}: two sources alternate, one below {frame.parent}, the other "
                    f"below {parent}: record one of them (`ros2 topic info -v` names the publishers)"
                )
            frame.parent, self._chain = parent, None
        return frame

    def _take_static(self, child: str, frame: _Frame, placement: pin.SE3) -> None:
        if frame.static is not None and not same_placement(frame.static, placement):
            self.changed_static[child] = float(np.linalg.norm(frame.static.translation - placement.translation))
        frame.static = placement
        self._chain = None

    def _conflict(self, child: str, frame: _Frame, placement: pin.SE3) -> None:
        static = frame.static
        if static is not None and self._in_chain(child) and not same_placement(static, placement):
            apart = np.linalg.norm(static.translation - placement.translation)
            raise AmRosError(
                f"pose: frame {child}: two sources, {self.role.static_topic} and {self._topic}, {1e3 * apart:.0f} mm "
                "apart: record one of them"
            )

    def _in_chain(self, child: str) -> bool:
        chain = self._find_chain()
        return chain is not None and (child in chain[0] or child in chain[1])

    def _find_chain(self) -> tuple[list[str], list[str]] | None:
        """The frames from base and from tip up to, without it, the ancestor that both have."""
        if self._chain is None:
            base, tip = self._ancestors(self._base_frame), self._ancestors(self._tip_frame)
            common = next((frame for frame in tip if frame in base), None)
            if common is None:
                return None
            self._chain = base[: base.index(common)], tip[: tip.index(common)]
        return self._chain

    def _ancestors(self, frame: str) -> list[str]:
        chain = [frame]
        while frame in self._frames:
            frame = self._frames[frame].parent
            if frame in chain:  # a circle: two publishers contradict each other
                break
            chain.append(frame)
        return chain

    def _new_poses(self, last: bool = False) -> list[Sample]:
        chain = self._find_chain()
        if chain is None:
            return []
        moving = [self._frames[f] for side in chain for f in side if self._frames[f].static is None]
        if not moving:
            return []
        histories = [frame.history for frame in moving if frame.history.stamps]
        if len(histories) < len(moving):
            return []
        if self._emitted is not None and max(h.newest for h in histories) < self._emitted - 1_000_000_000:
            self._emitted = None  # a clock was set back
        found = []
        for stamp in due(histories, self._emitted, last):
            self._emitted = stamp
            base, tip = (self._along(side, stamp) for side in chain)
            if base is None or tip is None:
                continue
            cut = False
            for frame in moving:
                cut = cut or any(c <= stamp for c in frame.cuts)
                frame.cuts = [c for c in frame.cuts if c > stamp]
            found.append(Sample(stamp, self._tool_pose(base.inverse() * tip), cut))
        return found

    def _along(self, frames: list[str], stamp: int) -> pin.SE3 | None:
        """Placement of the first of a chain of frames in the parent of the last."""
        placement = pin.SE3.Identity()
        for name in frames:
            frame = self._frames[name]
            step = frame.static if frame.static is not None else frame.history.at(stamp, self._max_gap_ns)
            if step is None:
                return None
            placement = step * placement
        return placement


def same_placement(a: pin.SE3, b: pin.SE3) -> bool:
    """Whether nothing moved but noise."""
    if np.abs(a.translation - b.translation).max() > _SAME_M:
        return False
    return float(np.vdot(a.rotation, b.rotation)) > 1 + 2 * np.cos(_SAME_RAD)
