"""Scenes as vectors: what they hold, and that they are learned from and judged like pictures."""

import numpy as np
import pytest

from am_ros.action import ACTION_DIM
from am_ros.errors import AmRosError
from am_ros.evaluation.actors import ActorConfig
from am_ros.evaluation.trials import TrialPlan, run_trials
from am_ros.learning.networks import NetworkConfig
from am_ros.learning.trainer import Trainer
from am_ros.learning.trainer_config import LearnerConfig, TrainerConfig
from am_ros.replay.store import ReplayStore
from am_ros.sim.environment import Environment
from am_ros.sim.episodes import Mixture, perform
from am_ros.sim.tasks import TASKS, evaluation_seed, find_task, train_seed
from am_ros.sim.vectors import TRACKED, VECTOR_SIZE, collect_vectors, goal_vector, scene_vector


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return collect_vectors(("pick_place", "grasp_milk"), 3, tmp_path_factory.mktemp("vectors") / "replay", seed=5)


def _block(vector):
    return vector[6 : 6 + 9]


def test_a_vector_says_where_things_are_and_where_they_should_be():
    with Environment(find_task("pick_place")) as environment:
        environment.reset(evaluation_seed(0), "goal")
        there = scene_vector(environment.scene())
        environment.reset(evaluation_seed(0))
        scene = environment.scene()
    now, wanted = scene_vector(scene), goal_vector(scene)
    block = scene.objects[0]
    assert now.shape == (VECTOR_SIZE,) and now.dtype == np.float32
    np.testing.assert_allclose(_block(now)[:4], [1, *block.pose.position_m], atol=1e-6)
    np.testing.assert_allclose(_block(wanted)[1:4], block.goal.position_m, atol=1e-6)
    np.testing.assert_allclose(_block(now)[6:], _block(now)[1:4] - now[:3], atol=1e-6)  # from the tool
    others = now[6 + 9 :].reshape(-1, 9)
    assert (others[:, 0] == 0).all() and (others == others[0]).all()  # nothing else is on the table
    np.testing.assert_allclose(wanted, there, atol=0.02)  # what the simulator settles to


def test_a_quarter_turn_of_a_cube_is_no_change():
    with Environment(find_task("pick_place")) as environment:
        environment.reset(evaluation_seed(0))
        block = environment.scene().objects[0]
        assert TRACKED[0] == block.name
        sine, cosine = _block(scene_vector(environment.scene()))[4:6]
    quarter = block.pose.yaw_rad + np.pi / 2
    np.testing.assert_allclose([sine, cosine], [np.sin(4 * quarter), np.cos(4 * quarter)], atol=1e-5)


def test_every_object_of_every_task_has_its_place():
    assert {name for task in TASKS.values() for name in task.objects} == set(TRACKED)


def test_an_episode_is_the_same_where_nobody_looks():
    task, done = find_task("rearrangement"), []
    for sees in (True, False):
        with Environment(task, sees=sees) as environment:
            done.append(perform(environment, train_seed(4), Mixture()))
    seen, unseen = done
    np.testing.assert_array_equal(np.stack(seen.actions), np.stack(unseen.actions))
    assert [scene_vector(s).tolist() for s in seen.scenes] == [scene_vector(s).tolist() for s in unseen.scenes]
    assert seen.observations[0].image.shape == (64, 64, 3) and unseen.observations[0].image.size == 0


def test_vectors_do_not_depend_on_the_number_of_workers(store, tmp_path):
    again = collect_vectors(("pick_place", "grasp_milk"), 3, tmp_path / "replay", seed=5, workers=2)
    assert [e["sha256"] for e in again.episodes] == [e["sha256"] for e in store.episodes]
    assert {e["task"] for e in again.episodes} == {"pick_place", "grasp_milk"}
    with pytest.raises(AmRosError, match="holds a replay store already"):
        collect_vectors(("pick_place",), 3, tmp_path / "replay")


def test_parts_of_a_cut_episode_keep_every_transition(tmp_path):
    whole = collect_vectors(("fixture_placing",), 6, tmp_path / "whole", seed=3)
    parts = collect_vectors(("fixture_placing",), 6, tmp_path / "parts", seed=3, split=True)
    assert len(parts) == len(whole) and len(parts.episodes) > len(whole.episodes)
    with pytest.raises(AmRosError, match="task reach does not lift"):
        collect_vectors(("reach",), 2, tmp_path / "reach", split=True)


def test_a_policy_of_vectors_is_judged_in_the_cell(store, tmp_path):
    network = NetworkConfig(preset="state", observation_size=VECTOR_SIZE, width=16)
    Trainer(LearnerConfig(network=network, trainer=TrainerConfig(updates=3, batch_size=8)), tmp_path).fit(store)
    plan = TrialPlan(ActorConfig(str(tmp_path / "checkpoint")), ("pick_place", "grasp_milk"), 1, variety=0.0)
    trials = list(run_trials([plan]))
    assert [t.task for t in trials] == ["pick_place", "grasp_milk"] and all(t.end != "fault" for t in trials)


def test_a_policy_of_other_vectors_is_refused(tmp_path):
    rows, ends = np.random.default_rng(0).normal(size=(12, 3)), np.arange(12) % 6 == 5
    store = ReplayStore.from_arrays(tmp_path / "replay", rows, rows.clip(-1, 1), ends)
    network = NetworkConfig(preset="state", observation_size=3, displacements=3, width=8)
    Trainer(LearnerConfig(network=network, trainer=TrainerConfig(updates=1, batch_size=4)), tmp_path).fit(store)
    with pytest.raises(AmRosError, match=f"takes vectors of 3 numbers and 3 displacements, the cell has {VECTOR_SIZE}"):
        next(run_trials([TrialPlan(ActorConfig(str(tmp_path / "checkpoint")), ("reach",), 1)]))
    assert store.action_dim == 6 != ACTION_DIM


def test_a_collection_that_is_stopped_keeps_what_was_done(tmp_path):
    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        collect_vectors(("reach",), 30, tmp_path / "replay", seed=5, progress=stop)
    assert 0 < len(ReplayStore.open(tmp_path / "replay").episodes) < 30
