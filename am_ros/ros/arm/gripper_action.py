"""A gripper behind an action of control_msgs: GripperCommand or ParallelGripperCommand."""

from action_msgs.msg import GoalStatus
from rclpy.action import ActionClient
from rclpy.action.graph import get_action_names_and_types

from am_ros.control.gripper import STANDS, GripperConfig, GripperWatch
from am_ros.control.joint_states import JointStateBuffer
from am_ros.errors import AmRosError

TYPES = {"action": "GripperCommand", "parallel": "ParallelGripperCommand"}
KINDS = {f"control_msgs/action/{name}": kind for kind, name in TYPES.items()}


class GripperAction:
    """Sends each opening as a goal, and tells the watch what the driver answers."""

    def __init__(self, node, config: GripperConfig, finger: str, watch: GripperWatch, state: JointStateBuffer):
        """`finger`: the joint that is commanded. Raises AmRosError if the action's type is not installed."""
        self._node, self._config, self._finger, self._watch, self._state = node, config, finger, watch, state
        self._type = action_type(config.gripper)
        self._client = ActionClient(node, self._type, config.gripper_action)
        self._number = 0  # of the newest goal: what is said of earlier ones is old

    def fault(self) -> str:
        """ "gripper_gone: ..." if nobody offers the action, "gripper_kind: ..." if it is one of another type."""
        if self._client.server_is_ready():
            return ""
        name = self._node.resolve_service_name(self._config.gripper_action)
        offered = dict(get_action_names_and_types(self._node)).get(name, [])
        other = next((t for t in offered if t in KINDS and KINDS[t] != self._config.gripper), "")
        if other:
            return (
                f"gripper_kind: the action {name} is a {other}, gripper: {self._config.gripper} sends a "
                f"control_msgs/action/{TYPES[self._config.gripper]}: set gripper: {KINDS[other]}"
            )
        return f"gripper_gone: no node offers the action {self._config.gripper_action}"

    def send(self, opening: float) -> None:
        """0 closed ... 1 open."""
        self._number += 1
        number, before = self._number, self._state.opening
        sent = self._client.send_goal_async(self._goal(self._config.position(opening)))
        sent.add_done_callback(lambda future: self._on_taken(number, opening, before, future.result()))

    def _goal(self, position: float):
        goal, effort = self._type.Goal(), self._config.gripper_effort
        if self._config.gripper == "parallel":
            goal.command.name, goal.command.position, goal.command.effort = [self._finger], [position], [effort]
        else:
            goal.command.position, goal.command.max_effort = position, effort
        return goal

    def _on_taken(self, number: int, opening: float, before: float | None, handle) -> None:
        if not handle.accepted:
            self._answer(number, f"the action {self._config.gripper_action} rejected it")
            return
        ended = handle.get_result_async()
        ended.add_done_callback(lambda future: self._on_end(number, opening, before, future.result()))

    def _on_end(self, number: int, opening: float, before: float | None, ended) -> None:
        if ended.status == GoalStatus.STATUS_SUCCEEDED:
            self._answer(number)
            return
        result, now = ended.result, self._state.opening
        moved = before is not None and now is not None and before - now > STANDS
        if ended.status == GoalStatus.STATUS_ABORTED and result.stalled and opening < 0.5 and moved:
            self._answer(number)  # it holds something: drivers that do not allow for that call it aborted
            return
        words = {GoalStatus.STATUS_ABORTED: "aborted", GoalStatus.STATUS_CANCELED: "cancelled"}
        word = words.get(ended.status, "ended")
        stalled = ", stalled" if result.stalled else ""
        self._answer(number, f"the action {self._config.gripper_action} {word} it{stalled}")

    def _answer(self, number: int, failure: str = "") -> None:
        if number == self._number:
            self._watch.answer(failure)


def action_type(kind: str):
    """The type of the action that `gripper: KIND` uses; raises AmRosError naming the package that is missing."""
    try:
        from control_msgs import action
    except ImportError:
        raise AmRosError(
            f"control_msgs is not installed: apt install ros-jazzy-control-msgs (gripper {kind})"
        ) from None
    if not hasattr(action, TYPES[kind]):
        raise AmRosError(f"control_msgs is too old: it has no {TYPES[kind]} (gripper {kind})")
    return getattr(action, TYPES[kind])
