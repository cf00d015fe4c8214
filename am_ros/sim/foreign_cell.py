"""The simulated cell as other cells record themselves: other topics, types, units, frames and bag formats.

What `am-ros bags ingest` is tried on: each dialect fits one of the mappings in config/ingest/.

    python -m am_ros.sim.foreign_cell --dialect lbr_fri --task pick_place --episodes 20 --out runs/foreign
"""

import argparse
import math
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pinocchio as pin
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import StoragePlugin
from rosbags.rosbag2 import Writer as Writer2
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from am_ros import images
from am_ros.errors import AmRosError
from am_ros.sim.environment import Environment
from am_ros.sim.episodes import Mixture, Performance, fixed_noise, perform
from am_ros.sim.tasks import find_task, train_seed

START_NS = 1_780_000_000_000_000_000
PAUSE_S = 5.0  # between two demonstrations
JOINT_RATE_HZ = 50
LBR_JOINTS = tuple(f"lbr_A{i}" for i in range(1, 8))
FLANGE_TO_TCP_M = {"lbr_fri_tf": 0.1, "ros1": 0.15}
PLATE_M = 0.05  # the ROS 1 cell's base stands on one


@dataclass
class Drive:
    """One demonstration as its sensors saw it; times are seconds since its start."""

    performance: Performance
    joints: list[tuple[float, np.ndarray, float]] = field(default_factory=list)  # time, angles [7], opening
    pictures: list[tuple[float, np.ndarray]] = field(default_factory=list)
    commands: list[tuple[float, float]] = field(default_factory=list)  # time, opening commanded to the gripper

    @property
    def duration_s(self) -> float:
        return max(self.joints[-1][0], self.pictures[-1][0])


def drive(environment: Environment, seed: int, mixture: Mixture, image_rate_hz: float = 10.0) -> Drive:
    """Let a demonstrator act and record it at JOINT_RATE_HZ; `image_rate_hz` 0: an image at each step alone."""
    cell, chunk = environment.workcell, environment.workcell.config.physics_rate_hz // JOINT_RATE_HZ
    advance, command = cell.advance, cell.command_gripper
    joints: list[tuple[float, np.ndarray, float]] = []
    pictures: list[tuple[float, np.ndarray]] = []
    commands: list[tuple[float, float]] = []

    def look() -> None:
        if joints and cell.time_s <= joints[-1][0]:  # the scene was reset
            joints.clear()
            pictures.clear()
            commands.clear()
        joints.append((cell.time_s, cell.arm_positions(), cell.gripper_opening()))
        if image_rate_hz and (not pictures or cell.time_s - pictures[-1][0] >= 1 / image_rate_hz - 1e-6):
            pictures.append((cell.time_s, cell.render()))

    def advance_and_look(seconds: float) -> None:
        left = round(seconds * cell.config.physics_rate_hz)
        while left > 0:
            advance(min(chunk, left) / cell.config.physics_rate_hz)
            left -= chunk
            look()

    def command_and_note(opening: float) -> None:
        commands.append((cell.time_s, opening))
        command(opening)

    watched: Any = cell
    watched.advance, watched.command_gripper = advance_and_look, command_and_note
    try:
        performance = perform(environment, seed, mixture)
    finally:
        del watched.advance, watched.command_gripper
    if not image_rate_hz:
        pictures = [(o.time_s, o.image) for o in performance.observations]
    began = max(0.0, joints[0][0])
    return Drive(
        performance,
        [j for j in joints if j[0] >= began],
        [p for p in pictures if p[0] >= began],
        [c for c in commands if c[0] >= 0],
    )


class BagOut:
    """A foreign bag that is being written; messages are handed over in the order of their times."""

    def __init__(self, path, kind: str, definitions: dict[str, str] | None = None):
        """`kind` is mcap, sqlite3 or ros1; `definitions`: texts of types that ROS does not bring."""
        self.ros1 = kind == "ros1"
        self.store = get_typestore(Stores.ROS1_NOETIC if self.ros1 else Stores.ROS2_HUMBLE)
        for name, text in (definitions or {}).items():
            self.store.register(get_types_from_msg(text, name))
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        self._writer: Writer1 | Writer2
        if self.ros1:
            self._writer = Writer1(path)
        else:
            self._writer = Writer2(path, version=9, storage_plugin=StoragePlugin[kind.upper()])
        self._writer.open()
        self._connections: dict[Any, Any] = {}

    def make(self, type_name: str, **fields):
        """A message, all of whose fields are given."""
        return self.store.types[type_name](**fields)

    def stamp(self, time_ns: int):
        """A time."""
        return self.make("builtin_interfaces/msg/Time", sec=time_ns // 10**9, nanosec=time_ns % 10**9)

    def header(self, time_ns: int, frame: str = ""):
        """A header; those of ROS 1 have a number too."""
        number = {"seq": 0} if self.ros1 else {}
        return self.make("std_msgs/msg/Header", **number, stamp=self.stamp(time_ns), frame_id=frame)

    def write(self, topic: str, type_name: str, time_ns: int, message) -> None:
        """Append a message, received at that time."""
        if topic not in self._connections:
            self._connections[topic] = self._writer.add_connection(topic, type_name, typestore=self.store)
        serialize = self.store.serialize_ros1 if self.ros1 else self.store.serialize_cdr
        self._writer.write(self._connections[topic], time_ns, serialize(message, type_name))

    def close(self) -> None:
        """Finish the bag."""
        self._writer.close()


def write_lbr_fri(bag: BagOut, drives: Iterable[Drive], start_ns: int = START_NS) -> None:
    """Joint states of lbr_fri_ros2_stack, a Robotiq gripper, raw images in OpenCV's order, a Bool as a marker."""
    joint_state, image = "sensor_msgs/msg/JointState", "sensor_msgs/msg/Image"

    def joints(topic, names, t, positions):
        none = np.zeros(0)
        message = bag.make(
            joint_state, header=bag.header(t), name=list(names), position=np.array(positions, float), velocity=none,
            effort=none,
        )  # fmt: skip
        bag.write(topic, joint_state, t + 1_000_000, message)

    def arm(t, angles, opening):
        joints("/lbr/joint_states", LBR_JOINTS[::-1], t, angles[::-1])  # by name, in whatever order
        joints("/gripper/joint_states", ("finger_joint",), t, (0.8 * (1 - opening),))

    def picture(t, rgb):
        height, width = rgb.shape[:2]
        message = bag.make(
            image, header=bag.header(t, "camera"), height=height, width=width, encoding="bgr8", is_bigendian=0,
            step=3 * width, data=np.ascontiguousarray(rgb[..., ::-1]).reshape(-1),
        )  # fmt: skip
        bag.write("/camera/color/image_raw", image, t + 30_000_000, message)

    def mark(t, begins):
        message = bag.make("std_msgs/msg/Bool", data=begins)
        bag.write("/demonstration", "std_msgs/msg/Bool", t, message)

    _play(drives, start_ns, arm, picture, lambda t, opening: None, mark)


def write_lbr_fri_tf(bag: BagOut, drives: Iterable[Drive], start_ns: int = START_NS) -> None:
    """TF alone tells where the flange is, commands in mm what the gripper is to do; PNG images."""
    tf, compressed = "tf2_msgs/msg/TFMessage", "sensor_msgs/msg/CompressedImage"
    forward = _forward(FLANGE_TO_TCP_M["lbr_fri_tf"])
    to_flange = pin.SE3(np.eye(3), np.array([0.0, 0.0, 0.045]))  # from the last link

    def transform(t, parent, child, placement):
        x, y, z, *q = pin.SE3ToXYZQUAT(placement).tolist()
        return bag.make(
            "geometry_msgs/msg/TransformStamped", header=bag.header(t, parent), child_frame_id=child,
            transform=bag.make(
                "geometry_msgs/msg/Transform", translation=bag.make("geometry_msgs/msg/Vector3", x=x, y=y, z=z),
                rotation=_quaternion(bag, q),
            ),
        )  # fmt: skip

    def frames(topic, t, *transforms):
        bag.write(topic, tf, t, bag.make(tf, transforms=list(transforms)))

    def arm(t, angles, opening):
        link = forward(angles) * to_flange.inverse()
        elsewhere = transform(t, "map", "cart", pin.SE3.Identity())
        frames("/tf", t, transform(t, "lbr_link_0", "lbr_link_7", link), elsewhere)

    def picture(t, rgb):
        data = np.frombuffer(images.encode_png(rgb), np.uint8)
        message = bag.make(compressed, header=bag.header(t), format="rgb8; png compressed bgr8", data=data)
        bag.write("/camera/color/image_raw/compressed", compressed, t + 30_000_000, message)

    def command(t, opening):
        bag.write("/gripper/command", "std_msgs/msg/Float64", t, bag.make("std_msgs/msg/Float64", data=85.0 * opening))

    stand = transform(start_ns, "world", "lbr_link_0", pin.SE3(np.eye(3), np.array([3.0, 1.0, 0.5])))
    frames("/tf_static", start_ns, stand, transform(start_ns, "lbr_link_7", "lbr_link_ee", to_flange))
    _play(drives, start_ns, arm, picture, command, lambda t, begins: None)


ROS1_TYPES = {
    "iiwa_msgs/msg/RedundancyInformation": "float64 e1\nint32 status\nint32 turn\n",
    "iiwa_msgs/msg/CartesianPose": "geometry_msgs/PoseStamped poseStamped\nRedundancyInformation redundancy\n",
    "wsg_50_common/msg/Status": (
        "string status\nfloat32 width\nfloat32 speed\nfloat32 acc\nfloat32 force\nfloat32 force_finger0\n"
        "float32 force_finger1\n"
    ),
}


def write_ros1(bag: BagOut, drives: Iterable[Drive], start_ns: int = START_NS) -> None:
    """iiwa_stack's pose of the flange, a Weiss gripper in mm, JPEGs of 640x480 with the table in their middle."""
    pose_type, status_type = "iiwa_msgs/msg/CartesianPose", "wsg_50_common/msg/Status"
    compressed = "sensor_msgs/msg/CompressedImage"
    forward = _forward(FLANGE_TO_TCP_M["ros1"])
    plate = pin.SE3(np.eye(3), np.array([0.0, 0.0, PLATE_M]))

    def arm(t, angles, opening):
        x, y, z, *q = pin.SE3ToXYZQUAT(plate.inverse() * forward(angles)).tolist()
        pose = bag.make(
            "geometry_msgs/msg/Pose", position=bag.make("geometry_msgs/msg/Point", x=x, y=y, z=z),
            orientation=_quaternion(bag, q),
        )  # fmt: skip
        stamped = bag.make("geometry_msgs/msg/PoseStamped", header=bag.header(t - 10**12, "iiwa_link_0"), pose=pose)
        redundancy = bag.make("iiwa_msgs/msg/RedundancyInformation", e1=0.0, status=0, turn=0)
        message = bag.make(pose_type, poseStamped=stamped, redundancy=redundancy)
        bag.write("/iiwa/state/CartesianPose", pose_type, t, message)
        rest = dict.fromkeys(("speed", "acc", "force", "force_finger0", "force_finger1"), 0.0)
        status = bag.make(status_type, status="", width=110.0 * opening, **rest)
        bag.write("/wsg_50_driver/status", status_type, t, status)

    def picture(t, rgb):
        whole = np.full((480, 640, 3), 90, np.uint8)
        whole[:, 80:560] = cv2.resize(rgb, (480, 480), interpolation=cv2.INTER_NEAREST)
        data = np.frombuffer(images.encode_jpeg(whole), np.uint8)
        message = bag.make(compressed, header=bag.header(t), format="bgr8; jpeg compressed bgr8", data=data)
        bag.write("/usb_cam/image_raw/compressed", compressed, t + 30_000_000, message)

    _play(drives, start_ns, arm, picture, lambda t, opening: None, lambda t, begins: None)


# By dialect: what writes it, and what its bags are unless somebody asks for another kind.
DIALECTS: dict[str, tuple[Callable, str]] = {
    "lbr_fri": (write_lbr_fri, "mcap"),
    "lbr_fri_tf": (write_lbr_fri_tf, "sqlite3"),
    "ros1": (write_ros1, "ros1"),
}


def write_bag(path, dialect: str, drives: Iterable[Drive], kind: str = "", start_ns: int = START_NS) -> Path:
    """A bag of several demonstrations with pauses between them; returns its path (a folder; in ROS 1 a .bag file)."""
    write, usual = DIALECTS[dialect]
    kind = kind or usual
    path = Path(path).with_suffix(".bag") if kind == "ros1" else Path(path)
    bag = BagOut(path, kind, ROS1_TYPES if dialect == "ros1" else None)
    write(bag, drives, start_ns)
    bag.close()
    return path


def _play(drives: Iterable[Drive], start_ns: int, arm, picture, command, mark) -> None:
    """Hand over everything in the order of the times at which it was received."""
    for one in drives:
        end_s = one.duration_s + 0.1
        events: list[tuple[float, Callable, tuple]] = [(t, arm, (q, opening)) for t, q, opening in one.joints]
        # The arm stands still after its last motion, and its driver goes on to say so.
        events += [(t, arm, one.joints[-1][1:]) for t in np.arange(one.joints[-1][0] + 0.02, end_s + 0.05, 0.02)]
        events += [(t, picture, (rgb,)) for t, rgb in one.pictures]
        events += [(t, command, (opening,)) for t, opening in one.commands]
        events += [(one.joints[0][0] - 0.01, mark, (True,)), (end_s, mark, (False,))]
        if not one.commands or one.commands[0][0] > one.joints[0][0]:  # what it was told before
            events.append((one.joints[0][0] - 0.005, command, (float(round(one.joints[0][2])),)))
        for t, hand_over, values in sorted(events, key=lambda event: event[0]):
            hand_over(start_ns + round(t * 1e9), *values)
        start_ns += round((one.duration_s + PAUSE_S) * 1e9)


def _forward(flange_to_tcp_m: float) -> Callable[[np.ndarray], pin.SE3]:
    """Where the flange of that cell is at joint angles, if its tool centre point is ours."""
    from am_ros.control.cartesian import CartesianStepper

    kinematics = CartesianStepper.for_model().kinematics
    back = pin.SE3(np.eye(3), np.array([0.0, 0.0, flange_to_tcp_m])).inverse()

    def forward(angles) -> pin.SE3:
        position, rotation = kinematics.forward(angles)
        return pin.SE3(rotation, position) * back

    return forward


def _quaternion(bag: BagOut, values):
    return bag.make("geometry_msgs/msg/Quaternion", **dict(zip("xyzw", values, strict=True)))


def main(argv: list[str] | None = None) -> int:
    """Write bags of one dialect."""
    parser = argparse.ArgumentParser(prog="python -m am_ros.sim.foreign_cell", description=__doc__.splitlines()[0])
    parser.add_argument("--dialect", choices=DIALECTS, default="lbr_fri")
    parser.add_argument("--task", default="pick_place")
    parser.add_argument("--episodes", type=int, default=20)
    parser.add_argument("--per-bag", type=int, default=10, help="demonstrations per bag")
    parser.add_argument("--noise", type=float, default=0.3, help="0: the expert ... 1: random")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args(argv)
    try:
        task, mixture = find_task(arguments.task), fixed_noise(arguments.noise)
        with Environment(task) as environment:
            for number in range(math.ceil(arguments.episodes / arguments.per_bag)):
                seeds = range(number * arguments.per_bag, min((number + 1) * arguments.per_bag, arguments.episodes))
                drives = (drive(environment, train_seed(seed), mixture) for seed in seeds)
                path = arguments.out / f"{arguments.dialect}_{number}"
                print(write_bag(path, arguments.dialect, drives, "", START_NS + number * 3_600_000_000_000))
    except AmRosError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
