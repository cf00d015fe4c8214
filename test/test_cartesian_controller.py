"""The Cartesian controller as a real process, with an arm that follows its trajectories exactly."""

import time

import numpy as np
import pytest
from am_msgs.action import MoveCartesian
from am_msgs.msg import CartesianAction, ControllerStatus
from conftest import wait_until
from geometry_msgs.msg import PoseStamped, Vector3
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory as JointTrajectoryMsg

from am_ros.control.cartesian import CartesianStepper
from am_ros.control.robot import robot_model
from am_ros.control.trajectory import JointTrajectory
from am_ros.errors import AmRosError
from am_ros.ros.node.common import LATCHED_QOS, RELIABLE_QOS, SENSOR_QOS

MOVE = "cartesian_controller/move_cartesian"
MODEL = robot_model("iiwa14")
STEPPER = CartesianStepper.for_model("iiwa14")


class ExactArm:
    """An arm at the ROS boundary of a real cell: takes joint_trajectory and gripper_command, says joint_states.

    `names` and `topics` are what its driver calls its joints, and joint_states and joint_trajectory.
    """

    def __init__(
        self, ros, position=(0.55, 0.0, 0.15), stuck=False, names=MODEL.joint_names,
        topics=("joint_states", "joint_trajectory"),
    ):  # fmt: skip
        self.stuck, self.silent, self.names = stuck, False, list(names)
        self.opening, self.fingers = 1.0, True  # whether the gripper reports where it is
        self.velocities = True  # whether they are reported
        self.home = STEPPER.kinematics.home(position)
        self._trajectory, self._since = None, 0.0
        self._goal_opening = 1.0
        self._node = ros.node
        self._pub = ros.node.create_publisher(JointState, topics[0], SENSOR_QOS)
        ros.node.create_subscription(JointTrajectoryMsg, topics[1], self._follow, RELIABLE_QOS)
        ros.node.create_subscription(Float64MultiArray, "gripper_command", self._grip, RELIABLE_QOS)
        ros.node.create_timer(0.01, self._publish)

    def _follow(self, msg):
        assert list(msg.joint_names) == self.names
        times = np.array([p.time_from_start.sec + p.time_from_start.nanosec * 1e-9 for p in msg.points])
        positions = np.array([p.positions for p in msg.points])
        self._trajectory = JointTrajectory(times, positions, np.array([p.velocities for p in msg.points]))
        self._since = time.monotonic()

    def _grip(self, msg):
        self._goal_opening = msg.data[0]

    def state(self):
        """Joint angles and velocities now."""
        if self._trajectory is None or self.stuck:
            return self.home, np.zeros(7)
        return self._trajectory.at(time.monotonic() - self._since)

    def _publish(self):
        self.opening += float(np.clip(self._goal_opening - self.opening, -0.04, 0.04))  # fully in a quarter second
        if self.silent:
            return
        q, qd = self.state()
        fingers = [self.opening * MODEL.finger_stroke_m] * 2
        msg = JointState(name=[*MODEL.finger_names, *self.names], position=[*fingers, *q])
        msg.velocity = [0.0, 0.0, *qd] if self.velocities else []
        if not self.fingers:
            msg.name, msg.position, msg.velocity = msg.name[2:], msg.position[2:], msg.velocity[2:]
        msg.header.stamp = self._node.get_clock().now().to_msg()
        self._pub.publish(msg)


@pytest.fixture
def cell(ros, start_node):
    """A controller that is ready to move, and the arm it moves."""

    def start(velocity_scale=0.9, **options):
        arm = ExactArm(ros, **options)
        process = start_node("cartesian_controller", velocity_scale=velocity_scale)
        wait_for_state(ros, ControllerStatus.IDLE)
        return arm, process

    return start


def wait_for_state(ros, state, timeout_s=60.0):
    """Wait for a status with that state; return it."""
    received = ros.receive(ControllerStatus, "controller_status", LATCHED_QOS)
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if received and received[-1].state == state:
            return received[-1]
        time.sleep(0.01)
    pytest.fail(f"controller_status: state {state} did not come, last {received[-1:]}")


def move(ros, x=0.0, y=0.0, z=0.0, turn=0.0, gripper=CartesianAction.GRIPPER_HOLD, terminate=False):
    """Send one step; returns the running goal."""
    action = CartesianAction(translation=Vector3(x=x, y=y, z=z), rotation_z=turn, gripper=gripper, terminate=terminate)
    return ros.send_goal(MoveCartesian, MOVE, action=action)


def way_from_home(arm):
    """How far the tool is from where it started [m]."""
    now, start = (STEPPER.kinematics.pose(q)[0] for q in (arm.state()[0], arm.home))
    return float(np.linalg.norm(now - start))


def position_of(result):
    p = result.ee_pose.position
    return np.array([p.x, p.y, p.z])


def test_a_step_moves_the_tool_and_turns_it(ros, cell):
    arm, _ = cell()
    poses = ros.receive(PoseStamped, "ee_pose")
    start = STEPPER.kinematics.pose(arm.home)[0]
    run = move(ros, x=0.05, y=-0.03, z=-0.04, turn=0.4)
    result = run.result()
    assert (result.end, result.reason, run.status()) == (MoveCartesian.Result.DONE, "", "succeeded")
    assert np.allclose(position_of(result), start + [0.05, -0.03, -0.04], atol=2e-3)
    assert result.ee_pose.orientation.z == pytest.approx(0, abs=2e-3)  # the tool still points down
    position, yaw = STEPPER.kinematics.pose(arm.state()[0])
    assert np.allclose(position, position_of(result), atol=1e-3) and yaw == pytest.approx(0.4, abs=5e-3)
    assert 0.1 < result.duration < 2.0 and result.gripper_opening == pytest.approx(1.0)
    assert poses[-1].header.frame_id == "base_link"
    assert run.feedback and 0 <= run.feedback[0].fraction <= 1


def test_the_gripper_closes_while_the_arm_moves(ros, cell):
    arm, _ = cell()
    result = move(ros, x=0.02, gripper=CartesianAction.GRIPPER_CLOSE).result()
    assert result.end == MoveCartesian.Result.DONE and arm.opening < 0.02 and result.gripper_opening < 0.021
    result = move(ros, gripper=CartesianAction.GRIPPER_OPEN).result()
    assert result.end == MoveCartesian.Result.DONE and result.gripper_opening > 0.97


def test_refusals_name_the_reason_and_nothing_moves(ros, cell):
    arm, _ = cell(position=(0.70, 0.0, 0.15))
    trajectories = ros.receive(JointTrajectoryMsg, "joint_trajectory", RELIABLE_QOS)
    for step, name in (
        (dict(x=0.05), "workspace_limit: x = 0.750 m above 0.720 m"),
        (dict(y=float("nan")), "action_not_finite: y"),
        (dict(z=float("inf")), "action_not_finite: z"),
        (dict(y=0.2), "action_too_large: |y|"),
        (dict(turn=3.0), "action_too_large: |rotation_z|"),
        (dict(gripper=9), "gripper_unknown: 9"),
    ):
        run = move(ros, **step)
        result = run.result()
        assert result.end == MoveCartesian.Result.REFUSED and result.reason.startswith(name), result.reason
        assert run.status() == "aborted"
    assert not trajectories and np.allclose(arm.state()[0], arm.home)
    status = wait_for_state(ros, ControllerStatus.IDLE)
    assert status.steps_refused == 6 and status.steps_done == 0 and "gripper_unknown" in status.reason


def test_a_terminating_action_is_done_without_motion(ros, cell):
    cell()
    trajectories = ros.receive(JointTrajectoryMsg, "joint_trajectory", RELIABLE_QOS)
    result = move(ros, x=0.05, gripper=CartesianAction.GRIPPER_CLOSE, terminate=True).result()
    assert result.end == MoveCartesian.Result.DONE and not trajectories


def test_an_arm_that_a_simulator_put_elsewhere_takes_a_step_at_once(ros, cell):
    arm, _ = cell()
    poses = ros.receive(PoseStamped, "ee_pose")
    arm.velocities = False
    for y in (0.15, -0.15, 0.0):
        arm._trajectory, arm.home = None, STEPPER.kinematics.home((0.6, y, 0.15))
        wait_until(lambda y=y: poses and abs(poses[-1].pose.position.y - y) < 1e-3, what="the pose there")
        result = move(ros, z=0.02).result()
        assert result.end == MoveCartesian.Result.DONE, result.reason
        assert np.allclose(position_of(result), (0.6, y, 0.17), atol=2e-3)


def test_a_second_goal_is_rejected_while_moving(ros, cell):
    _, process = cell(velocity_scale=0.3)
    first = move(ros, x=0.08, y=0.08)
    with pytest.raises(AmRosError, match="rejected"):
        move(ros, x=-0.01)
    assert first.result().end == MoveCartesian.Result.DONE
    process.wait_for_line("busy with another motion")
    assert move(ros, x=-0.01).result().end == MoveCartesian.Result.DONE


def test_cancel_stops_the_arm_on_the_way(ros, cell):
    arm, _ = cell(velocity_scale=0.1)
    run = move(ros, x=0.08, y=0.08, z=0.08)
    wait_until(lambda: way_from_home(arm) > 0.01, what="motion")
    run.cancel()
    result = run.result()
    assert (result.end, result.reason, run.status()) == (MoveCartesian.Result.STOPPED, "cancelled", "canceled")
    time.sleep(0.3)
    assert not arm.state()[1].any() and 0.01 < way_from_home(arm) < 0.13
    assert move(ros, x=-0.01).result().end == MoveCartesian.Result.DONE


def test_an_arm_that_does_not_move_at_all_is_a_protective_stop_and_nothing_waits_for_it(ros, cell):
    arm, _ = cell(stuck=True, velocity_scale=0.3)
    trajectories = ros.receive(JointTrajectoryMsg, "joint_trajectory", RELIABLE_QOS)
    result = move(ros, x=0.05).result()
    assert result.end == MoveCartesian.Result.STOPPED
    assert result.reason.startswith("protective_stop: no_motion: told to move by 0."), result.reason
    assert wait_for_state(ros, ControllerStatus.PROTECTIVE_STOP).reason.startswith("no_motion: ")
    assert np.allclose(trajectories[-1].points[-1].positions, arm.home, atol=1e-3)  # the command is where the arm is
    assert move(ros, x=0.05).result().reason.startswith("protective_stop: call ~/reset first (no_motion: ")
    arm.stuck = False
    assert ros.call(Trigger, "cartesian_controller/reset").success
    assert move(ros, x=0.02).result().end == MoveCartesian.Result.DONE


def test_lost_joint_states_stop_the_arm_until_reset(ros, cell):
    arm, _ = cell(velocity_scale=0.2)
    run = move(ros, x=0.08)
    time.sleep(0.1)
    arm.silent = True
    result = run.result()
    assert result.end == MoveCartesian.Result.STOPPED
    assert result.reason.startswith("protective_stop: joint_states_stale")
    wait_for_state(ros, ControllerStatus.PROTECTIVE_STOP)
    refusal = ros.call(Trigger, "cartesian_controller/reset")
    assert not refusal.success and refusal.message.startswith("joint_states_stale")
    arm.silent = False
    time.sleep(0.1)
    result = move(ros, x=-0.01).result()
    assert result.end == MoveCartesian.Result.REFUSED
    assert result.reason.startswith("protective_stop: call ~/reset first")
    assert ros.call(Trigger, "cartesian_controller/reset").success
    assert wait_for_state(ros, ControllerStatus.IDLE).reason == ""
    assert move(ros, x=-0.01).result().end == MoveCartesian.Result.DONE


def test_without_joint_states_every_step_is_refused(ros, start_node):
    start_node("cartesian_controller")
    result = move(ros, x=0.01).result()
    assert result.end == MoveCartesian.Result.REFUSED and "never came on joint_states" in result.reason
    assert wait_for_state(ros, ControllerStatus.INACTIVE).reason.startswith("joint_states_stale")


def test_parameters_of_the_limits_reach_the_planner(ros, start_node):
    ExactArm(ros)
    start_node("cartesian_controller", workspace_x_m=[0.5, 0.56], max_translation_m=[0.02, 0.02, 0.02])
    wait_for_state(ros, ControllerStatus.IDLE)
    assert move(ros, x=0.02).result().reason == "workspace_limit: x = 0.570 m above 0.560 m"
    assert move(ros, y=0.03).result().reason == "action_too_large: |y| = 0.030 above 0.020"


def test_a_wrong_parameter_ends_the_node_with_one_sentence(start_node):
    process = start_node("cartesian_controller", velocity_scale=3.0)
    assert process.wait() == 2
    assert "velocity_scale" in process.output
