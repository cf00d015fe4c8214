"""The arm: do joint states, our description, and the cell's own description speak of the same robot?"""

import math
from dataclasses import dataclass
from xml.etree import ElementTree

import numpy as np

from am_ros import topics
from am_ros.control.controller import ControllerConfig, make_stepper
from am_ros.control.joint_states import measured_opening
from am_ros.control.kinematics import Kinematics
from am_ros.errors import AmRosError
from am_ros.preflight.cell import CONTROLLER, SIM, Cell
from am_ros.preflight.findings import Finding, ok, warning, wrong
from am_ros.preflight.observed import JointsSeen, Observed

NEAR_LIMIT_RAD = 0.05  # a step from here may be refused, and a hand that guides the arm reaches the limit at once
AT_REST_RAD_S = 0.02
# Descriptions of the same arm are rounded differently, by up to half a degree.
LIMIT_TOLERANCE_RAD = 0.01


@dataclass(frozen=True)
class JointLimits:
    """What a URDF says of a joint."""

    lower_rad: float
    upper_rad: float
    velocity_rad_s: float


def check_arm(cell: Cell, observed: Observed) -> list[Finding]:
    """Names, positions and limits of the joints, and where the tool is."""
    try:
        kinematics = make_stepper(cell.controller).kinematics
    except AmRosError as error:
        return [wrong("robot_description", str(error), "mend robot_description, joint_names or tip_frame")]
    findings = check_limits(cell.controller, kinematics, observed.robot_description) + check_simulated_tool(cell)
    if observed.joints is None:
        return findings
    topic = cell.topic(topics.JOINT_STATES, CONTROLLER)
    named = check_names(cell.controller, observed.joints, topic)
    findings += named
    if any(f.name == "joint_names" and f.level == "wrong" for f in named):
        return findings
    if observed.joints.watch.contradiction:
        mend = "mend the driver, or have it leave velocities out; the controller does without them"
        findings.append(warning("joint_velocities", f"{topic}: {observed.joints.watch.contradiction}", mend))
    return findings + check_posture(cell.controller, kinematics, observed.joints)


def check_simulated_tool(cell: Cell) -> list[Finding]:
    """Whether the simulator's tool is the one that the controller computes with: it has only its own."""
    config, own = cell.controller, ControllerConfig()
    if not cell.spec(SIM):
        return []
    ours = config.flange_extension_m, config.tool_length_m, config.robot_description
    if ours == (own.flange_extension_m, own.tool_length_m, own.robot_description):
        return []
    what = (
        f"the simulator's tool is {own.tool_length_m:g} m long on the bare flange; tool_length_m is "
        f"{config.tool_length_m:g}, flange_extension_m {config.flange_extension_m:g}"
    )
    what += ", and robot_description is another arm's" if config.robot_description else ""
    return [wrong("simulated_tool", what, "leave them out of the parameter file with stack:=sim")]


def check_names(config: ControllerConfig, joints: JointsSeen, topic: str) -> list[Finding]:
    """Whether joint_states names what the controller is told to look for."""
    if joints.malformed:
        return [wrong("joint_names", f"{topic}: {joints.malformed}", "mend the driver: as many positions as names")]
    there = ", ".join(sorted(joints.positions)) or "nothing"
    missing = [name for name in config.joint_names if name not in joints.positions]
    if missing:
        what = f"{topic} names {there}; {', '.join(missing)} is not there"
        return [wrong("joint_names", what, "choose the right stack:=, or set joint_names of cartesian_controller")]
    found = [ok("joint_names", f"{topic} names {', '.join(config.joint_names)}")]
    return [*found, *check_fingers(config, joints, topic)]


def check_fingers(config: ControllerConfig, joints: JointsSeen, topic: str) -> list[Finding]:
    """Whether the gripper's opening can be told, if anybody but the controller says where the fingers are."""
    if not config.gripper.reported:
        how = "the arm has no gripper" if config.gripper.gripper == "none" else "gripper_measured is false"
        return [ok("finger_names", f"{how}: the controller reports the fingers as they were told to move")]
    fingers = [name for name in config.finger_names if name not in joints.positions]
    if fingers:
        what = f"{topic} does not name {', '.join(fingers)}: the gripper's opening is not known, so no episode begins"
        mend = "publish them there or on gripper_states, set finger_names, or gripper: none if the arm has none"
        return [wrong("finger_names", what, mend)]
    positions = [joints.positions[name] for name in config.finger_names]
    _, fault = measured_opening(config.finger_names, positions, config.finger_open, config.finger_closed)
    return [wrong("gripper_values", fault.partition(": ")[2], "open and close it and look")] if fault else []


def check_limits(config: ControllerConfig, kinematics: Kinematics, cell_urdf: str) -> list[Finding]:
    """Whether our description allows what the cell's own forbids; `cell_urdf` is empty where it publishes none."""
    if not cell_urdf:
        return []
    try:
        theirs = limits_of(cell_urdf)
    except AmRosError as error:
        return [warning("joint_limits", str(error), "look at what publishes robot_description")]
    missing = [name for name in config.joint_names if name not in theirs]
    if missing:
        what = f"the cell's robot_description has no {', '.join(missing)}"
        return [wrong("joint_limits", what, "choose the right stack:=, or set joint_names of cartesian_controller")]
    lower, upper = kinematics.position_limits
    wider = []
    for k, name in enumerate(config.joint_names):
        limits = theirs[name]
        if lower[k] < limits.lower_rad - LIMIT_TOLERANCE_RAD or upper[k] > limits.upper_rad + LIMIT_TOLERANCE_RAD:
            ours = f"{lower[k]:.2f} ... {upper[k]:.2f}"
            wider.append(f"{name} {limits.lower_rad:.2f} ... {limits.upper_rad:.2f} rad, ours {ours}")
        fastest = kinematics.velocity_limit[k] * config.limits.velocity_scale
        if fastest > limits.velocity_rad_s + LIMIT_TOLERANCE_RAD:
            wider.append(f"{name} {limits.velocity_rad_s:.2f} rad/s, ours {fastest:.2f}")
    if wider:
        what = f"the cell's robot_description is stricter: {'; '.join(wider)}"
        mend = "choose the right model:=, give its robot_description, or lower velocity_scale"
        return [wrong("joint_limits", what, mend)]
    return [ok("joint_limits", "our limits are within those of the cell's robot_description")]


def limits_of(urdf: str) -> dict[str, JointLimits]:
    """Limits of the joints of a URDF; a joint without them turns freely. Raises AmRosError if it is no XML."""
    try:
        root = ElementTree.fromstring(urdf)
        found = {}
        for joint in root.findall("joint"):  # those of <ros2_control> lie deeper, and have no limits
            limit = joint.find("limit")
            name = joint.get("name")
            if joint.get("type") == "fixed" or name is None:
                continue
            given = {} if limit is None else limit.attrib
            velocity = float(given.get("velocity", math.inf))
            if joint.get("type") == "continuous":
                found[name] = JointLimits(-math.inf, math.inf, velocity)
            else:
                found[name] = JointLimits(
                    float(given.get("lower", 0)), float(given.get("upper", 0)), velocity
                )
    except (ElementTree.ParseError, ValueError) as error:
        raise AmRosError(f"the cell's robot_description cannot be read ({error})") from None
    return found


def check_posture(config: ControllerConfig, kinematics: Kinematics, joints: JointsSeen) -> list[Finding]:
    """Where the arm is now: within its limits, at rest, and with the tool inside the workspace."""
    q = np.array([joints.positions[name] for name in config.joint_names])
    lower, upper = kinematics.position_limits
    room = np.minimum(q - lower, upper - q)
    k = int(room.argmin())
    where = f"{config.joint_names[k]} is at {q[k]:.2f} rad, its limits are {lower[k]:.2f} ... {upper[k]:.2f}"
    if not np.isfinite(q).all():
        return [wrong("joint_positions", "a joint position is not finite", "look at the arm's driver")]
    if room[k] < -config.watch.position_excess_rad:
        mend = "choose the right model:= and joint_names, or bring the arm back by hand"
        return [wrong("joint_positions", where, mend)]
    if room[k] < NEAR_LIMIT_RAD:
        findings = [warning("joint_positions", where, "bring the arm away from its limit by hand")]
    else:
        findings = [ok("joint_positions", f"every joint is {room[k]:.2f} rad or more from its limits")]
    return [*findings, *_at_rest(config, joints), _tool(config, kinematics, q)]


def _at_rest(config: ControllerConfig, joints: JointsSeen) -> list[Finding]:
    moving = {n: joints.velocities[n] for n in config.joint_names if abs(joints.velocities.get(n, 0)) > AT_REST_RAD_S}
    if not moving:
        return []
    what = ", ".join(f"{name} turns at {velocity:.2f} rad/s" for name, velocity in moving.items())
    return [warning("arm_moves", what, "let the arm stand still: somebody else is moving it")]


def _tool(config: ControllerConfig, kinematics: Kinematics, q: np.ndarray) -> Finding:
    position, _ = kinematics.forward(q)
    low, high = config.limits.box
    outside_m = np.maximum(low - position, position - high).max()
    where = "the tool is at ({:.3f}, {:.3f}, {:.3f}) m".format(*position)
    if outside_m > config.limits.border_tolerance_m:
        box = ", ".join(f"{a:.2f} ... {b:.2f}" for a, b in zip(low, high, strict=True))
        mend = "bring it in by hand: steps from here are refused (workspace_limit); or look at base_frame and tip_frame"
        return warning("tool_position", f"{where}, {outside_m * 1e3:.0f} mm outside the workspace {box}", mend)
    return ok("tool_position", f"{where}, inside the workspace")
