"""MoveIt Servo and the arm below it, at the ROS boundary, as a process: its service, topics and timeout, an ideal arm.

What it hears goes to the topic servo_log, one line of text per message. The file named by SERVO_FAULT says what is
wrong with it: "collision", "refuses" or nothing.
"""

import os
import time
from pathlib import Path

import numpy as np
import pinocchio as pin
import rclpy
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
COMMAND_TIMEOUT_S = 0.1  # Servo's incoming_command_timeout
PERIOD_S = 0.01


class ServoStandIn(Node):
    """Commands of another type than the one that was switched to are not taken, and none that is older than 0.1 s."""

    def __init__(self):
        super().__init__("servo_node")
        self.declare_parameter("moveit_servo.command_in_type", "unitless")
        self._kinematics = CartesianStepper.for_model().kinematics
        self._q = self._kinematics.home((0.55, 0.0, 0.15))
        self._type, self._command, self._heard_s = ServoCommandType.Request.JOINT_JOG, None, 0.0
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
        response.success = not self._fault("refuses")
        self._type = request.command_type if response.success else self._type
        self._say(f"switch {request.command_type}")
        return response

    def _on_twist(self, msg: TwistStamped) -> None:
        linear, angular = msg.twist.linear, msg.twist.angular
        twist = np.array([linear.x, linear.y, linear.z, angular.x, angular.y, angular.z])
        self._take(ServoCommandType.Request.TWIST, twist, "zero" if not twist.any() else "twist", msg.header.frame_id)

    def _on_pose(self, msg: PoseStamped) -> None:
        position, turn = msg.pose.position, msg.pose.orientation
        tip = pin.XYZQUATToSE3(np.array([position.x, position.y, position.z, turn.x, turn.y, turn.z, turn.w]))
        self._take(ServoCommandType.Request.POSE, tip * TCP, "pose", msg.header.frame_id)

    def _take(self, kind, command, name: str, frame: str) -> None:
        taken = kind == self._type
        self._say(f"{name} {frame}" if taken else f"not taken: {name}")
        if taken:
            self._command, self._heard_s = command, time.monotonic()

    def _move(self) -> None:
        status = ServoStatus(code=5, message="Collision detected") if self._fault("collision") else ServoStatus()
        self._status.publish(status)
        q_dot = np.zeros(7)
        if self._command is not None and time.monotonic() - self._heard_s < COMMAND_TIMEOUT_S and not status.code:
            q_dot = np.linalg.pinv(self._kinematics.jacobian(self._q)) @ self._tool_twist()
        self._q = self._q + q_dot * PERIOD_S
        fingers = [MODEL.finger_stroke_m] * 2
        joints = JointState(name=[*MODEL.joint_names, *MODEL.finger_names], position=[*self._q, *fingers])
        joints.velocity = [*q_dot, 0.0, 0.0]
        joints.header.stamp = self.get_clock().now().to_msg()
        self._joints.publish(joints)

    def _tool_twist(self) -> np.ndarray:
        position, rotation = self._kinematics.forward(self._q)
        if self._type == ServoCommandType.Request.POSE:
            goal = self._command
            return 10 * np.append(goal.translation - position, pin.log3(goal.rotation @ rotation.T))
        linear, angular = self._command[:3], self._command[3:]
        return np.append(linear - np.cross(angular, rotation @ TCP.inverse().translation), angular)

    def _fault(self, kind: str) -> bool:
        return FAULT.exists() and FAULT.read_text() == kind


if __name__ == "__main__":
    rclpy.init()
    rclpy.spin(ServoStandIn())
