"""ROS message types without ROS: ROS 2 Jazzy plus this project's am_msgs, as rosbags dataclasses."""

import os
import struct
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.interfaces import Nodetype
from rosbags.serde import SerdeError
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.base import TypesysError

from am_ros.errors import AmRosError

STAMP = "builtin_interfaces/msg/Time"


def message(type_name: str, **fields: Any) -> Any:
    """A message of `type_name`; what is not given is zero, empty or a zero message, as in rclpy."""
    cls, makers = _class_and_defaults(type_name)
    unknown = fields.keys() - makers.keys()
    if unknown:
        raise AmRosError(f"{type_name} has no field {', '.join(sorted(unknown))}")
    return cls(**{name: fields[name] if name in fields else make() for name, make in makers.items()})


def stamp(nanoseconds: int) -> Any:
    """builtin_interfaces/msg/Time from nanoseconds."""
    return message(STAMP, sec=int(nanoseconds) // 1_000_000_000, nanosec=int(nanoseconds) % 1_000_000_000)


def stamp_ns(time: Any) -> int:
    """Nanoseconds of a builtin_interfaces Time, rclpy's or rosbags'."""
    nanoseconds: int = time.sec * 1_000_000_000 + time.nanosec
    return nanoseconds


@cache
def has_header(type_name: str) -> bool:
    """Whether the first field of a message type is a std_msgs/Header; False for types that are not known."""
    fields = _store().fielddefs.get(type_name, ([], []))[1]
    return bool(fields) and fields[0][1] == (Nodetype.NAME, "std_msgs/msg/Header")


def header_stamp_ns(raw: bytes) -> int:
    """Nanoseconds of header.stamp of a serialised message whose first field is a std_msgs/Header."""
    if len(raw) < 12 or raw[0] != 0 or raw[1] not in (0, 1):
        raise AmRosError("not a serialised message with a header")
    sec: int
    nanosec: int
    sec, nanosec = struct.unpack_from("<iI" if raw[1] else ">iI", raw, 4)
    return sec * 1_000_000_000 + nanosec


def serialize(type_name: str, msg: Any) -> bytes:
    """The message as little-endian CDR, the bytes that travel over DDS."""
    return bytes(_store().serialize_cdr(msg, type_name, little_endian=True))


def deserialize(type_name: str, raw: bytes) -> Any:
    """The message in `raw` (CDR); raises AmRosError if the bytes are not a message of this type."""
    if type_name not in _store().fielddefs:
        raise AmRosError(f"message type {type_name} is not known here")
    try:
        return _store().deserialize_cdr(raw, type_name)
    except (SerdeError, IndexError, ValueError, MemoryError) as error:
        raise AmRosError(f"not a {type_name}: {error}") from None


@cache
def definition(type_name: str) -> str:
    """Text of the message definition with all it depends on, as MCAP's `ros2msg` schemas want it."""
    try:
        return str(_store().generate_msgdef(type_name, ros_version=2)[0])
    except TypesysError:
        raise AmRosError(f"message type {type_name} is not known here") from None


@cache
def type_hash(type_name: str) -> str:
    """REP 2016 type hash (`RIHS01_...`) as rosbag2's metadata wants it."""
    return str(_store().hash_rihs01(type_name))


@cache
def _store() -> Any:
    store = get_typestore(Stores.ROS2_JAZZY)
    found = {}
    for path in sorted(_definitions_folder().glob("*.msg")):
        found.update(get_types_from_msg(path.read_text(encoding="utf-8"), f"am_msgs/msg/{path.stem}"))
    store.register(found)
    return store


def _definitions_folder() -> Path:
    """Where am_msgs is installed; the source tree's msg/ if it is not."""
    prefixes = [p for p in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if p] + [sys.prefix]
    source_tree = Path(__file__).resolve().parents[2] / "msg" / "msg"
    for folder in [*(Path(p) / "share" / "am_msgs" / "msg" for p in prefixes), source_tree]:
        if (folder / "Step.msg").is_file():
            return folder
    raise AmRosError("package am_msgs is not installed: run `make setup`, or source the workspace it was built in")


@cache
def _class_and_defaults(type_name: str) -> tuple[Any, dict[str, Callable[[], Any]]]:
    store = _store()
    if type_name not in store.fielddefs:
        raise AmRosError(f"message type {type_name} is not known here")
    return store.types[type_name], {name: _default(desc) for name, desc in store.fielddefs[type_name][1]}


def _default(desc: Any) -> Callable[[], Any]:
    """A function that makes the default value of a field."""
    kind, detail = desc
    if kind == Nodetype.NAME:
        return lambda: message(detail)
    if kind == Nodetype.BASE:
        zero = {"string": "", "bool": False, "float32": 0.0, "float64": 0.0}.get(detail[0], 0)
        return lambda: zero
    (item_kind, item), length = detail
    if item_kind == Nodetype.BASE and item[0] != "string":
        return lambda: np.zeros(length if kind == Nodetype.ARRAY else 0, item[0])
    make = _default(detail[0])
    return lambda: [make() for _ in range(length if kind == Nodetype.ARRAY else 0)]
