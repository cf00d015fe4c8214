"""The trainer node: bags from a folder, replayed topics, services that always answer, no orphans."""

import os
import signal
import time

import psutil
import pytest
from am_msgs.msg import TrainingMetrics
from am_msgs.srv import GetTraining, IngestBags
from conftest import wait_until
from learning_data import DotWorld
from std_srvs.srv import SetBool, Trigger

from am_ros.action import ActionSpace
from am_ros.bags.episodes import write_episode
from am_ros.learning.policy import Policy
from am_ros.learning.recipes import find_recipe
from am_ros.ros.node.common import RELIABLE_QOS

SMALL = {"image_size": 16, "batch_size": 16, "updates": 40, "precision": "fp32"}


def write_bags(folder, seeds):
    """Bags of the dot world."""
    return [write_episode(DotWorld.episode(seed), folder, ActionSpace()) for seed in seeds]


def test_bags_in_the_watched_folder_are_learned_from_and_a_damaged_one_is_named(ros, start_node, tmp_path):
    bags = write_bags(tmp_path / "bags", range(6))
    mcap = next(bags[2].glob("*.mcap"))
    mcap.write_bytes(mcap.read_bytes()[:-200])
    metrics = ros.receive(TrainingMetrics, "trainer/metrics", RELIABLE_QOS)
    node = start_node("trainer", bags=str(tmp_path / "bags"), out=str(tmp_path / "out"), min_episodes=5, **SMALL)
    wait_until(lambda: metrics and metrics[-1].done, 150, "the end of the training")
    assert metrics[-1].update == 40 and metrics[-1].episodes == 5 and metrics[-1].transitions == 30
    assert Policy.load(tmp_path / "out" / "checkpoint").meta["update"] == 40
    refusals = [line for line in node.lines if "refused" in line and bags[2].name in line]
    assert len(refusals) == 1  # once, although the folder is looked at again and again


def test_replayed_bags_are_learned_from(ros, start_node, tmp_path):
    write_bags(tmp_path / "bags", range(5))
    metrics = ros.receive(TrainingMetrics, "trainer/metrics", RELIABLE_QOS)
    start_node("trainer", out=str(tmp_path / "out"), min_episodes=5, **SMALL)
    start_node("bag_player", bags=[str(tmp_path / "bags")], rate=0.0)
    wait_until(lambda: metrics and metrics[-1].done, 150, "the end of the training")
    assert metrics[-1].episodes == 5 and metrics[-1].transitions == 30


def test_a_recipe_and_every_parameter_of_the_learner_can_be_given(ros, start_node, tmp_path):
    write_bags(tmp_path / "bags", range(3))
    metrics = ros.receive(TrainingMetrics, "trainer/metrics", RELIABLE_QOS)
    asked = {**SMALL, "updates": 5, "recipe": "q_alone", "gamma": 0.5}
    start_node("trainer", bags=str(tmp_path / "bags"), out=str(tmp_path / "out"), **asked)
    wait_until(lambda: metrics and metrics[-1].done, 150, "the end of the training")
    learner = Policy.load(tmp_path / "out" / "checkpoint").meta["config"]
    recipe = find_recipe("q_alone")
    assert learner["method"]["gamma"] == 0.5 and learner["method"]["negatives"] == recipe.method.negatives
    assert learner["goals"]["random_share"] == recipe.goals.random_share and not learner["network"]["behaviour_prior"]
    assert learner["acting"]["samples"] == recipe.acting.samples


@pytest.mark.slow  # test_learning_two_parts.py has it without the node
def test_a_cloning_policy_and_a_q_beside_it_are_learned_one_after_the_other(ros, start_node, tmp_path):
    write_bags(tmp_path / "bags", range(3))
    metrics = ros.receive(TrainingMetrics, "trainer/metrics", RELIABLE_QOS)
    asked = {**SMALL, "recipe": "beside_cloning"}
    start_node("trainer", bags=str(tmp_path / "bags"), out=str(tmp_path / "out"), **asked)
    wait_until(lambda: any(one.part for one in metrics), 150, "figures of the first part")
    assert metrics[0].part == "cloning" and "loss" in ros.call(GetTraining, "trainer/history").names
    wait_until(lambda: metrics[-1].done, 150, "the end of the training")
    assert not metrics[-1].part and not any(one.done for one in metrics[:-1])
    assert Policy.load(tmp_path / "out" / "checkpoint").meta["update"] == 20 == metrics[-1].update


@pytest.mark.parametrize(
    "number", [signal.SIGINT, *(pytest.param(n, marks=pytest.mark.slow) for n in (signal.SIGHUP, signal.SIGTERM))]
)
def test_a_signal_to_node_and_child_at_once_leaves_the_last_checkpoint(ros, start_node, tmp_path, number):
    """As Ctrl-C under `ros2 launch` reaches the whole process group."""
    write_bags(tmp_path / "bags", range(3))
    metrics = ros.receive(TrainingMetrics, "trainer/metrics", RELIABLE_QOS)
    endless = {**SMALL, "updates": 1_000_000, "checkpoint_every_s": 3600.0}
    node = start_node("trainer", bags=str(tmp_path / "bags"), out=str(tmp_path / "out"), **endless)
    wait_until(lambda: metrics and metrics[-1].update > 5, 150, "updates")
    assert not (tmp_path / "out" / "checkpoint").exists()
    os.killpg(node.pid, number)
    assert node.wait() == 0 and "Traceback" not in node.output
    assert Policy.load(tmp_path / "out" / "checkpoint").meta["update"] >= metrics[-1].update


def test_a_preset_for_vectors_is_refused_because_bags_hold_images(start_node, tmp_path):
    node = start_node("trainer", out=str(tmp_path / "out"), preset="state", observation_size=4)
    wait_until(lambda: node.returncode is not None, 60, "the end of the node")
    assert node.returncode == 2 and any("parameter preset" in line for line in node.lines)


@pytest.mark.needs_quiet(0.2)
def test_services_answer_while_the_training_runs(ros, start_node, tmp_path):
    write_bags(tmp_path / "bags", range(3))
    endless = {**SMALL, "updates": 1_000_000}
    metrics = ros.receive(TrainingMetrics, "trainer/metrics", RELIABLE_QOS)
    node = start_node("trainer", out=str(tmp_path / "out"), ingest_folder=str(tmp_path), **endless)

    answer = ros.call(IngestBags, "trainer/ingest", path=str(tmp_path / "bags"), timeout_s=20)
    assert answer.success and answer.episodes == 3
    missing = ros.call(IngestBags, "trainer/ingest", path=str(tmp_path / "nowhere"))
    assert not missing.success and "nowhere" in missing.message
    for path in ("/etc", "..", str(tmp_path / "bags" / ".." / ".."), ""):
        refused = ros.call(IngestBags, "trainer/ingest", path=path)
        assert not refused.success and refused.message.startswith("path_refused: ")
    metrics.wait(1, 60)
    began = time.monotonic()
    assert ros.call(Trigger, "trainer/save").success
    assert ros.call(SetBool, "trainer/pause", data=True).message == "paused"
    assert time.monotonic() - began < 2.0
    wait_until(lambda: (tmp_path / "out" / "checkpoint").exists(), 60, "the checkpoint that was asked for")
    time.sleep(1.5)
    halted = len(metrics)
    time.sleep(2.5)
    assert len(metrics) == halted
    ros.call(SetBool, "trainer/pause", data=False)
    wait_until(lambda: len(metrics) > halted, 60, "progress after the pause")

    children = psutil.Process(node.pid).children(recursive=True)
    assert children
    os.kill(node.pid, signal.SIGKILL)
    _, alive = psutil.wait_procs(children, timeout=60)
    assert not alive  # the training process sees that the node is gone


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"batch_size": 0}, "batch_size"),
        ({"bags": "/nowhere"}, "parameter bags: /nowhere"),
        ({"preset": "huge"}, "preset"),
    ],
)
def test_a_bad_parameter_stops_the_node_by_name(start_node, tmp_path, parameters, sentence):
    node = start_node("trainer", out=str(tmp_path), **parameters)
    assert node.wait() == 2
    assert sentence in "\n".join(node.lines)
