"""The simulated cell: it moves as it is told, grasps by friction only, and repeats itself exactly."""

import numpy as np
import pytest

from am_ros.action import CartesianAction, Gripper
from am_ros.control.cartesian import CartesianStepper
from am_ros.control.kinematics import Kinematics
from am_ros.control.robot import robot_description, robot_model
from am_ros.errors import AmRosError
from am_ros.sim.camera import CameraConfig, intrinsics
from am_ros.sim.environment import Environment
from am_ros.sim.objects import BLOCK, BLOCK_SIZE_M
from am_ros.sim.scene import Arrangement, tool_down, upright
from am_ros.sim.tasks import TASKS
from am_ros.sim.workcell import SimConfig, SimWorkcell

OPEN, CLOSED = 1.0, 0.0
PLACE = (0.55, 0.05)


@pytest.fixture(scope="module")
def cell():
    with SimWorkcell() as cell:
        yield cell


def arrange(cell, tool, block=(*PLACE, BLOCK_SIZE_M / 2), block_yaw=0.0, opening=OPEN):
    cell.arrange(Arrangement(tool_down(tool), {BLOCK: upright(block, block_yaw)}, opening))


def move(cell, *translation):
    stepper = CartesianStepper(cell.kinematics)
    cell.follow(stepper.plan(cell.arm_positions(), CartesianAction(translation)))
    cell.advance(cell.motion_left_s + 0.05)


def grip(cell, opening):
    cell.command_gripper(opening)
    cell.advance(cell.motion_left_s + 0.1)


def block_height(cell):
    return cell.object_poses()[BLOCK].position_m[2]


def held_at(cell):
    """Where the block is, seen from the tool."""
    return np.subtract(cell.object_poses()[BLOCK].position_m, cell.end_effector().position_m)


def test_the_arm_arrives_where_a_step_leads(cell):
    arrange(cell, (0.50, -0.10, 0.20))
    move(cell, 0.08, 0.05, -0.06)
    np.testing.assert_allclose(cell.end_effector().position_m, (0.58, -0.05, 0.14), atol=1e-3)
    assert np.abs(cell.joint_state().velocities).max() < 0.01


def test_a_block_between_closed_fingers_is_lifted_and_stays(cell):
    arrange(cell, (*PLACE, 0.025))
    grip(cell, CLOSED)
    assert 0.5 < cell.gripper_opening() < 0.6  # the block is 5 cm wide, the gripper opens 9 cm
    move(cell, 0, 0, 0.08)
    move(cell, 0.05, -0.08, 0.05)
    before = held_at(cell)
    cell.advance(4.0)
    assert block_height(cell) == pytest.approx(0.155, abs=0.005)
    np.testing.assert_allclose(held_at(cell), before, atol=1.5e-3)  # it does not creep


def test_a_block_falls_when_the_fingers_open(cell):
    arrange(cell, (*PLACE, 0.025))
    grip(cell, CLOSED)
    move(cell, 0, 0, 0.08)
    grip(cell, OPEN)
    cell.advance(0.5)
    assert block_height(cell) < BLOCK_SIZE_M


def test_fingers_that_close_above_the_block_do_not_lift_it(cell):
    arrange(cell, (*PLACE, 0.075))
    grip(cell, CLOSED)
    move(cell, 0, 0, 0.08)
    assert block_height(cell) == pytest.approx(BLOCK_SIZE_M / 2, abs=2e-3)


def test_fingers_that_close_beside_the_block_do_not_lift_it(cell):
    arrange(cell, (PLACE[0] + 0.05, PLACE[1], 0.025))
    grip(cell, CLOSED)
    assert cell.gripper_opening() < 0.05
    move(cell, 0, 0, 0.08)
    assert block_height(cell) == pytest.approx(BLOCK_SIZE_M / 2, abs=2e-3)


def test_open_fingers_do_not_carry_the_block(cell):
    arrange(cell, (*PLACE, 0.025))
    move(cell, 0, 0, 0.08)
    assert block_height(cell) == pytest.approx(BLOCK_SIZE_M / 2, abs=2e-3)


def test_fingers_stop_at_the_table(cell):
    arrange(cell, (0.62, -0.1, 0.02))
    stepper = CartesianStepper(cell.kinematics)
    trajectory = stepper.plan(cell.arm_positions(), CartesianAction())
    lower = trajectory.positions.copy()
    lower[-1] = cell.kinematics.inverse((0.62, -0.1, -0.03), 0.0, lower[0])
    cell.follow(type(trajectory)(trajectory.times_s, lower, trajectory.velocities))
    cell.advance(1.0)
    assert cell.end_effector().position_m[2] > 0.005  # the pads end 1.5 cm below the tool centre point


def test_a_dropped_block_comes_to_rest(cell):
    arrange(cell, (0.45, -0.2, 0.3), block=(*PLACE, 0.15), block_yaw=0.4)
    cell.advance(1.5)
    before = cell.object_poses()[BLOCK].position_m
    cell.advance(1.0)
    np.testing.assert_allclose(cell.object_poses()[BLOCK].position_m, before, atol=1e-4)


def test_a_scene_that_the_arm_cannot_take_is_refused_and_the_old_one_stands(cell):
    arrange(cell, (0.5, 0.0, 0.2))
    with pytest.raises(AmRosError, match="unreachable|joint_limit"):
        arrange(cell, (2.0, 0.0, 0.2))
    np.testing.assert_allclose(cell.end_effector().position_m, (0.5, 0.0, 0.2), atol=1e-3)


@pytest.mark.parametrize("task", TASKS)
def test_the_same_seed_and_actions_give_the_same_bytes(task):
    def play(environment):
        images = [environment.reset(7)]
        for _ in range(6):
            images.append(environment.step(environment.task.act(environment.scene())))
        return b"".join(o.image.tobytes() + o.state.tobytes() for o in images)

    with Environment(TASKS[task]) as environment:
        first = play(environment)
        environment.reset(8)
        environment.step(CartesianAction((0.05, 0.05, -0.05), 0.2, Gripper.CLOSE))
        assert play(environment) == first
    with Environment(TASKS[task]) as another:
        assert play(another) == first


def test_a_refused_action_leaves_everything_as_it_is():
    with Environment(TASKS["reach"]) as environment:
        before = environment.reset(3)
        after = environment.step(CartesianAction((0.5, 0.0, 0.0)))
        assert after.refused.startswith("action_too_large")
        assert (after.image == before.image).all() and (after.state == before.state).all()
        assert not environment.step(CartesianAction((0.0, 0.0, 0.01))).refused


def test_a_step_that_drops_the_block_ends_when_it_lies():
    with Environment(TASKS["pick_place"]) as environment:
        environment.reset(4)
        arrange(environment.workcell, (*PLACE, 0.025))
        for action in (
            CartesianAction(gripper=Gripper.CLOSE),
            CartesianAction((0.0, 0.0, 0.08), gripper=Gripper.CLOSE),
            CartesianAction((0.0, 0.0, 0.08), gripper=Gripper.CLOSE),
        ):
            environment.step(action)
        assert block_height(environment.workcell) > 0.15
        environment.step(CartesianAction(gripper=Gripper.OPEN))
        assert environment.workcell.objects_at_rest()
        assert block_height(environment.workcell) < BLOCK_SIZE_M


def test_the_camera_stands_where_the_robot_description_says():
    urdf = robot_description("iiwa14")
    optical = Kinematics(urdf, robot_model("iiwa14").joint_names[:0], "camera_optical_frame")
    position, rotation = optical.forward(np.zeros(0))
    config = CameraConfig()
    forward = np.array(config.camera_target_m) - config.camera_position_m
    np.testing.assert_allclose(position, config.camera_position_m, atol=1e-6)
    np.testing.assert_allclose(rotation[:, 2], forward / np.linalg.norm(forward), atol=1e-3)


def test_every_image_size_shows_the_same_scene():
    small, large = (
        Environment(TASKS["pick_place"], SimConfig(camera=CameraConfig(image_size=size))).reset(5).image
        for size in (64, 256)
    )
    shrunk = large.reshape(64, 4, 64, 4, 3).mean(axis=(1, 3))
    assert np.abs(shrunk - small).mean() < 6


def test_the_block_is_seen_where_the_intrinsics_say(cell):
    """Projects the block with the calibration that camera_info publishes."""
    config = cell.config.camera
    arrange(cell, (0.45, 0.2, 0.3), block=(0.62, 0.0, BLOCK_SIZE_M / 2))
    image = cell.render().astype(int)
    rows, columns = np.nonzero((image[..., 2] > 140) & (image[..., 0] < 80))
    eye, target = np.array(config.camera_position_m), np.array(config.camera_target_m)
    forward = (target - eye) / np.linalg.norm(target - eye)
    right = np.cross(forward, (0, 0, 1))
    right /= np.linalg.norm(right)
    offset = np.array(cell.object_poses()[BLOCK].position_m) - eye
    ray = np.array([offset @ right, offset @ np.cross(forward, right), offset @ forward])
    u, v, _ = intrinsics(config) @ (ray / ray[2])
    assert (columns.mean(), rows.mean()) == pytest.approx((u, v), abs=1.0)
