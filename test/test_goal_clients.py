"""Whose wish is it still? `am-ros reach` that is told to end, or killed, beside a policy and its logger."""

import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest
from am_msgs.action import MoveCartesian, ReachGoal
from am_msgs.msg import CartesianAction, ControllerStatus, EpisodeEvent, Step
from conftest import wait_until
from geometry_msgs.msg import Vector3
from rclpy.action import ActionClient
from sensor_msgs.msg import Image
from test_cartesian_controller import MOVE, ExactArm, wait_for_state, way_from_home
from test_policy_server import save_untrained

from am_ros.action import ActionSpace
from am_ros.bags.episodes import read_episode
from am_ros.bags.finder import find_bags
from am_ros.ros.introspection.client import RosClient
from am_ros.ros.node.common import RELIABLE_QOS

ENDED_S = 2.0  # within which the episode ends
STOPPED = {signal.SIGINT: 130, signal.SIGKILL: -9}
STOPPED_ALIKE = {signal.SIGTERM: 143, signal.SIGHUP: 129}


def start_policy(start_node, tmp_path):
    policy = start_node("policy_server", checkpoint=str(save_untrained(tmp_path / "policy")), samples=8)
    policy.wait_for_line("serving", 60)
    return policy


def some_goal():
    """Shows nothing in particular."""
    image = Image(height=64, width=64, encoding="rgb8", step=192)
    image.data = bytes(range(256)) * 48
    return image


@pytest.fixture
def cell(ros, start_node, tmp_path):
    """A cell whose policy never says that it is done; steps and events of its episodes."""
    start_node("sim_workcell", ready="cell is running")
    start_node("cartesian_controller", velocity_scale=0.3)
    start_node("episode_logger", ready="ready", folder=str(tmp_path / "bags"), free_disk_mb=0)
    start_policy(start_node, tmp_path)
    cv2.imwrite(str(tmp_path / "goal.png"), np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8))
    return ros.receive(Step, "step", RELIABLE_QOS), ros.receive(EpisodeEvent, "episode_event", RELIABLE_QOS)


def ends(events):
    return [e for e in events if e.type == EpisodeEvent.END]


@pytest.mark.needs_quiet(0.2)
@pytest.mark.parametrize("stopped", [STOPPED, pytest.param(STOPPED_ALIKE, marks=pytest.mark.slow)], ids=["int", "term"])
def test_whatever_ends_the_operators_command_ends_the_episode_and_is_recorded(cell, tmp_path, stopped):
    steps, events = cell
    for count, (number, code) in enumerate(stopped.items(), 1):
        steps.clear()
        command = [sys.executable, "-m", "am_ros.cli", "reach", str(tmp_path / "goal.png"), "--max-steps", "500"]
        run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        wait_until(lambda run=run: len(steps) >= 2 or run.poll() is not None, 150, "steps")
        run.send_signal(number)
        began_s, seen = time.monotonic(), len(steps)
        wait_until(lambda count=count: len(ends(events)) == count, 60, f"END after {number.name}")
        assert time.monotonic() - began_s < ENDED_S, number.name
        said, _ = run.communicate(timeout=120)
        assert run.returncode == code and "Traceback" not in said, said
        # The steps of this policy take a quarter of a second; of a client that is killed, two heartbeats were due.
        assert len(steps) - seen <= (2 if number == signal.SIGKILL else 1), number.name
        reason = ends(events)[-1].reason
        assert reason.startswith("client_gone: who sent the goal was not heard for 1.") or (
            reason == "cancelled" and number != signal.SIGKILL and "cancelled, the arm was stopped" in said
        )
        bag = tmp_path / "bags" / ends(events)[-1].episode_id
        wait_until(bag.is_dir, 60, "the bag")
        assert read_episode(bag, ActionSpace()).info.reason == reason
    assert len(find_bags(tmp_path / "bags")) == len(stopped)


@pytest.mark.slow  # it waits until DDS misses a process
def test_a_client_without_heartbeats_is_missed_when_it_leaves_the_graph(cell, ros_env):
    _steps, events = cell
    client = RosClient("foreign")
    foreign = ActionClient(client.node, ReachGoal, "policy_server/reach_goal")
    assert foreign.wait_for_server(10)
    goal = ReachGoal.Goal(max_steps=500, goal_image=some_goal())
    client._executor.create_task(lambda: foreign.send_goal_async(goal))
    wait_until(lambda: events, 60, "START")
    time.sleep(2.0)
    assert not ends(events)  # nothing but the graph speaks for it, and that is enough
    foreign.destroy()
    client.close()
    wait_until(lambda: ends(events), ENDED_S + 3, "END")
    assert ends(events)[-1].reason.startswith("client_gone: no node is left that could have sent the goal")


def test_a_signal_to_the_policy_server_in_mid_motion_brakes_and_is_recorded(ros, start_node, tmp_path):
    start_node("sim_workcell", ready="cell is running")
    start_node("cartesian_controller", velocity_scale=0.1)
    logger = start_node("episode_logger", ready="ready", folder=str(tmp_path / "bags"), free_disk_mb=0)
    policy = start_policy(start_node, tmp_path)
    events = ros.receive(EpisodeEvent, "episode_event", RELIABLE_QOS)
    steps = ros.receive(Step, "step", RELIABLE_QOS)
    ros.send_goal(ReachGoal, "policy_server/reach_goal", 30.0, goal_image=some_goal(), max_steps=500)
    wait_until(lambda: len(steps) >= 2, 60, "steps")
    for node in (logger, policy):  # a closed terminal reaches all at once, the logger first
        node.signal(signal.SIGHUP)
    assert (policy.wait(10), logger.wait(10)) == (0, 0)
    (end,) = ends(events)
    (bag,) = find_bags(tmp_path / "bags")
    assert read_episode(bag, ActionSpace()).info.reason == end.reason == "cancelled"


def test_a_step_whose_client_dies_is_braked(ros, start_node):
    arm = ExactArm(ros)
    start_node("cartesian_controller", velocity_scale=0.05)
    wait_for_state(ros, ControllerStatus.IDLE)
    with RosClient("dies") as other:
        action = CartesianAction(translation=Vector3(y=0.08))
        run = other.send_goal(MoveCartesian, MOVE, action=action)
        wait_until(lambda: way_from_home(arm) > 0.005, what="motion")
    del run
    wait_until(lambda: not arm.state()[1].any(), 4, "standstill")
    assert way_from_home(arm) < 0.07
