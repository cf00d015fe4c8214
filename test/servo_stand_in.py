"""MoveIt Servo and the arm below it, at the ROS boundary, as a process: what its servo_node.cpp does, an ideal arm.

What it hears goes to the topic servo_log, one line of text per message. The file named by SERVO_FAULT says what is
wrong with it: "collision", "approaches", "refuses", "paused" or nothing.
"""

import os
from collections import deque
from pathlib import Path

import numpy as np
import pinocchio as pin
import rclpy
import rclpy.time
from geometry_msgs.msg import PoseStamped, TwistStamped
from moveit_msgs.msg import ServoStatus
from moveit_msgs.srv import ServoCommandType
from rclpy.node import Node
from sensor_msgs.msg import JointState
from std_msgs.msg import String
from trajectory_msgs.msg import JointTrajectory

from am_ros.control.backends.planner_config import PlannerConfig
from am_ros.control.cartesian import CartesianStepper
from am_ros.control.robot import robot_model
from am_ros.control.tool import tcp_in_tip

FAULT = Path(os.environ["SERVO_FAULT"])
MODEL = robot_model("iiwa14")
TCP = tcp_in_tip(PlannerConfig.tip_to_tcp)
PERIOD_S = 0.01
# Its parameters, as far as they matter here, and their defaults (config/servo_parameters.yaml).
PARAMETERS = {
    "command_in_type": "unitless",
    "scale.linear": 0.4,
    "scale.rotational": 0.8,
    "incoming_command_timeout": 0.1,
    "apply_twist_commands_about_ee_frame": True,
    "cartesian_command_in_topic": "~/delta_twist_cmds",
    "pose_command_in_topic": "~/pose_target_cmds",
    "status_topic": "~/status",
    "command_out_type": "trajectory_msgs/JointTrajectory",
    "max_expected_latency": 0.1,
}
# Codes and texts of utils/datatypes.hpp.
WORDS = {
    -1: "Invalid",
    0: "No warnings",
    4: "Close to a collision, decelerating",
    5: "Collision detected, emergency stop",
}
FRAMES = ("base_link", "world", "lbr_link_ee")  # that the robot model or tf knows


class ServoStandIn(Node):
    """Commands of another type than the one that was switched to are not taken, and none whose stamp is too old."""

    def __init__(self):
        super().__init__("servo_node")
        declared = {name: self.declare_parameter(f"moveit_servo.{name}", value) for name, value in PARAMETERS.items()}
        self._is = {name: parameter.value for name, parameter in declared.items()}
        self._kinematics = CartesianStepper.for_model().kinematics
        self._q = self._kinematics.home((0.55, 0.0, 0.15))
        self._told = self._q  # where it told the arm to be: the measured angles while it has nothing to say
        self._on_the_way = deque([np.zeros(7)] * round(self._is["max_expected_latency"] / PERIOD_S))
        self._type, self._command, self._stamp = ServoCommandType.Request.JOINT_JOG, None, None
        self._code, self._frame = 0, ""
        self._log = self.create_publisher(String, "servo_log", 1000)
        self._status = self.create_publisher(ServoStatus, "~/status", 10)
        self._joints = self.create_publisher(JointState, "joint_states", 10)
        self.create_publisher(JointTrajectory, "joint_trajectory", 10)  # as Servo does: nobody else may
        self.create_service(ServoCommandType, "~/switch_command_type", self._on_switch)
        self.create_subscription(TwistStamped, "~/delta_twist_cmds", self._on_twist, 10)
        self.create_subscription(PoseStamped, "~/pose_target_cmds", self._on_pose, 10)
        self.create_timer(PERIOD_S, self._move)

    def _say(self, text: str) -> None:
        self._log.publish(String(data=text))

    def _on_switch(self, request, response):
        if 0 <= request.command_type <= 2 and not self._fault("refuses"):
            self._type = request.command_type
        response.success = self._type == request.command_type and not self._fault("refuses")
        self._say(f"switch {request.command_type}")
        return response

    def _on_twist(self, msg: TwistStamped) -> None:
        linear, angular = msg.twist.linear, msg.twist.angular
        twist = np.array([linear.x, linear.y, linear.z, angular.x, angular.y, angular.z])
        name = f"twist {np.linalg.norm(twist[:3]):.4f}" if twist.any() else "zero"
        self._take(ServoCommandType.Request.TWIST, twist, name, msg.header)

    def _on_pose(self, msg: PoseStamped) -> None:
        position, turn = msg.pose.position, msg.pose.orientation
        tip = pin.XYZQUATToSE3(np.array([position.x, position.y, position.z, turn.x, turn.y, turn.z, turn.w]))
        self._take(ServoCommandType.Request.POSE, tip * TCP, "pose", msg.header)

    def _take(self, kind, command, name: str, header) -> None:
        taken = kind == self._type
        self._say(f"{name} {header.frame_id}" if taken else f"not taken: {name}")
        if taken:
            self._command, self._stamp = command, rclpy.time.Time.from_msg(header.stamp)
            self._frame = header.frame_id

    def _move(self) -> None:
        """One cycle of the servo loop, and of the arm."""
        q_dot = np.zeros(7)
        if not self._fault("paused"):
            # Only a command changes the status; without any, the last one is repeated.
            if self._command is not None:
                q_dot = self._follow()
            else:
                self._told = self._q
            self._status.publish(ServoStatus(code=self._code, message=WORDS[self._code]))
        self._told = self._told + q_dot * PERIOD_S
        self._on_the_way.append(q_dot)
        q_dot = self._on_the_way.popleft()  # by the stamps of what it publishes
        self._q = self._q + q_dot * PERIOD_S
        fingers = [MODEL.finger_stroke_m] * 2
        joints = JointState(name=[*MODEL.joint_names, *MODEL.finger_names], position=[*self._q, *fingers])
        joints.velocity = [*q_dot, 0.0, 0.0]
        joints.header.stamp = self.get_clock().now().to_msg()
        self._joints.publish(joints)

    def _follow(self) -> np.ndarray:
        """Velocities for the command; when it is too old the arm is halted at once, and the command forgotten."""
        age_s = (self.get_clock().now() - self._stamp).nanoseconds * 1e-9
        if age_s >= self._is["incoming_command_timeout"]:
            self._command = None
            return np.zeros(7)
        if self._frame not in FRAMES:
            self._code, self._command = -1, None
            return np.zeros(7)
        near = self._fault("approaches")
        self._code = 5 if self._fault("collision") else 4 if near else 0
        if self._code == 5:
            return np.zeros(7)
        share = 0.05 if near else 1.0
        return share * np.linalg.pinv(self._kinematics.jacobian(self._told)) @ self._tool_twist()

    def _tool_twist(self) -> np.ndarray:
        position, rotation = self._kinematics.forward(self._told)
        if self._type == ServoCommandType.Request.POSE:
            goal = self._command  # to be reached in one cycle, if that is not too fast
            error = goal.translation - position, pin.log3(goal.rotation @ rotation.T)
            return np.append(self._cut(error[0] / PERIOD_S, "linear"), self._cut(error[1] / PERIOD_S, "rotational"))
        linear, angular = self._cut(self._command[:3], "linear"), self._cut(self._command[3:], "rotational")
        return np.append(linear - np.cross(angular, rotation @ TCP.inverse().translation), angular)

    def _cut(self, velocity: np.ndarray, scale: str) -> np.ndarray:
        """Servo's command.cpp: in speed units, and on the way to a pose, `scale` is the largest speed."""
        limit, speed = self._is[f"scale.{scale}"], float(np.linalg.norm(velocity))
        return velocity * min(1.0, limit / speed) if limit > 0 and speed else velocity

    def _fault(self, kind: str) -> bool:
        return FAULT.exists() and FAULT.read_text() == kind


if __name__ == "__main__":
    rclpy.init()
    rclpy.spin(ServoStandIn())
