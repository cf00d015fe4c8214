"""The Cartesian controller with its other backends, as a real process with a planner's process of its own."""

import signal
import time
from dataclasses import replace

import numpy as np
import psutil
import pytest
from am_msgs.action import MoveCartesian
from am_msgs.msg import ControllerStatus
from conftest import wait_until
from geometry_msgs.msg import PoseStamped
from std_msgs.msg import Bool, Float64MultiArray
from test_cartesian_controller import STEPPER, ExactArm, move, position_of, wait_for_state
from trajectory_msgs.msg import JointTrajectory

from am_ros.cell.graph import workcell_nodes
from am_ros.cell.processes import NodeProcess
from am_ros.ros.node.common import RELIABLE_QOS

RESULT = MoveCartesian.Result


def planner_of(process):
    """The planner's process of a controller."""
    return next(c for c in psutil.Process(process.pid).children() if "pinocchio_planner" in " ".join(c.cmdline()))


@pytest.mark.needs_quiet(0.2)
def test_the_planners_process_moves_the_arm_and_its_death_costs_a_step_only(ros, start_node):
    arm = ExactArm(ros)
    process = start_node(
        "cartesian_controller", backend="moveit", planner="pinocchio", planner_timeout_s=0.5, gripper="switch"
    )
    wait_for_state(ros, ControllerStatus.IDLE, timeout_s=40.0)  # two interpreters start, one after the other
    switched = ros.receive(Bool, "gripper_switch", RELIABLE_QOS)
    process.wait_for_line("planner is ready: pinocchio, iiwa14")
    start = STEPPER.kinematics.pose(arm.home)[0]
    result = move(ros, x=0.05, y=-0.03, z=-0.04, turn=0.4, gripper=2).result()
    assert (result.end, result.reason) == (RESULT.DONE, "")
    assert np.allclose(position_of(result), start + [0.05, -0.03, -0.04], atol=2e-3)
    assert switched.wait(1)[0].data is True
    assert move(ros, x=0.06, z=0.2).result().reason.startswith("action_too_large: |z|")

    for number, sentence in (
        (signal.SIGKILL, "backend_gone: the planner was ended by SIGKILL"),
        (signal.SIGSTOP, "backend_gone: the planner hung for 0.5 s and was killed"),
    ):
        planner_of(process).send_signal(number)
        before, began_s = arm.state()[0], time.monotonic()
        result = move(ros, y=0.05).result()
        assert result.end == RESULT.REFUSED and result.reason.startswith(sentence)
        assert time.monotonic() - began_s < 2.0
        assert np.array_equal(arm.state()[0], before)
        assert wait_for_state(ros, ControllerStatus.IDLE).state == ControllerStatus.IDLE  # nothing is latched

        def moved():
            ended = move(ros, y=0.005).result()
            assert ended.end == RESULT.DONE or ended.reason.startswith("backend_gone: the planner ")
            return ended.end == RESULT.DONE

        wait_until(moved, 60, "a planner that was started again")
    planner = planner_of(process)
    assert process.stop() == 0
    wait_until(lambda: not planner.is_running(), 5, "the end of the planner's process")


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"backend": "moveit"}, "moveit_py is not installed: apt install ros-jazzy-moveit-py (backend moveit)"),
        ({"backend": "servo"}, "moveit_msgs is not installed: apt install ros-jazzy-moveit-msgs (backend servo)"),
        ({"gripper": "action"}, "control_msgs is not installed: apt install ros-jazzy-control-msgs (gripper action)"),
    ],
)
def test_what_is_not_installed_is_named_before_anything_moves(start_node, parameters, sentence):
    for module in ("moveit", "moveit_msgs", "control_msgs"):
        try:
            __import__(module)
        except ImportError:
            continue
        pytest.skip(f"{module} is installed here")
    process = start_node("cartesian_controller", **parameters)
    assert process.wait() == 2
    assert sentence in process.output


def test_a_real_grippers_driver_gets_what_it_takes(ros, start_node):
    ExactArm(ros)
    openings = ros.receive(Float64MultiArray, "gripper_command", RELIABLE_QOS)
    fingers = ros.receive(JointTrajectory, "gripper_trajectory", RELIABLE_QOS)
    start_node("cartesian_controller", gripper="trajectory", gripper_open=0.8, gripper_closed=0.1, gripper_move_s=1.5)
    wait_for_state(ros, ControllerStatus.IDLE)
    assert move(ros, gripper=2).result().end == RESULT.DONE
    assert move(ros, gripper=1).result().end == RESULT.DONE
    assert [list(msg.data) for msg in openings.wait(2)] == [[0.0], [1.0]]
    assert [list(msg.points[0].positions) for msg in fingers.wait(2)] == [[0.1, 0.1], [0.8, 0.8]]
    point = fingers[0].points[0]
    assert fingers[0].joint_names == ["finger_left_joint", "finger_right_joint"]
    assert point.time_from_start.sec + point.time_from_start.nanosec * 1e-9 == pytest.approx(1.5)


def test_a_gripper_that_reports_nothing_is_where_it_was_told_to_go(ros, start_node):
    arm = ExactArm(ros)
    arm.fingers = False
    start_node("cartesian_controller", gripper="switch", gripper_measured=False, gripper_move_s=0.6)
    wait_for_state(ros, ControllerStatus.IDLE)
    began_s = time.monotonic()
    result = move(ros, x=0.01, gripper=2).result()
    assert (result.end, result.gripper_opening) == (RESULT.DONE, pytest.approx(0.0, abs=0.03))
    assert time.monotonic() - began_s > 0.55
    assert move(ros, gripper=1).result().gripper_opening == pytest.approx(1.0, abs=0.03)


@pytest.mark.parametrize(
    ("stack", "names", "prefix", "frame", "flange_m"),
    [
        ("lbr_fri", [f"lbr_A{i}" for i in range(1, 8)], "/lbr", "lbr_link_0", 0.0),
        ("kuka_drivers", [f"joint_{i}" for i in range(1, 8)], "", "base_link", 0.026),
    ],
)
def test_the_controller_speaks_to_the_driver_of_each_stack(ros, ros_env, stack, names, prefix, frame, flange_m):
    topics = (f"{prefix}/joint_states", f"{prefix}/joint_trajectory_controller/joint_trajectory")
    arm = ExactArm(ros, names=names, topics=topics)
    poses = ros.receive(PoseStamped, "ee_pose")
    controller = next(spec for spec in workcell_nodes(stack=stack) if spec.label == "cartesian_controller")
    process = NodeProcess(replace(controller, parameters={**controller.parameters, "autostart": True}), env=ros_env)
    try:
        assert wait_for_state(ros, ControllerStatus.IDLE).reduced
        start = STEPPER.kinematics.pose(arm.home)[0] - [0, 0, flange_m]
        result = move(ros, x=0.03, y=0.05, turn=0.3).result()
        assert (result.end, result.reason) == (RESULT.DONE, "")
        assert np.allclose(position_of(result), start + [0.03, 0.05, 0.0], atol=2e-3)
        assert poses[-1].header.frame_id == frame
    finally:
        process.stop()
