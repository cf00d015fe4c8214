"""Bags of other cells whose truth is known: a tool goes along x, and a red bar in the picture shows where it is."""

import math
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import yaml
from mcap.writer import CompressionType, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from am_ros.action import ActionSpace
from am_ros.ingest.conversion import BagReport, ingest_bag
from am_ros.ingest.mapping import load_mapping

SPACE = ActionSpace()
T0 = 1_750_000_000.0  # [s]
IMAGE, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
POSE, JOINTS, TF = "geometry_msgs/msg/PoseStamped", "sensor_msgs/msg/JointState", "tf2_msgs/msg/TFMessage"
VIDEO, PACKET = "foxglove_msgs/msg/CompressedVideo", "ffmpeg_image_transport_msgs/msg/FFMPEGPacket"
OTHERS = {
    VIDEO: "builtin_interfaces/Time timestamp\nstring frame_id\nuint8[] data\nstring format\n",
    PACKET: "std_msgs/Header header\nint32 width\nint32 height\nstring encoding\nuint64 pts\nuint8 flags\n"
    "bool is_bigendian\nuint8[] data\n",
}
DOWN = (1.0, 0.0, 0.0, 0.0)  # quaternion x, y, z, w

STORE = get_typestore(Stores.ROS2_JAZZY)
for name, text in OTHERS.items():
    STORE.register(get_types_from_msg(text, name))


def make(type_name: str, **fields):
    """A message, all of whose fields are given."""
    return STORE.types[type_name](**fields)


def time(t: float):
    ns = round(t * 1e9)
    return make("builtin_interfaces/msg/Time", sec=ns // 10**9, nanosec=ns % 10**9)


def header(t: float, frame: str = "base_link"):
    return make("std_msgs/msg/Header", stamp=time(t), frame_id=frame)


def x_of(t: float) -> float:
    """Where the tool is [m], `t` seconds from the start: to and fro in 8 s."""
    return 0.55 + 0.15 * math.sin(2 * math.pi * t / 8)


def picture(x: float, size: int = 64) -> np.ndarray:
    """What the camera sees, RGB [size, size, 3]."""
    rgb = np.empty((size, size, 3), np.uint8)
    rgb[:], rgb[size // 2 :] = (20, 60, 160), (40, 120, 60)
    column, half = round((x - 0.35) / 0.4 * (size - 1)), max(1, size // 32)
    rgb[:, max(0, column - half) : column + half + 1] = (230, 30, 20)
    return rgb


def x_in(rgb: np.ndarray) -> float:
    """Where a picture shows the tool [m]."""
    red = (rgb[..., 0].astype(int) - rgb[..., 2]).mean(0)
    return 0.35 + 0.4 * np.flatnonzero(red > 0.6 * red.max()).mean() / (rgb.shape[1] - 1)


def image(t: float, pixels: np.ndarray, encoding: str = "rgb8"):
    """An Image of rows of pixels, in whatever encoding."""
    rows = np.ascontiguousarray(pixels).view(np.uint8).reshape(pixels.shape[0], -1)
    return make(
        IMAGE, header=header(t, "cam"), height=pixels.shape[0], width=pixels.shape[1], encoding=encoding,
        is_bigendian=0, step=rows.shape[1], data=rows.reshape(-1),
    )  # fmt: skip


def compressed(t: float, data: bytes, told: str):
    return make(COMPRESSED, header=header(t, "cam"), format=told, data=np.frombuffer(data, np.uint8))


def jpeg(pixels: np.ndarray) -> bytes:
    """A JPEG of what OpenCV takes for BGR, or for grey."""
    return cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()


def pose(t: float, xyz, quaternion=DOWN, frame: str = "base_link"):
    point = make("geometry_msgs/msg/Point", **dict(zip("xyz", map(float, xyz), strict=True)))
    turn = make("geometry_msgs/msg/Quaternion", **dict(zip("xyzw", map(float, quaternion), strict=True)))
    return make(POSE, header=header(t, frame), pose=make("geometry_msgs/msg/Pose", position=point, orientation=turn))


def joints(t: float, names, positions):
    none = np.zeros(0)
    return make(
        JOINTS, header=header(t), name=list(names), position=np.array(positions, float), velocity=none, effort=none
    )


def frames(*transforms):
    """A TFMessage of (t, parent, child, xyz, quaternion)."""
    found = []
    for t, parent, child, xyz, quaternion in transforms:
        vector = make("geometry_msgs/msg/Vector3", **dict(zip("xyz", map(float, xyz), strict=True)))
        turn = make("geometry_msgs/msg/Quaternion", **dict(zip("xyzw", map(float, quaternion), strict=True)))
        both = make("geometry_msgs/msg/Transform", translation=vector, rotation=turn)
        kind = "geometry_msgs/msg/TransformStamped"
        found.append(make(kind, header=header(t, parent), child_frame_id=child, transform=both))
    return make(TF, transforms=found)


def camera(seconds: float = 12.0, hz: float = 10.0, shift_s: float = 0.0, draw=None, kind: str = IMAGE, x=x_of) -> list:
    """Messages (topic, type, time of reception, message) of /cam, received 20 ms late; its stamps are off by `shift_s`.

    `draw(t, rgb)` makes the message.
    """
    draw = draw or image
    times = [i / hz for i in range(int(seconds * hz))]
    return [("/cam", kind, T0 + t + 0.02, draw(T0 + t + shift_s, picture(x(t)))) for t in times]


def poses(seconds: float = 12.0, hz: float = 50.0, shift_s: float = 0.0, x=x_of) -> list:
    """The same of /pose, received 1 ms late."""
    times = [i / hz for i in range(int(seconds * hz))]
    return [("/pose", POSE, T0 + t + 0.001, pose(T0 + t + shift_s, (x(t), 0.0, 0.2))) for t in times]


def write(path: Path, messages: list, in_order: bool = True) -> Path:
    """A folder with an MCAP file of the messages, sorted by their reception unless not `in_order`."""
    path.mkdir(parents=True)
    messages = sorted(messages, key=lambda m: m[2]) if in_order else messages
    schemas, channels = {}, {}
    with open(path / f"{path.name}_0.mcap", "wb") as file:
        writer = Writer(file, compression=CompressionType.ZSTD)
        writer.start("ros2", "recordings.py")
        for topic, kind, at, message in messages:
            if kind not in schemas:
                text = STORE.generate_msgdef(kind, ros_version=2)[0].encode()
                schemas[kind] = writer.register_schema(kind, "ros2msg", text)
            if topic not in channels:
                channels[topic] = writer.register_channel(topic, "cdr", schemas[kind])
            data = bytes(STORE.serialize_cdr(message, kind))
            writer.add_message(channels[topic], round(at * 1e9), data, round(at * 1e9))
        writer.finish()
    return path


def rules(folder: Path, **sections):
    """A mapping of /cam and /pose with more sections or other keys."""
    content = {"image": {"topic": "/cam"}, "pose": {"topic": "/pose"}}
    for section, keys in sections.items():
        content.setdefault(section, {}).update(keys)
    file = folder / "mapping.yaml"
    file.write_text(yaml.safe_dump(content))
    return load_mapping(file)


def ingested(bag: Path, mapping):
    """Episodes and report."""
    report = BagReport(bag)
    return list(ingest_bag(bag, "demo", mapping, SPACE, report)), report


def offset_by(mapping, role: str, offset_s: float):
    """The mapping with another `offset_s`."""
    return replace(mapping, **{role: replace(getattr(mapping, role), offset_s=offset_s)})


def largest_error_m(episodes) -> float:
    """The largest difference between what a picture shows and what the state says."""
    return max(abs(x_in(i) - s[2]) for e in episodes for i, s in zip(e.images, e.states, strict=True))
