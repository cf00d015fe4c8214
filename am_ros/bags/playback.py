"""An episode to be looked at: the picture at each decision as it was recorded, what was decided, and its Q."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from am_ros import images, topics
from am_ros.bags import types
from am_ros.bags.assembler import CONSUMED, END, consumed_name
from am_ros.bags.reader import BagReader
from am_ros.errors import AmRosError
from am_ros.paths import Folder

# One episode is held whole: at the paper's 472x472 px a picture has about 40 kB.
MAX_BYTES = 100_000_000
MAX_MOMENTS = 2000


@dataclass(frozen=True)
class Moment:
    """One observation, and the decision that was taken on it; the last one has none."""

    picture: bytes  # JPEG or PNG
    t_s: float  # since the first picture
    position_m: tuple[float, float, float]
    gripper_opening: float
    translation_m: tuple[float, float, float] | None = None
    rotation_rad: float = 0.0
    gripper: str = ""  # "opens", "closes" or empty
    terminate: bool = False
    q_value: float | None = None
    decision_ms: float = 0.0


def read_playback(bag: Folder) -> list[Moment]:
    """The moments of a bag in order.

    A bag without its end gives what is there. Raises AmRosError that names the bag if it is damaged, has no step, or is
    too large to be shown.
    """
    reader = BagReader(bag)
    pictures, steps, end = {}, {}, None
    for message in reader.messages():
        kind = consumed_name(message.name)
        if kind is None or message.type_name != CONSUMED[kind]:
            continue
        if kind in (topics.IMAGE, topics.IMAGE_COMPRESSED):
            pictures[types.header_stamp_ns(message.raw)] = kind, message.raw
            continue
        content = types.deserialize(message.type_name, message.raw)
        if kind == topics.STEP:
            steps[content.index] = content
        elif content.type == END:
            end = content
    if not steps:
        raise AmRosError(f"bag {Path(bag)}: holds no step to be shown")
    decisions = [steps[index] for index in sorted(steps)][:MAX_MOMENTS]
    moments, total = [], 0
    start_ns = types.stamp_ns(decisions[0].observation.image_stamp)
    for step, seen in [(s, s.observation) for s in decisions] + ([(None, end.observation)] if end is not None else []):
        stamp_ns = types.stamp_ns(seen.image_stamp)
        if stamp_ns not in pictures:
            continue
        picture = _picture(*pictures[stamp_ns])
        total += len(picture)
        if total > MAX_BYTES:
            raise AmRosError(f"bag {Path(bag)}: has more than {MAX_BYTES // 1_000_000} MB of pictures")
        moments.append(_moment(picture, (stamp_ns - start_ns) / 1e9, seen, step))
    if not moments:
        raise AmRosError(f"bag {Path(bag)}: none of the pictures that its steps name is there")
    return moments


def _picture(kind: str, raw: bytes) -> bytes:
    message = types.deserialize(CONSUMED[kind], raw)
    if kind == topics.IMAGE_COMPRESSED:
        return bytes(message.data)
    return images.encode_jpeg(images.array_from_image(message))


def _moment(picture: bytes, t_s: float, seen: Any, step: Any) -> Moment:
    p = seen.ee_pose.position
    about = (picture, t_s, (p.x, p.y, p.z), float(seen.gripper_opening))
    if step is None:
        return Moment(*about)
    action, way = step.action, step.action.translation
    return Moment(
        *about,
        translation_m=(way.x, way.y, way.z),
        rotation_rad=float(action.rotation_z),
        gripper={1: "opens", 2: "closes"}.get(int(action.gripper), ""),
        terminate=bool(action.terminate),
        q_value=None if math.isnan(step.q_value) else float(step.q_value),
        decision_ms=float(step.decision_ms),
    )
