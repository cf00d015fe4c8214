"""What commands the arm and its gripper: does anybody listen, and does nobody else speak?"""

from dataclasses import dataclass

from am_ros import topics
from am_ros.preflight.cell import CONTROLLER, LOGGER, SIM, Cell
from am_ros.preflight.findings import Finding, ok, wrong
from am_ros.preflight.observed import Endpoint, Observed, TopicSeen, incompatible

TRAJECTORY_TYPE, NUMBERS_TYPE = "trajectory_msgs/msg/JointTrajectory", "std_msgs/msg/Float64MultiArray"
DRIVER = "start the arm's driver with its joint_trajectory_controller, or choose the right stack:="
SIMULATOR = "start the simulated cell"
SERVO = "start MoveIt Servo, or choose another backend:="
GRIPPER = (
    "start the gripper's driver, remap its topic, or choose another `gripper` for cartesian_controller: none if "
    "the arm has none"
)


@dataclass(frozen=True)
class Command:
    """A topic that the controller commands by; `speakers` are the nodes that may publish it, the first one does."""

    what: str
    topic: str
    type: str
    speakers: tuple[str, ...]
    mend: str


def commands(cell: Cell) -> list[Command]:
    """What the controller sends, with its backend and its gripper; actions are the controller's own to look for."""
    config, own = cell.controller, f"{cell.namespace}/{CONTROLLER}"
    trajectory = cell.topic(topics.JOINT_TRAJECTORY, CONTROLLER)
    driver, gripper = (SIMULATOR, SIMULATOR) if cell.spec(SIM) else (DRIVER, GRIPPER)
    found = [Command("trajectory", trajectory, TRAJECTORY_TYPE, (own,), driver)]
    servo = config.backend.servo
    if config.backend.backend == "servo":
        node = servo.servo_node if servo.servo_node.startswith("/") else f"{cell.namespace}/{servo.servo_node}"
        topic, kind = {
            "twist": ("delta_twist_cmds", "geometry_msgs/msg/TwistStamped"),
            "pose": ("pose_target_cmds", "geometry_msgs/msg/PoseStamped"),
        }[servo.servo_command]
        found = [
            Command("servo", f"{node}/{topic}", kind, (own,), SERVO),
            Command("trajectory", trajectory, TRAJECTORY_TYPE, (node, own), driver),
        ]
    grippers = {
        "opening": (topics.GRIPPER_COMMAND, NUMBERS_TYPE),
        "positions": ("gripper_positions", NUMBERS_TYPE),
        "trajectory": ("gripper_trajectory", TRAJECTORY_TYPE),
        "switch": ("gripper_switch", "std_msgs/msg/Bool"),
    }
    if config.gripper.gripper in grippers:
        name, kind = grippers[config.gripper.gripper]
        found.append(Command("gripper", cell.topic(name, CONTROLLER), kind, (own,), gripper))
    return found


def check_commands(cell: Cell, observed: Observed) -> list[Finding]:
    """Of every topic that the controller commands by, who hears it and who else speaks there."""
    findings = []
    for command in commands(cell):
        seen = observed.topic(command.topic)
        findings += [_heard(cell, command, seen), *_others(command, seen)]
    return findings


def _heard(cell: Cell, command: Command, seen: TopicSeen) -> Finding:
    """Whether somebody follows what the first speaker says."""
    name, bystanders = f"{command.what}_unheard", {f"{cell.namespace}/{LOGGER}"}
    followers = [s for s in seen.subscribers if s.node not in bystanders]
    if not followers:
        return wrong(name, f"no node listens on {command.topic}", command.mend)
    fitting = [s for s in followers if s.type == command.type]
    if not fitting:
        types = ", ".join(sorted({s.type for s in followers}))
        return wrong(name, f"{command.topic} is heard as {types}, not {command.type}", command.mend)
    speaker = Endpoint(command.speakers[0], command.type, reliable=True, latched=False)
    for follower in fitting:
        why = incompatible(speaker, follower)
        if why:
            what = f"{follower.node} would not hear {speaker.node} on {command.topic}, which {why}"
            return wrong(f"{command.what}_qos", what, "let the driver subscribe volatile")
    return ok(f"{command.what}_heard", f"{', '.join(sorted({s.node for s in fitting}))} listens on {command.topic}")


def _others(command: Command, seen: TopicSeen) -> list[Finding]:
    nodes = [p.node for p in seen.publishers]
    twins = [f"another {node}" for node in command.speakers if nodes.count(node) > 1]
    others = sorted(set(nodes) - set(command.speakers)) + twins
    if not others:
        return []
    what = f"{', '.join(others)} publishes {command.topic}, which only {command.speakers[0]} may"
    return [wrong("second_publisher", what, "stop it: two programs would command one arm")]
