"""The robot's description: URDF text from urdf/*.xacro, and the limits and names read back from it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from xml.etree import ElementTree
from xml.parsers.expat import ExpatError

from am_ros.cell.environment import share_directory
from am_ros.errors import AmRosError

MODELS = ("iiwa14", "iiwa7")


@dataclass(frozen=True)
class RobotModel:
    """Names and limits of the arm and its gripper, as the URDF states them."""

    name: str
    joint_names: tuple[str, ...]
    finger_names: tuple[str, ...]
    lower_rad: tuple[float, ...]
    upper_rad: tuple[float, ...]
    velocity_rad_s: tuple[float, ...]
    effort_nm: tuple[float, ...]
    finger_stroke_m: float
    base_frame: str = "base_link"
    tip_frame: str = "tcp"
    # Where redundancy pulls the arm: elbow up, in the vertical plane through base and tool (A3 = A5 = 0).
    comfortable_rad: tuple[float, ...] = (0.0, 0.55, 0.0, -1.45, 0.0, math.pi - 2.0, 0.0)


@lru_cache(maxsize=16)
def robot_description(
    model: str = "iiwa14",
    prefix: str = "",
    camera_xyz: str = "",
    camera_rpy: str = "",
    flange_extension_m: float = 0.0,
    tool_length_m: float = 0.14,
    camera: bool = True,
) -> str:
    """URDF text of the workcell with the given robot.

    `prefix` goes before joint and link names; `camera_xyz` [m] and `camera_rpy` [rad], three numbers each, place the
    camera in the base frame (empty: where urdf/workcell.urdf.xacro puts it). `flange_extension_m`: a media flange
    between the arm and the gripper; `tool_length_m`: from the plane it is mounted on to the tcp. `camera`: whether
    its frames are there. Raises AmRosError if the model is unknown, a pose is not three numbers, or the xacro files do
    not evaluate.
    """
    if model not in MODELS:
        raise AmRosError(f"robot model {model!r}: use one of {', '.join(MODELS)}")
    mappings = {"model": model, "prefix": prefix, "camera": str(camera).lower()}
    mappings |= {"flange_extension": str(flange_extension_m), "tool_length": str(tool_length_m)}
    for name, value in (("camera_xyz", camera_xyz), ("camera_rpy", camera_rpy)):
        if value:
            _check_three_numbers(name, value)
            mappings[name] = value
    try:
        import xacro
    except ImportError as error:
        raise AmRosError("the Python package xacro is missing: pip install xacro, or apt's ros-jazzy-xacro") from error
    file = share_directory() / "urdf" / "workcell.urdf.xacro"
    try:
        return str(xacro.process_file(str(file), mappings=mappings).toprettyxml(indent="  "))
    except (xacro.XacroException, ExpatError, OSError) as error:
        raise AmRosError(f"{file}: {error}") from error


def with_joint_names(urdf: str, names: Sequence[str], spoken: Sequence[str]) -> str:
    """URDF text in which the joints `names` are called as messages call them; mimicked ones too."""
    root = ElementTree.fromstring(urdf)
    called = dict(zip(names, spoken, strict=True))
    for element, attribute in [(j, "name") for j in root.iter("joint")] + [(m, "joint") for m in root.iter("mimic")]:
        name = element.get(attribute)
        if name in called:  # a plugin may have a <joint> without a name
            element.set(attribute, called[name])
    return ElementTree.tostring(root, encoding="unicode")


def looking_at(position_m: Sequence[float], target_m: Sequence[float]) -> tuple[float, float, float]:
    """Roll, pitch, yaw [rad] of a camera_link (x forward, z up) at a place that looks at another, upright."""
    x, y, z = (there - here for there, here in zip(target_m, position_m, strict=True))
    return 0.0, math.atan2(-z, math.hypot(x, y)), math.atan2(y, x)


def _check_three_numbers(name: str, text: str) -> None:
    try:
        numbers = [float(word) for word in text.split()]
    except ValueError:
        numbers = []
    if len(numbers) != 3 or not all(map(math.isfinite, numbers)):
        raise AmRosError(f"{name} {text!r}: expected three numbers")


@lru_cache(maxsize=16)
def robot_model(model: str = "iiwa14", prefix: str = "") -> RobotModel:
    """Names and limits of a model, read from its URDF."""
    root = ElementTree.fromstring(robot_description(model, prefix=prefix))
    arm = [j for j in root.iter("joint") if j.get("type") == "revolute"]
    fingers = [j for j in root.iter("joint") if j.get("type") == "prismatic"]

    def limits(attribute: str) -> tuple[float, ...]:
        return tuple(_limit(joint, attribute) for joint in arm)

    return RobotModel(
        name=model,
        joint_names=tuple(j.attrib["name"] for j in arm),
        finger_names=tuple(j.attrib["name"] for j in fingers),
        lower_rad=limits("lower"),
        upper_rad=limits("upper"),
        velocity_rad_s=limits("velocity"),
        effort_nm=limits("effort"),
        finger_stroke_m=_limit(fingers[0], "upper"),
        tip_frame=prefix + "tcp",
    )


def _limit(joint: ElementTree.Element, attribute: str) -> float:
    """Of a joint of our own description: every one has limits."""
    return next(float(limit.attrib[attribute]) for limit in joint.iter("limit"))
