"""sim_workcell and scripted_expert as real processes, spoken to over ROS."""

import math

import numpy as np
import pytest
from action_msgs.msg import GoalStatus, GoalStatusArray
from am_msgs.action import RunExpert
from am_msgs.msg import SceneState
from am_msgs.srv import CountImages, GetOutcome, ResetScene
from builtin_interfaces.msg import Duration
from conftest import wait_until
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, JointState
from std_msgs.msg import Float64MultiArray
from std_srvs.srv import SetBool
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from am_ros import images
from am_ros.action import CartesianAction
from am_ros.control.cartesian import CartesianStepper
from am_ros.control.robot import robot_model
from am_ros.ros.node.common import LATCHED_QOS, RELIABLE_QOS, to_ns
from am_ros.sim.environment import Environment
from am_ros.sim.tasks import TASKS, evaluation_seed

JOINTS = robot_model().joint_names
FAST = {"real_time_factor": 3.0}
READY = "cell is running"


def reset(ros, task="reach", seed=0, phase=ResetScene.Request.START):
    answer = ros.call(ResetScene, "sim_workcell/reset", task=task, seed=seed, phase=phase)
    assert answer.success, answer.message
    return answer.scene


def arm_of(message):
    position = dict(zip(message.name, message.position, strict=True))
    return np.array([position[name] for name in JOINTS])


def trajectory_message(trajectory, names=JOINTS):
    order = [JOINTS.index(name) for name in names]
    message = JointTrajectory(joint_names=list(names))
    for seconds, q, qd in zip(trajectory.times_s, trajectory.positions, trajectory.velocities, strict=True):
        since_start = Duration(sec=int(seconds), nanosec=int(seconds % 1 * 1e9))
        point = JointTrajectoryPoint(positions=q[order], velocities=qd[order], time_from_start=since_start)
        message.points.append(point)
    return message


def wait_for_frame(frames, after_ns):
    """The first image that was taken after a moment."""
    wait_until(lambda: frames and to_ns(frames[-1].header.stamp) > after_ns, what="an image after the reset")
    return next(f for f in frames if to_ns(f.header.stamp) > after_ns)


def wait_for_fingers(joints, position_m):
    wait_until(lambda: abs(joints[-1].position[-1] - position_m) < 1e-3, what=f"fingers at {position_m} m")


def test_the_arm_follows_a_trajectory_and_the_camera_sees_it(ros, start_node):
    start_node("sim_workcell", ready=READY, **FAST)
    joints, frames = ros.receive(JointState, "joint_states"), ros.receive(Image, "image_raw")
    commands = ros.publisher(JointTrajectory, "joint_trajectory")
    reset(ros)
    start = arm_of(joints.wait(len(joints) + 1)[-1])
    before = images.array_from_image(frames.wait(len(frames) + 1)[-1])
    stepper = CartesianStepper.for_model("iiwa14")
    trajectory = stepper.plan(start, CartesianAction((0.0, 0.06, 0.0)))
    backwards = tuple(reversed(JOINTS))  # names may come in any order
    commands.publish(trajectory_message(trajectory, backwards))
    wait_until(lambda: np.abs(arm_of(joints[-1]) - trajectory.positions[-1]).max() < 1e-3, what="the arm's arrival")
    after = images.array_from_image(frames.wait(len(frames) + 2)[-1])
    assert np.abs(after.astype(int) - before).mean() > 1


def test_a_trajectory_of_other_joints_moves_nothing_and_is_named(ros, start_node):
    node = start_node("sim_workcell", ready=READY, **FAST)
    joints = ros.receive(JointState, "joint_states")
    commands = ros.publisher(JointTrajectory, "joint_trajectory")
    reset(ros)
    before = arm_of(joints.wait(len(joints) + 1)[-1])
    point = JointTrajectoryPoint(positions=[0.0] * 7, time_from_start=Duration(sec=1))
    commands.publish(JointTrajectory(joint_names=[f"lbr_A{i}" for i in range(1, 8)], points=[point]))
    node.wait_for_line("joint_trajectory: joints are lbr_A1")
    commands.publish(JointTrajectory(joint_names=list(JOINTS), points=[JointTrajectoryPoint(positions=[math.nan] * 7)]))
    node.wait_for_line("joint_trajectory: positions are not finite")
    np.testing.assert_allclose(arm_of(joints.wait(len(joints) + 5)[-1]), before, atol=1e-4)


def test_a_driver_that_is_not_ideal_lags_and_is_stopped_and_deactivated_by_services(ros, start_node):
    node = start_node("sim_workcell", ready=READY, driver="controller", driver_lag_s=0.05, driver_velocities="nan")
    joints = ros.receive(JointState, "joint_states")
    commanded = ros.receive(JointState, "sim_workcell/commanded", RELIABLE_QOS)
    status = ros.receive(GoalStatusArray, "follow_joint_trajectory/_action/status", LATCHED_QOS)
    commands = ros.publisher(JointTrajectory, "joint_trajectory")
    goals = ros.publisher(JointTrajectory, "sim_workcell/action_trajectory")
    reset(ros)
    start = arm_of(joints.wait(len(joints) + 1)[-1])
    assert np.isnan(joints[-1].velocity).all()
    planned = CartesianStepper.for_model("iiwa14").plan(start, CartesianAction((0.0, 0.06, 0.0)))

    def ends_at(angles):
        return lambda: np.abs(arm_of(joints[-1]) - angles).max() < 1e-3

    executing, done = GoalStatus.STATUS_EXECUTING, GoalStatus.STATUS_SUCCEEDED
    back = JointTrajectoryPoint(positions=start, time_from_start=Duration(sec=1))
    there_and_back = (
        (trajectory_message(planned), planned.positions[-1]),
        (JointTrajectory(joint_names=list(JOINTS), points=[back]), start),
    )
    told = []
    for tell in (commands, goals):  # by the topic and as a goal of the action
        for message, end in there_and_back:
            tell.publish(message)
            wait_until(ends_at(end), what="the arm's arrival")
            told += [executing, done] if tell is goals else []
            wait_until(lambda told=told: [s.status_list[0].status for s in status] == told, what=f"statuses {told}")
    ticks = np.array([to_ns(m.header.stamp) for m in commanded])
    assert set(np.diff(ticks[-100:])) == {10_000_000}

    assert ros.call(SetBool, "sim_workcell/emergency_stop", data=True).success
    commands.publish(trajectory_message(planned))
    wait_until(
        lambda: np.abs(np.array(commanded[-1].position) - planned.positions[-1]).max() < 1e-6, what="the command"
    )
    assert ends_at(start)()
    assert ros.call(SetBool, "sim_workcell/emergency_stop", data=False).success
    wait_until(ends_at(planned.positions[-1]), what="the released arm at its command")
    assert ros.call(SetBool, "sim_workcell/controller_active", data=False).success
    commands.publish(JointTrajectory(joint_names=list(JOINTS), points=[back]))
    joints.wait(len(joints) + 50)
    assert ends_at(planned.positions[-1])()
    commands.publish(JointTrajectory(joint_names=list(JOINTS)))
    node.wait_for_line("joint_trajectory: it has no points")


def test_the_ideal_driver_says_that_it_has_no_emergency_stop(ros, start_node):
    start_node("sim_workcell", ready=READY)
    answer = ros.call(SetBool, "sim_workcell/emergency_stop", data=True)
    assert (answer.success, answer.message[:23]) == (False, "parameter driver: the i")


def test_the_gripper_closes_and_opens_on_command(ros, start_node):
    node = start_node("sim_workcell", ready=READY, **FAST)
    joints = ros.receive(JointState, "joint_states")
    commands = ros.publisher(Float64MultiArray, "gripper_command")
    reset(ros)
    for opening in (0.0, 1.0):
        commands.publish(Float64MultiArray(data=[opening]))
        wait_for_fingers(joints, 0.045 * opening)
    commands.publish(Float64MultiArray(data=[7.0]))
    node.wait_for_line("gripper_command: expected one number 0 ... 1")


def test_an_image_after_the_reset_shows_the_new_scene(ros, start_node):
    start_node("sim_workcell", ready=READY, **FAST)
    frames, scenes = ros.receive(Image, "image_raw"), ros.receive(SceneState, "scene_state", RELIABLE_QOS)
    for number, phase in enumerate(("start", "goal", "start", "goal")):
        seed, code = evaluation_seed(number), {"start": ResetScene.Request.START, "goal": ResetScene.Request.GOAL}
        state = reset(ros, "pick_place", seed, code[phase])
        answered = to_ns(ros.node.get_clock().now().to_msg())
        assert (state.task, state.seed) == ("pick_place", seed)
        frame = wait_for_frame(frames, answered)
        with Environment(TASKS["pick_place"]) as environment:
            expected = environment.reset(seed, phase).image
        assert np.abs(images.array_from_image(frame).astype(int) - expected).mean() < 0.5
        assert frame.header.stamp in [s.header.stamp for s in scenes if s.seed == seed]
        outcome = ros.call(GetOutcome, "sim_workcell/outcome")
        assert outcome.success and outcome.reached == (phase == "goal")


def test_images_are_counted_and_described_exactly(ros, start_node):
    start_node("sim_workcell", ready=READY, image_size=96, image_rate_hz=30.0)
    frames = ros.receive(Image, "image_raw")
    jpeg = ros.wait_for_message(CompressedImage, "image_raw/compressed")
    assert images.decode(bytes(jpeg.data)).shape == (96, 96, 3)
    info = ros.wait_for_message(CameraInfo, "camera_info")
    assert (info.width, info.height, info.k[2]) == (96, 96, 47.5)
    frames.wait(len(frames) + 40)
    first, last = frames[0].header.stamp, frames[-1].header.stamp
    received = len(frames.wait(1))
    window = [f for f in frames[:received] if to_ns(f.header.stamp) <= to_ns(last)]
    counted = ros.call(CountImages, "sim_workcell/count_images", first=first, last=last)
    assert counted.count == len(window)
    assert (to_ns(counted.first), to_ns(counted.last)) == (to_ns(first), to_ns(last))
    assert ros.call(CountImages, "sim_workcell/count_images").count >= counted.count


def test_a_wrong_scene_is_refused_in_one_sentence_and_the_cell_goes_on(ros, start_node):
    start_node("sim_workcell", ready=READY, **FAST)
    for fields, sentence in (
        ({"task": "juggle", "seed": 1}, "task 'juggle': use one of reach, pick_place"),
        ({"task": "reach", "seed": -5}, "scene seed -5: must not be negative"),
        ({"task": "reach", "seed": 1, "phase": 9}, "phase 9: use START or GOAL"),
    ):
        answer = ros.call(ResetScene, "sim_workcell/reset", **fields)
        assert not answer.success and answer.message.startswith(sentence)
    ros.wait_for_message(Image, "image_raw")


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"real_time_factor": 50.0}, "real_time_factor"),
        ({"image_size": 4}, "image_size"),
        ({"task": "x"}, "task 'x'"),
        ({"driver": "controller", "driver_rate_hz": 130}, "parameter driver_rate_hz: 130 is no divisor"),
    ],
)
def test_a_wrong_parameter_ends_the_node_in_one_sentence(start_node, parameters, sentence):
    node = start_node("sim_workcell", **parameters)
    assert node.wait() == 2
    assert sentence in node.output


def test_the_expert_refuses_by_name_what_cannot_be(ros, start_node):
    start_node("sim_workcell", **FAST)
    start_node("cartesian_controller")
    start_node("scripted_expert")
    for fields, sentence in (
        ({"task": "juggle", "seed": 1}, "task 'juggle': use one of reach, pick_place"),
        ({"task": "reach", "seed": -1}, "scene seed -1: must not be negative"),
        ({"task": "reach", "seed": 1, "noise": 1.5}, "parameter noise: 1.5 is outside 0 ... 1"),
    ):
        run = ros.send_goal(RunExpert, "scripted_expert/run_expert", 20.0, **fields)
        result = run.result(20)
        assert not result.success and result.message.startswith(sentence) and run.status() == "aborted"
