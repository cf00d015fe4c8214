"""The Cartesian controller and the simulated workcell, two real processes."""

import signal

import numpy as np
import pytest
from am_msgs.action import MoveCartesian
from am_msgs.msg import CartesianAction, ControllerStatus, SceneState
from am_msgs.srv import ResetScene
from conftest import wait_until
from geometry_msgs.msg import PoseStamped, Vector3
from std_srvs.srv import Trigger

from am_ros.control.limits import MotionLimits
from am_ros.episode import yaw_of_quaternion
from am_ros.ros.node.common import LATCHED_QOS, RELIABLE_QOS, to_ns

DONE, STOPPED = MoveCartesian.Result.DONE, MoveCartesian.Result.STOPPED
LOW, HIGH = MotionLimits().box


class Cell:
    """Both nodes and what they say."""

    def __init__(self, ros, start_node, velocity_scale=0.9, **simulation):
        self._ros, self._start_node, self._simulation = ros, start_node, simulation
        self.status = ros.receive(ControllerStatus, "controller_status", LATCHED_QOS)
        self.scenes = ros.receive(SceneState, "scene_state", RELIABLE_QOS)
        self.poses = ros.receive(PoseStamped, "ee_pose")
        self.start_simulator()
        start_node("cartesian_controller", velocity_scale=velocity_scale)
        self.wait_for(ControllerStatus.IDLE)

    def start_simulator(self):
        self.simulator = self._start_node("sim_workcell", ready="cell is running", **self._simulation)

    def wait_for(self, state):
        wait_until(lambda: self.status and self.status[-1].state == state, 60, f"controller state {state}")

    def reset(self, task, seed=0):
        response = self._ros.call(ResetScene, "sim_workcell/reset", timeout_s=20.0, task=task, seed=seed)
        assert response.success, response.message
        there = position(response.scene.ee_pose)
        wait_until(lambda: np.abs(position(self.poses[-1].pose) - there).max() < 2e-3, 60, "the controller to see it")
        return response.scene

    def send(self, x=0.0, y=0.0, z=0.0, turn=0.0, gripper=CartesianAction.GRIPPER_HOLD):
        action = CartesianAction(translation=Vector3(x=x, y=y, z=z), rotation_z=turn, gripper=gripper)
        return self._ros.send_goal(MoveCartesian, "cartesian_controller/move_cartesian", action=action)

    def move(self, *displacement, **options):
        """Execute one step; return its result."""
        result = self.send(*displacement, **options).result()
        assert result.end == DONE, result.reason
        return result

    def scene(self):
        """A truth of the simulator that is newer than now; what lies in the queue may be older."""
        now_ns = self._ros.node.get_clock().now().nanoseconds
        wait_until(lambda: self.scenes and to_ns(self.scenes[-1].header.stamp) > now_ns, 60, "the simulator's truth")
        return self.scenes[-1]

    def go_to(self, target, **options):
        """As many steps as it takes."""
        for _ in range(10):
            way = np.asarray(target) - position(self.scene().ee_pose)
            result = self.move(*np.clip(way, -0.08, 0.08).tolist(), **options)
            if np.abs(way).max() < 0.08:
                return result
        pytest.fail(f"{target} not reached")


def position(pose):
    return np.array([pose.position.x, pose.position.y, pose.position.z])


def yaw(pose):
    q = pose.orientation
    return yaw_of_quaternion(q.x, q.y, q.z, q.w)


@pytest.mark.needs_quiet(0.2)
def test_five_centimetres_end_within_two_millimetres_of_the_simulators_truth(ros, start_node):
    cell = Cell(ros, start_node)
    start = cell.reset("reach", seed=3).ee_pose
    inward = np.where(position(start) > (LOW + HIGH) / 2, -0.05, 0.05)
    for step in np.diag(inward):
        before = cell.scene().ee_pose
        result = cell.move(*step.tolist(), turn=0.2)
        after = cell.scene().ee_pose
        assert np.abs(position(after) - position(before) - step).max() < 2e-3
        assert yaw(after) - yaw(before) == pytest.approx(0.2, abs=0.01)
        assert np.abs(position(result.ee_pose) - position(after)).max() < 1e-3
        assert result.duration < 2.0


def test_it_grasps_lifts_and_releases_the_block(ros, start_node):
    cell = Cell(ros, start_node, real_time_factor=3.0)
    block = position(cell.reset("pick_place", seed=1).objects[0].pose)
    cell.go_to(block + [0, 0, 0.12], gripper=CartesianAction.GRIPPER_OPEN)
    scene = cell.scene()
    turn = yaw(scene.objects[0].pose) - yaw(scene.ee_pose)
    turn = (turn + np.pi / 4) % (np.pi / 2) - np.pi / 4  # a cube looks the same after a quarter turn
    for _ in range(2):
        cell.move(turn=float(turn) / 2)
    cell.go_to(block)
    held = cell.move(gripper=CartesianAction.GRIPPER_CLOSE)
    assert 0.4 < held.gripper_opening < 0.7  # 5 cm of 9 cm
    cell.move(0.0, 0.0, 0.08, gripper=CartesianAction.GRIPPER_CLOSE)
    assert position(cell.scene().objects[0].pose)[2] > block[2] + 0.06
    cell.move(0.0, 0.0, -0.075, gripper=CartesianAction.GRIPPER_HOLD)
    assert cell.move(gripper=CartesianAction.GRIPPER_OPEN).gripper_opening > 0.95
    assert position(cell.scene().objects[0].pose)[2] < block[2] + 0.01


@pytest.mark.parametrize("factor", [0.4, 4.0])
def test_the_simulator_may_run_slower_or_faster_than_real_time(ros, start_node, factor):
    cell = Cell(ros, start_node, real_time_factor=factor)
    start = position(cell.reset("reach", seed=1).ee_pose)
    side = -1 if start[1] > 0 else 1
    for _ in range(2):
        cell.move(0.0, side * 0.08)
    cell.move(0.0, side * 0.001)  # shorter than the tolerance of arrival
    end = position(cell.scene().ee_pose)
    assert np.abs(end - start - [0, side * 0.161, 0]).max() < 2e-3


def test_a_simulator_that_dies_in_motion_is_a_protective_stop(ros, start_node):
    cell = Cell(ros, start_node, velocity_scale=0.1)
    start = position(cell.reset("reach", seed=1).ee_pose)
    run = cell.send(y=-0.08 if start[1] > 0 else 0.08)
    wait_until(lambda: run.feedback and run.feedback[-1].fraction > 0.1, what="motion")
    cell.simulator.signal(signal.SIGKILL)
    result = run.result()
    assert result.end == STOPPED and result.reason.startswith("protective_stop: joint_states_stale")
    cell.wait_for(ControllerStatus.PROTECTIVE_STOP)
    assert not ros.call(Trigger, "cartesian_controller/reset").success
    cell.start_simulator()
    wait_until(lambda: ros.call(Trigger, "cartesian_controller/reset").success, what="reset of the protective stop")
    cell.reset("reach", seed=1)
    cell.move(0.0, 0.0, 0.0, turn=0.1)
