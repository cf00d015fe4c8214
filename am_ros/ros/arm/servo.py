"""The backend that moves the arm through MoveIt Servo: its command type first, then twists or poses at 100 Hz.

Names, topics, units and what Servo does with a command are those of moveit_servo 2.12.4; docs/act.md says where.
"""

import time
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

import numpy as np
from geometry_msgs.msg import PoseStamped, TwistStamped
from rcl_interfaces.srv import GetParameters
from rclpy.duration import Duration
from rclpy.parameter import parameter_value_to_python

from am_ros.action import CartesianAction
from am_ros.control.backends.servo import Command, ServoStream, Twist, tool_measure
from am_ros.control.backends.servo_settings import NAMES, ServoSettings, read_settings
from am_ros.control.cartesian import CartesianStepper
from am_ros.control.controller import ControllerConfig
from am_ros.control.joint_states import JointStateBuffer
from am_ros.control.motion import MotionMonitor
from am_ros.control.tool import tcp_in_tip
from am_ros.control.trajectory import JointTrajectory
from am_ros.control.types import Plan, Slack
from am_ros.errors import AmRosError
from am_ros.ros.node.clocks import steady_timer
from am_ros.ros.node.common import RELIABLE_QOS

PERIOD_S = 0.01  # Servo's own by default: a pose that stays for two of its cycles makes it jerk
SETTLE_SHARE = 0.8  # of stall_s, after which an arm beside its goal has stalled


def servo_interfaces() -> tuple[type, type]:
    """The types of Servo's service and status; raises AmRosError naming the package that is missing."""
    try:
        from moveit_msgs.msg import ServoStatus
        from moveit_msgs.srv import ServoCommandType
    except ImportError:
        raise AmRosError("moveit_msgs is not installed: apt install ros-jazzy-moveit-msgs (backend servo)") from None
    return ServoCommandType, ServoStatus


class ServoBackend:
    """Our stepper's trajectory is the reference: it passes the guard, and Servo is sent along it.

    Joint angles are Servo's choice. The guard has seen a path on which they differ as far as the redundancy lets them;
    collisions and singularities of the real one are Servo's to watch, and its status is watched here.
    """

    commands_joints = False

    def __init__(self, node, config: ControllerConfig, stepper: CartesianStepper, state: JointStateBuffer):
        self._switch_type: Any
        self._switch_type, status_type = servo_interfaces()
        self._node, self._config, self._stepper, self._state = node, config, stepper, state
        self._servo = config.backend.servo
        tcp = tcp_in_tip(config.backend.planner.tip_to_tcp)
        acceleration = config.limits.acceleration_rad_s2
        self._stream = ServoStream(self._servo, stepper.kinematics, tcp, config.guard.speed_m_s, acceleration)
        name = self._servo.servo_node
        self.publisher = name if name.startswith("/") else f"{node.get_namespace().rstrip('/')}/{name}"
        self._twists = node.create_publisher(TwistStamped, f"{self.publisher}/delta_twist_cmds", RELIABLE_QOS)
        self._poses = node.create_publisher(PoseStamped, f"{self.publisher}/pose_target_cmds", RELIABLE_QOS)
        self._switch = node.create_client(self._switch_type, f"{self.publisher}/switch_command_type")
        self._parameters = node.create_client(GetParameters, f"{self.publisher}/get_parameters")
        self._settings: ServoSettings | None = None
        self._heard_s, self._halted = -np.inf, ""
        self._asked: tuple[Future, float] | None = None  # the plan that waits for Servo's answer, and until when
        node.create_subscription(status_type, f"{self.publisher}/status", self._on_status, RELIABLE_QOS)
        steady_timer(node, PERIOD_S, self._send)

    def plan(self, q: np.ndarray, action: CartesianAction, slack_m: Slack = 0.0) -> Plan:
        """The stepper's line, as soon as Servo takes the kind of command that we send."""
        trajectory = self._stepper.plan(q, action, slack_m)
        plan: Plan = Future()
        self._asked = plan, time.monotonic() + self._servo.servo_timeout_s
        if self._settings:
            self._ask_for_type(self._settings, trajectory, plan)
        else:
            request = GetParameters.Request(names=NAMES)
            self._call(self._parameters, request, plan, lambda answer: self._on_settings(answer, trajectory, plan))
        return plan

    def monitor(
        self, q: np.ndarray, trajectory: JointTrajectory, opening: float | None, lead_s: float = 0.0
    ) -> MotionMonitor:
        """Arrived when the tool has."""
        metres, ours = self._servo.servo_tolerance_m, self._config.tolerance
        # Servo still makes up what is left, slower than what counts as motion: it gets most of the time there is.
        settle_s = max(ours.settle_s, SETTLE_SHARE * ours.stall_s)
        tolerance = replace(
            ours, position_tolerance_rad=metres, settled_tolerance_rad=2 * metres, settle_s=settle_s
        )
        measure = tool_measure(self._stepper.kinematics, q)
        names, goal = ("x", "y", "z", "turn"), trajectory.positions[-1]
        lead_s = self._settings.latency_s if self._settings else 0.0
        return MotionMonitor(q, goal, trajectory.duration_s, opening, tolerance, names, measure, "m", lead_s=lead_s)

    def begin(self, trajectory: JointTrajectory, now_s: float, lead_s: float = 0.0) -> None:
        """Stream from now on."""
        self._halted = ""
        self._stream.begin(trajectory, now_s)
        self._send()

    def brake(self, q: np.ndarray, way: JointTrajectory) -> None:
        """Lead Servo along the way to rest: told to stand still, it would stop at once."""
        _, qd = self._state.measured()
        self._stream.halt(q, qd, way, time.monotonic())
        self._send()

    def end(self) -> None:
        """Servo must not go on with what it was sent last."""
        self._stream.finish(time.monotonic())
        self._send()

    def fault(self, now_s: float) -> str:
        """ "backend_gone: ..." while Servo is silent, "servo_halted: ..." if it does not move on."""
        silent_s = now_s - self._heard_s
        if silent_s > self._servo.servo_timeout_s:
            ago = "never came" if np.isinf(silent_s) else f"last came {silent_s:.1f} s ago"
            return f"backend_gone: topic {self.publisher}/status {ago} (Servo paused, or without joint states?)"
        return self._halted if self._stream.moving else ""

    def close(self) -> None:
        """Servo stands still before the controller is gone: with the last command it would go on until its timeout."""
        self.end()
        while self._stream.braking:
            time.sleep(PERIOD_S)
            self._send()
        for publisher in (self._twists, self._poses):
            publisher.wait_for_all_acked(Duration(seconds=0.2))

    # -- before a step -----------------------------------------------------------------------------------------------

    def _on_settings(self, answer, trajectory: JointTrajectory, plan: Plan) -> None:
        # rclcpp answers with nothing at all if one of the names is unknown.
        values = dict(zip(NAMES, map(parameter_value_to_python, answer.values), strict=False))
        command, sim_time = self._servo.servo_command, self._node.get_parameter("use_sim_time").value
        topic = (self._twists if command == "twist" else self._poses).topic_name
        try:
            self._settings = settings = read_settings(values, self.publisher, command, topic, sim_time)
        except AmRosError as error:
            self._refuse(plan, str(error))
        else:
            self._ask_for_type(settings, trajectory, plan)

    def _ask_for_type(self, settings: ServoSettings, trajectory: JointTrajectory, plan: Plan) -> None:
        kind = getattr(self._switch_type.Request, self._servo.servo_command.upper())
        request = self._switch_type.Request(command_type=kind)
        self._call(self._switch, request, plan, lambda answer: self._on_type(answer, settings, trajectory, plan))

    def _on_type(self, answer, settings: ServoSettings, trajectory: JointTrajectory, plan: Plan) -> None:
        if answer.success:
            self._asked = None
            if not plan.done():
                plan.set_result(self._stream.fit(trajectory, settings))
        else:
            self._refuse(plan, f"servo_refused: {self.publisher} takes no commands of type {self._servo.servo_command}")

    def _call(self, client, request, plan: Future, then) -> None:
        if not client.service_is_ready():
            self._refuse(plan, f"backend_gone: no node offers {client.srv_name}")
            return
        client.call_async(request).add_done_callback(lambda answered: plan.done() or then(answered.result()))

    def _refuse(self, plan: Future, why: str) -> None:
        self._asked = None
        if not plan.done():
            plan.set_exception(AmRosError(why))

    # -- while it moves ----------------------------------------------------------------------------------------------

    def _send(self) -> None:
        now_s = time.monotonic()
        if self._asked and now_s > self._asked[1]:
            self._refuse(self._asked[0], f"backend_gone: {self.publisher} did not answer")
        command = None if self._state.q is None else self._stream.command(self._state.q, now_s)
        if command is not None:
            self._publish(command)

    def _publish(self, command: Command) -> None:
        msg = TwistStamped() if isinstance(command, Twist) else PoseStamped()
        msg.header.stamp = self._node.get_clock().now().to_msg()
        msg.header.frame_id = self._config.base_frame
        if isinstance(command, Twist):
            linear, angular = msg.twist.linear, msg.twist.angular
            linear.x, linear.y, linear.z = command.linear.tolist()
            angular.x, angular.y, angular.z = command.angular.tolist()
            self._twists.publish(msg)
        else:
            position, turn = msg.pose.position, msg.pose.orientation
            position.x, position.y, position.z = command.position_m
            turn.x, turn.y, turn.z, turn.w = command.quaternion
            self._poses.publish(msg)

    def _on_status(self, status) -> None:
        self._heard_s = time.monotonic()
        if not self._halted and self._stream.moving:
            q, _ = self._state.measured()
            self._halted = self._stream.halted(status.code, status.message, q, self._heard_s)
