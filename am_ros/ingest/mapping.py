"""The mapping file: which topics of a foreign bag are what, in which units and frames, and what an episode is."""

import dataclasses
import difflib
import hashlib
import math
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from am_ros import configuration
from am_ros.configuration import parameter
from am_ros.control.robot import MODELS
from am_ros.errors import AmRosError

HEADER, RECEIVE = "header", "receive"
POSE, TF, JOINTS = "pose", "tf", "joints"
NO_OFFSET = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
MAX_OFFSET_S = 4e9  # a clock that was never set shows 1970
FARTHEST_M = 10.0  # no arm reaches further from its base
MAX_SIDE_PX = 1024  # of the images of an episode: what is learned from has 64 to 472


def _stamp():
    return parameter(HEADER, "the time that counts: the header's stamp, or the reception's", choices=(HEADER, RECEIVE))


def _offset():
    return parameter(
        0.0, "is added to that time, where its clock differs [s]; `--dry-run` tells what to put here",
        range=(-MAX_OFFSET_S, MAX_OFFSET_S),
    )  # fmt: skip


def _type():
    return parameter("", "message type that the topic must have, e.g. sensor_msgs/msg/Image; empty: as the bag says")


@dataclass(frozen=True)
class ImageRole:
    """The camera."""

    topic: str = parameter("", "sensor_msgs Image or CompressedImage, or video of Foxglove or ffmpeg; needed")
    type: str = _type()
    encoding: str = parameter(
        "", "encoding of the pixels where the message's own is wrong or missing, e.g. bayer_rggb8; empty: the message's"
    )
    swap_red_blue: bool = parameter(False, "exchange red and blue: a recorder compressed RGB as if it were BGR")
    crop: tuple[int, ...] = parameter((), "part of the image that is used: left, top, width, height [px]; empty: all")
    width: int = parameter(64, "of an episode's images: cropped centrally, averaged down [px]", range=(8, MAX_SIDE_PX))
    height: int = parameter(64, "of the same [px]", range=(8, MAX_SIDE_PX))
    stamp: str = _stamp()
    offset_s: float = _offset()


@dataclass(frozen=True)
class PoseRole:
    """Where the tool is: from poses, from TF, or from joint angles."""

    source: str = parameter(POSE, "a topic of poses, TF frames, or joint states", choices=(POSE, TF, JOINTS))
    topic: str = parameter("", "its topic; empty: /tf for tf, else needed")
    type: str = _type()
    field: str = parameter("", "pose: where in the message the pose is, e.g. pose.pose; empty: where its type has it")
    unit: str = parameter("m", "pose: unit of positions", choices=("m", "mm"))
    static_topic: str = parameter("/tf_static", "tf: topic of the frames that do not move; it may be absent")
    base: str = parameter("", "frame of the robot's base; tf: needed; pose: what header.frame_id has to say, if given")
    tip: str = parameter("", "tf: frame of the tool; joints with urdf: its link there")
    joints: tuple[str, ...] = parameter((), "joints: the arm's joints as the message names them, A1 ... A7 in order")
    angle_unit: str = parameter("rad", "joints: unit of angles", choices=("rad", "deg"))
    robot_model: str = parameter("iiwa14", "joints: the arm, up to the project's own tool centre point", choices=MODELS)
    urdf: str = parameter("", "joints: a URDF file beside the mapping, in place of robot_model; `tip` is a link of it")
    base_offset: tuple[float, ...] = parameter(
        NO_OFFSET, "recorded base frame in ours, whose z = 0 is the table: x, y, z [m], roll, pitch, yaw [rad]"
    )
    tool_offset: tuple[float, ...] = parameter(
        NO_OFFSET, "tool centre point, z out of the tool, in the recorded tip: x, y, z [m], roll, pitch, yaw [rad]"
    )
    max_gap_s: float = parameter(
        0.1, "an image between two poses further apart than this has none [s]", range=(0.001, 10.0)
    )
    max_tilt_rad: float = parameter(
        0.35, "an image whose tool is tilted further from straight down is not used [rad]", range=(0.0, math.pi)
    )
    stamp: str = _stamp()
    offset_s: float = _offset()


@dataclass(frozen=True)
class GripperRole:
    """A number that says how far the gripper is open, as measured."""

    topic: str = parameter("", "any message with a number or a Bool; empty: there is none")
    type: str = _type()
    field: str = parameter("data", "where the number is, e.g. width, position[0], or position[finger_joint] by name")
    open: float = parameter(1.0, "the number when fully open, in the bag's own unit (a Bool counts 0 or 1)")
    closed: float = parameter(0.0, "the number when closed")
    stamp: str = _stamp()
    offset_s: float = _offset()


@dataclass(frozen=True)
class MarkerRole:
    """Messages that say where an episode starts and ends. Values are compared as text, upper or lower case."""

    topic: str = parameter("", "a button (std_msgs/Empty), a Bool, a String, or any message with such a field")
    type: str = _type()
    field: str = parameter("data", "where the value is; of a message without fields every one counts as `start`")
    start: tuple[str, ...] = parameter(("true", "start"), "values that start an episode")
    end: tuple[str, ...] = parameter(("false", "end", "stop"), "values that end it; none: the next start does")
    success: tuple[str, ...] = parameter(("success",), "values that end it as a success")
    failure: tuple[str, ...] = parameter(("failure",), "values that end it as a failure")
    good: tuple[str, ...] = parameter(("good",), "values that end it with this label (`am-ros train --labels`)")
    bad: tuple[str, ...] = parameter(("bad",), "the same, with that label")
    discard: tuple[str, ...] = parameter(("discard", "abort"), "values that withdraw it")
    stamp: str = _stamp()
    offset_s: float = _offset()


@dataclass(frozen=True)
class Clocks:
    """When the stamps of the topics are believed."""

    max_delay_s: float = parameter(
        0.3, "a bag is refused if stamps lag behind reception on one topic by so much more than on another [s]",
        range=(0.02, 60.0),
    )  # fmt: skip
    images: int = parameter(
        300, "so many images of a bag are compared with the tool's motion, for the camera's offset; 0: none",
        range=(0, 100_000),
    )  # fmt: skip


@dataclass(frozen=True)
class Episodes:
    """How a recording is cut into episodes."""

    cut: str = parameter(
        "gap", "at pauses of the images alone, by `marker`, or some time after the gripper moved",
        choices=("gap", "marker", "gripper"),
    )  # fmt: skip
    gap_s: float = parameter(2.0, "a pause of the images that ends any episode [s]", range=(0.05, 3600.0))
    gripper_event: str = parameter("opens", "cut: gripper: which event ends an episode", choices=("opens", "closes"))
    after_s: float = parameter(1.0, "cut: gripper: so long after the event it ends [s]", range=(0.0, 60.0))
    min_steps: int = parameter(3, "a shorter episode is dropped", range=(1, 10_000))
    max_steps: int = parameter(100, "a longer one goes on as another, from its last image on", range=(2, 2_000))
    terminate: bool = parameter(True, "an episode that ends where `cut` says has a terminating step at its end")
    outcome: str = parameter(
        "unknown", "what is known of all episodes; a marker's success or failure counts more",
        choices=("unknown", "success", "failure"),
    )  # fmt: skip
    task: str = parameter("", "name of the task, noted in each episode")
    source: str = parameter("teleoperation", "who acted, noted in each episode: teleoperation, expert, policy")


@dataclass(frozen=True)
class Steps:
    """How a continuous motion becomes steps of the action space."""

    time_s: float = parameter(0.5, "least time from one image to the next [s]; 0: every image", range=(0.0, 60.0))
    too_large: str = parameter(
        "split", "a step beyond the action space: split at an image in between, or refuse its episode",
        choices=("split", "refuse"),
    )  # fmt: skip
    still_m: float = parameter(
        0.002, "no step is made while the tool moves less than this [m], turns less than still_rad", range=(0.0, 0.1)
    )
    still_rad: float = parameter(0.01, "see still_m [rad]", range=(0.0, 0.5))
    gripper_moves: float = parameter(
        0.05, "a measured opening (0 ... 1) that changes more than this was commanded to", range=(0.001, 1.0)
    )


@dataclass(frozen=True)
class Mapping:
    """All sections of a mapping file."""

    image: ImageRole = field(default_factory=ImageRole)
    pose: PoseRole = field(default_factory=PoseRole)
    gripper: GripperRole = field(default_factory=GripperRole)
    gripper_command: GripperRole = field(default_factory=GripperRole)
    marker: MarkerRole = field(default_factory=MarkerRole)
    clocks: Clocks = field(default_factory=Clocks)
    episodes: Episodes = field(default_factory=Episodes)
    steps: Steps = field(default_factory=Steps)
    path: str = ""  # of the file
    sha256: str = ""  # of its text


SECTIONS: dict[str, Any] = {
    f.name: f.default_factory for f in dataclasses.fields(Mapping) if f.name not in ("path", "sha256")
}


class _EachKeyOnce(yaml.SafeLoader):
    """YAML that is read by the letter takes the last of two equal keys, and says nothing."""

    def construct_mapping(self, node, deep=False):
        """See SafeLoader; raises YAMLError if a key is there twice."""
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            if key.value in seen:
                raise yaml.YAMLError(f"key {key.value!r} is there twice, in line {key.start_mark.line + 1} again")
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def load_mapping(path) -> Mapping:
    """Read and check a mapping file; AmRosError names the file and the key, and says which keys there are."""
    try:
        text = Path(path).read_bytes()
    except OSError as error:
        raise AmRosError(f"mapping {path}: cannot be read: {error.strerror}") from None
    try:
        content = _EachKeyOnce(text).get_single_data()  # a SafeLoader: makes nothing but plain data
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise AmRosError(f"mapping {path}: is not YAML: {' '.join(str(error).split())}") from None
    try:
        sections = _sections(content)
        _check_together(sections)
    except AmRosError as error:
        raise AmRosError(f"mapping {path}: {error}") from None
    pose = sections.get("pose")
    if pose is not None and pose.urdf:  # relative to the mapping, wherever it is used from
        sections["pose"] = dataclasses.replace(pose, urdf=str(Path(path).parent / Path(pose.urdf).expanduser()))
    return Mapping(**sections, path=str(path), sha256=hashlib.sha256(text).hexdigest())


def describe_keys() -> str:
    """A mapping file with every key at its default, and beside each, or above it, what it means."""
    lines: list[str] = []
    described: dict[Any, str] = {}
    for section, cls in SECTIONS.items():
        if cls in described:
            lines += [f"{section}:  # The same keys as {described[cls]}: what was commanded", "  topic: ''"]
            continue
        described[cls] = section
        lines += [f"{section}:  # {cls.__doc__.splitlines()[0].rstrip('.')}"]
        for f in dataclasses.fields(cls):
            value = list(f.default) if isinstance(f.default, tuple) else f.default
            line = f"  {f.name}: {yaml.safe_dump(value, default_flow_style=True).splitlines()[0]}"
            note = f.metadata["help"]
            if f.metadata.get("choices"):
                note += f" ({', '.join(map(str, f.metadata['choices']))})"
            lines += [f"{line}  # {note}"] if len(line) + len(note) < 115 else [f"  # {note}", line]
    return "\n".join(lines)


def _sections(content) -> dict:
    if not isinstance(content, dict):
        raise AmRosError(f"expected sections {', '.join(SECTIONS)}")
    sections: dict[str, Any] = {}
    for name, values in content.items():
        _check_known(str(name), SECTIONS, "section")
        if not isinstance(values, dict):
            raise AmRosError(f"{name}: expected keys with values")
        cls = SECTIONS[name]
        hints = typing.get_type_hints(cls)
        for key in values:
            _check_known(str(key), hints, f"{name}: key")
        try:
            sections[name] = configuration.from_dict(cls, {k: _value(hints[k], v) for k, v in values.items()})
        except AmRosError as error:
            raise AmRosError(f"{name}: {str(error).removeprefix('parameter ')}") from None
    return sections


def _check_known(name: str, known, what: str) -> None:
    if name in known:
        return
    near = difflib.get_close_matches(name, known, 1)
    meant = f" (did you mean {near[0]}?)" if near else ""
    raise AmRosError(f"{what} {name!r} unknown{meant}; there are {', '.join(known)}")


def _value(kind, value):
    """A value as YAML gives it, as the field's type: texts and numbers of lists each for itself."""
    if typing.get_origin(kind) is not tuple:
        return value
    item = typing.get_args(kind)[0]
    items = value if isinstance(value, list) else [] if value is None else [value]
    if item is str:  # YAML reads `true` and `1` as no text; a marker's values are compared as text
        return tuple(as_text(v) for v in items)
    if not all(isinstance(v, (int, item)) and not isinstance(v, bool) for v in items):
        raise AmRosError(f"{value!r} is not a list of numbers")
    return tuple(item(v) for v in items)


def as_text(value) -> str:
    """A value of a mapping or of a message as text that can be compared."""
    if isinstance(value, float) and value.is_integer():  # a number is the same in a Float as in an Int
        value = int(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def _check_together(sections: dict) -> None:
    image, pose = sections.get("image", ImageRole()), sections.get("pose", PoseRole())
    episodes = sections.get("episodes", Episodes())
    if not image.topic:
        raise AmRosError("image: key topic is missing")
    if image.crop and (len(image.crop) != 4 or min(image.crop) < 0 or min(image.crop[2:]) < 1):
        raise AmRosError(f"image: crop: {list(image.crop)} is not left, top, width, height")
    for name in ("base_offset", "tool_offset"):
        numbers = getattr(pose, name)
        if len(numbers) != 6 or not all(map(math.isfinite, numbers)):
            raise AmRosError(f"pose: {name}: {list(numbers)} is not x, y, z, roll, pitch, yaw")
        if max(map(abs, numbers[:3])) > FARTHEST_M:
            raise AmRosError(f"pose: {name}: {list(numbers[:3])} is in metres: are these millimetres?")
        if max(map(abs, numbers[3:])) > math.tau:
            raise AmRosError(f"pose: {name}: {list(numbers[3:])} is in radians: are these degrees?")
    needed = {POSE: ("topic",), TF: ("base", "tip"), JOINTS: ("topic", "joints", *(("tip",) if pose.urdf else ()))}
    for name in needed[pose.source]:
        if not getattr(pose, name):
            raise AmRosError(f"pose: key {name} is missing, which source: {pose.source} needs")
    for name in ("gripper", "gripper_command"):
        role = sections.get(name, GripperRole())
        if role.open == role.closed or not (math.isfinite(role.open) and math.isfinite(role.closed)):
            raise AmRosError(f"{name}: open and closed must be two numbers that differ")
    if episodes.cut == "marker" and not sections.get("marker", MarkerRole()).topic:
        raise AmRosError("episodes: cut: marker needs the section marker with its topic")
    grippers = [sections.get(name, GripperRole()).topic for name in ("gripper", "gripper_command")]
    if episodes.cut == "gripper" and not any(grippers):
        raise AmRosError("episodes: cut: gripper needs the section gripper or gripper_command with its topic")
