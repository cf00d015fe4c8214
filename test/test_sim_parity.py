"""One meaning, two paths: an episode played through the nodes, and the same one played and written directly."""

import numpy as np
import pytest
from am_msgs.action import RunExpert
from am_msgs.msg import EpisodeEvent, Step
from conftest import wait_until
from sensor_msgs.msg import CompressedImage

from am_ros import topics
from am_ros.action import ActionSpace
from am_ros.bags.assembler import EpisodeAssembler
from am_ros.bags.episodes import read_episode
from am_ros.bags.finder import find_bags
from am_ros.ros.node.common import RELIABLE_QOS
from am_ros.sim.collect import Collection, collect
from am_ros.sim.episodes import fixed_noise

# Scenes in which 2 mm more or less do not change how many steps the expert needs, nor how the block lies in the hand.
SEED = 3


@pytest.fixture
def cell(ros, start_node, tmp_path):
    for name, parameters in (
        ("sim_workcell", {"real_time_factor": 3.0}),
        ("cartesian_controller", {}),
        ("scripted_expert", {}),
    ):
        start_node(name, **parameters)
    start_node("episode_logger", folder=str(tmp_path / "logged"), ready="ready")  # it must hear the first step
    return ros


@pytest.mark.needs_quiet(0.3)  # a controller that did not run for half a second stops
@pytest.mark.parametrize("task", [pytest.param("reach", marks=pytest.mark.slow), "pick_place"])
def test_an_episode_through_the_nodes_is_the_one_that_collect_writes(cell, tmp_path, task):
    live = {
        topics.IMAGE_COMPRESSED: cell.receive(CompressedImage, topics.IMAGE_COMPRESSED),
        topics.STEP: cell.receive(Step, topics.STEP, RELIABLE_QOS),
        topics.EPISODE_EVENT: cell.receive(EpisodeEvent, topics.EPISODE_EVENT, RELIABLE_QOS),
    }
    wait_until(lambda: live[topics.IMAGE_COMPRESSED], what="a first image")
    run = cell.send_goal(RunExpert, "scripted_expert/run_expert", 20.0, task=task, seed=SEED, noise=0.0)
    assert run.result(90).reached
    wait_until(lambda: find_bags(tmp_path / "logged"), what="the bag of the episode")
    logged = read_episode(find_bags(tmp_path / "logged")[0], ActionSpace())
    wait_until(lambda: any(event.type == EpisodeEvent.END for event in live[topics.EPISODE_EVENT]), what="the END")

    collection = Collection((task,), SEED + 1, tmp_path / "collected", mixture=fixed_noise(0.0))
    collect(collection)
    written = read_episode(collection.bag(task, SEED), ActionSpace())
    assert (logged.info.task, logged.info.seed, logged.info.source) == (task, SEED, "expert")
    assert (logged.info.outcome, logged.info.reason) == (written.info.outcome, written.info.reason)
    assert len(logged) == len(written)
    assert [step.index for step in live[topics.STEP]] == list(range(len(logged)))
    assert logged.images.shape == written.images.shape and logged.images.dtype == written.images.dtype
    # The expert answers what it sees, so a difference of a millimetre stays one.
    np.testing.assert_allclose(logged.actions, written.actions, atol=0.05)
    np.testing.assert_allclose(logged.states, written.states, atol=0.03)
    assert np.abs(logged.images.astype(int) - written.images).mean() < 1.5

    assembler = EpisodeAssembler(ActionSpace())
    for topic, messages in live.items():
        found = [assembler.add(topic, message) for message in messages]
    assembled = found[-1]  # the END event completes it
    assert (assembled.actions == logged.actions).all() and (assembled.states == logged.states).all()
    assert (assembled.images == logged.images).all() and (assembled.stamps_ns == logged.stamps_ns).all()
