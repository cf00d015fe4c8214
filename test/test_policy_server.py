"""The policy server among the real nodes of the simulated cell: goals, refusals, faults, hot loading."""

import math

import numpy as np
import pytest
import torch
from action_msgs.msg import GoalStatus
from am_msgs.action import ReachGoal
from am_msgs.msg import EpisodeEvent, Step
from am_msgs.srv import LoadCheckpoint, RecordGoal, ResetScene
from conftest import wait_until
from sensor_msgs.msg import Image

from am_ros import images
from am_ros.errors import AmRosError
from am_ros.evaluation.actors import ActorConfig, searching
from am_ros.evaluation.trials import TrialPlan, run_trials
from am_ros.learning import checkpoint
from am_ros.learning.networks import NetworkConfig, make_network
from am_ros.ros.node.common import RELIABLE_QOS, to_ns
from am_ros.ros.trials import RosTrials

assert GoalStatus  # the statuses that RosClient names


def save_untrained(folder, change=lambda network: None):
    """A checkpoint of an untrained network: it moves, aimlessly, and never terminates. `change` may alter weights."""
    network = make_network(NetworkConfig(width=32, channels=4))
    with torch.no_grad():
        change(network)
    meta = {
        "update": 5, "image_size": 64, "action_space": {"max_translation_m": [0.08] * 3, "max_rotation_rad": 0.5},
        "config": {"network": {"width": 32, "channels": 4}, "acting": {"terminate": False}},
    }  # fmt: skip
    return checkpoint.save(folder, meta, {"model": network.state_dict()})


@pytest.fixture(scope="module")
def untrained(tmp_path_factory):
    """The untrained policy."""
    return save_untrained(tmp_path_factory.mktemp("policy") / "checkpoint")


@pytest.fixture
def cell(ros, start_node, untrained, tmp_path):
    """The whole cell but the logger, with the untrained policy."""
    start_node("sim_workcell", real_time_factor=4.0)
    start_node("cartesian_controller")
    start_node("goal_registry", folder=str(tmp_path / "goals"))
    return start_node("policy_server", checkpoint=str(untrained), samples=8, ready="serving")


def pursue(ros, **goal):
    """Send a goal and wait for its end: (result, status)."""
    run = ros.send_goal(ReachGoal, "policy_server/reach_goal", timeout_s=20, **goal)
    return run.result(60), run.status()


def test_a_recorded_goal_is_pursued_step_by_step_and_every_step_is_published(ros, cell):
    steps, events = ros.receive(Step, "step", RELIABLE_QOS), ros.receive(EpisodeEvent, "episode_event", RELIABLE_QOS)
    assert ros.call(ResetScene, "sim_workcell/reset", task="reach", seed=3, phase=1, timeout_s=30).success
    assert ros.call(RecordGoal, "goal_registry/record", goal_id="there").success
    assert ros.call(ResetScene, "sim_workcell/reset", task="reach", seed=3, phase=0).success
    result, status = pursue(ros, goal_id="there", max_steps=3, task="reach", seed=3)
    assert status == "succeeded" and result.end in (result.STEP_LIMIT, result.TERMINATED), result.reason
    assert 1 <= result.steps <= 3 and 0 < result.final_q < 1 and result.decision_ms_p50 > 0
    wait_until(lambda: len(events) >= 2, 5, "START and END")
    assert [e.type for e in events] == [EpisodeEvent.START, EpisodeEvent.END]
    assert events[-1].goal_id == "there" and events[-1].steps == result.steps == len(steps)
    stamps = [to_ns(s.observation.image_stamp) for s in steps]
    assert stamps == sorted(set(stamps))  # each decision on an image newer than the motion before it

    again, _ = pursue(ros, goal_id="no_such_goal")
    assert again.end == again.FAULT and "no_such_goal" in again.reason
    outside, _ = pursue(ros, goal_id="../there")
    assert outside.end == outside.FAULT and "use 1 to 64 letters" in outside.reason
    small = Image()
    images.fill_image(small, np.full((32, 32, 3), 100, np.uint8))
    wrong, _ = pursue(ros, goal_image=small)
    assert wrong.end == wrong.FAULT and "is (32, 32), the policy needs (64, 64)" in wrong.reason
    result, status = pursue(ros, goal_id="there", max_steps=1)
    assert status == "succeeded"  # a valid goal is still served


def test_one_goal_at_a_time_and_cancel_ends_it(ros, cell):
    goal = Image()
    images.fill_image(goal, np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8))
    events = ros.receive(EpisodeEvent, "episode_event", RELIABLE_QOS)
    ros.call(ResetScene, "sim_workcell/reset", task="reach", seed=1, phase=0, timeout_s=30)
    first = ros.send_goal(ReachGoal, "policy_server/reach_goal", goal_image=goal, max_steps=500, timeout_s=20)
    wait_until(lambda: first.feedback or first.done, 60, "the first step")
    with pytest.raises(AmRosError, match="the goal was rejected: another goal is being pursued"):
        ros.send_goal(ReachGoal, "policy_server/reach_goal", goal_image=goal)
    first.cancel()
    result = first.result(20)
    assert first.status() == "canceled" and result.end == result.CANCELLED
    assert events[-1].type == EpisodeEvent.END and events[-1].reason == "cancelled"


def test_a_bad_checkpoint_is_refused_and_the_old_one_keeps_serving(ros, cell, untrained):
    damaged = untrained.with_name("damaged")
    damaged.mkdir()
    for file in untrained.iterdir():
        (damaged / file.name).write_bytes(file.read_bytes()[:-3])
    answer = ros.call(LoadCheckpoint, "policy_server/load_checkpoint", path=str(damaged), timeout_s=20)
    assert not answer.success and "checkpoint.json" in answer.message
    assert answer.update == 5  # the one that still serves
    assert not ros.call(LoadCheckpoint, "policy_server/load_checkpoint", path="/nowhere").success
    assert ros.call(LoadCheckpoint, "policy_server/load_checkpoint", path=str(untrained)).success


def test_without_images_a_goal_ends_with_a_named_fault(ros, start_node, untrained):
    start_node("cartesian_controller")
    start_node("policy_server", checkpoint=str(untrained), image_timeout_s=0.5, ready="serving")
    goal = Image()
    images.fill_image(goal, np.full((64, 64, 3), 100, np.uint8))
    result, status = pursue(ros, goal_image=goal)
    assert status == "aborted" and result.end == result.FAULT
    assert result.reason == "image_stale: topic image_raw: no new image for 0.5 s (none came)"


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [({"samples": 1}, "samples"), ({"checkpoint": "/nowhere"}, "/nowhere: is not a checkpoint")],
)
def test_what_cannot_work_stops_the_node_at_configure_time(start_node, parameters, sentence):
    node = start_node("policy_server", **parameters)
    assert node.wait() == 2
    assert sentence in "\n".join(node.lines)


@pytest.mark.slow  # test_evaluation_ros.py has the same
def test_trials_with_and_without_the_nodes_agree(ros, cell, untrained, start_node):
    """A deterministic policy on the same scenes: the same number of steps, the same place at the end."""
    trials = RosTrials(ros)
    plan = TrialPlan(ActorConfig(str(untrained), search=searching(samples=8)), ("reach",), trials=2, frames_px=64)
    for direct, through in zip(run_trials([plan]), [trials.run("reach", 0), trials.run("reach", 1)], strict=True):
        assert (through.steps, through.end, through.success) == (direct.steps, direct.end, direct.success)
        assert math.isclose(through.distance_m, direct.distance_m, abs_tol=0.03)
        assert len(through.frames) == len(direct.frames)
    published, received = trials.count_images()
    assert published == received > 0
