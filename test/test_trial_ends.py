"""Episodes of one scene as items: terminating is right where a success ended, and wrong anywhere else."""

import json
from dataclasses import replace

import numpy as np
import pytest
from learning_data import random_episodes

from am_ros.action import TERMINATE, ActionSpace
from am_ros.bags.episodes import read_episode
from am_ros.bags.finder import find_bags
from am_ros.cli import main
from am_ros.episode import Outcome
from am_ros.errors import AmRosError
from am_ros.replay.sampling import IMAGES, GoalConfig, Sampler
from am_ros.replay.shared import make_sampler
from am_ros.replay.store import ReplayStore
from am_ros.replay.trial_ends import TrialEnds
from am_ros.sim.collect import RECORD, Collection

WON, LOST, UNKNOWN = Outcome.SUCCESS, Outcome.FAILURE, Outcome.UNKNOWN
# Task, seed and outcome of each episode. Scene 1 of "a" has two successes and a failure, scene 2 two failures, scene 3
# one success and an episode that nobody judged; scene 1 of "b" is another one, and -1 is none.
SCENES = (
    ("a", 1, WON), ("a", 1, LOST), ("a", 2, LOST), ("a", 1, WON), ("a", 2, LOST), ("a", 3, WON), ("a", 3, UNKNOWN),
    ("b", 1, WON), ("b", 4, WON), ("b", 4, LOST), ("", -1, WON), ("", -1, LOST),
)  # fmt: skip
# Of each episode that has a goal, the episodes whose end may be it.
GOALS = {0: {3}, 1: {0, 3}, 3: {0}, 9: {8}}
CONFIG = GoalConfig(random_share=0.5, at_goal_share=0.1, random_shift_px=0, trial_share=0.4)
WAYS = (CONFIG, replace(CONFIG, shared_episodes=6, shared_observations=3))


def make_store(folder, scenes):
    store = ReplayStore.create(folder / "replay", (16, 16))
    episodes = random_episodes(len(scenes), 5, 16)
    store.append([
        replace(episode, info=replace(episode.info, episode_id=f"e{i}", task=task, seed=seed, outcome=outcome))
        for i, (episode, (task, seed, outcome)) in enumerate(zip(episodes, scenes, strict=True))
    ])  # fmt: skip
    return store


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return make_store(tmp_path_factory.mktemp("scenes"), SCENES)


def test_pairs_are_of_one_scene_and_a_success_is_at_its_goal_only_where_it_ended(store):
    ends = TrialEnds(store, np.ones(len(SCENES), bool))
    assert len(ends) == len(GOALS)
    rows, goals, right = ends.draw(4000, np.random.default_rng(0))
    trial, goal = (np.searchsorted(store.first, x, "right") - 1 for x in (rows, goals))
    at_end = rows == (store.first + store.steps)[trial]
    assert {t: set(goal[trial == t].tolist()) for t in set(trial.tolist())} == GOALS
    assert (goals == (store.first + store.steps)[goal]).all()
    assert (right == (at_end & (store.outcomes[trial] == WON))).all() and right.any()
    assert 0.55 < at_end.mean() < 0.62  # half of them, and a sixth of the others
    assert len(TrialEnds(store, np.arange(len(SCENES)) != 8)) == 3  # without the only success of a scene


@pytest.mark.parametrize("config", WAYS, ids=["pictures of its own", "shared pictures"])
def test_an_item_of_a_trial_shows_scene_and_goal_and_teaches_whether_to_terminate(store, config):
    batch = make_sampler(store, config, 200, seed=0).batch(3)
    plain = make_sampler(store, replace(config, trial_share=0.0), 200, seed=0).batch(3)
    seen, following, goal = (getattr(batch, name) for name in IMAGES)
    if config.shared_episodes:
        seen, following, goal = (batch.frames[rows] for rows in (seen, following, goal))
    every = np.array(store.observations[np.arange(store.rows)]).reshape(store.rows, -1)

    def row_of(pictures):
        return np.array([np.flatnonzero((every == p.ravel()).all(axis=1)).item() for p in pictures])

    rows, goals = row_of(seen), row_of(goal)
    trial, aim = (np.searchsorted(store.first, x, "right") - 1 for x in (rows, goals))
    of_trial = (batch.action[:, TERMINATE] == 1) & (trial != aim)
    assert 0.15 < of_trial.mean() < 0.25
    assert all(aim[i] in GOALS[trial[i]] for i in np.flatnonzero(of_trial))
    right = (rows == store.last_row[rows]) & (store.outcomes[trial] == WON)
    assert (batch.steps_to_goal[of_trial] == np.where(right, 0, -1)[of_trial]).all()
    assert (batch.near_goal[of_trial] == right[of_trial]).all() and not batch.final[of_trial].any()
    assert (following[of_trial] == seen[of_trial]).all()  # terminate moves nothing
    assert (batch.state == np.array(store.states[rows])).all()
    assert (batch.steps_to_goal == 0).sum() >= (plain.steps_to_goal == 0).sum()


def test_the_processes_of_a_training_share_such_a_batch(store):
    whole = make_sampler(store, CONFIG, 40, seed=1).batch(0)
    parts = [make_sampler(store, CONFIG, 40, seed=1, rank=rank, size=2).batch(0) for rank in range(2)]
    for rank, part in enumerate(parts):
        assert (part.steps_to_goal == whole.steps_to_goal[rank::2]).all()
        assert (part.goal_image == whole.goal_image[rank::2]).all()


def test_held_out_items_are_none_of_a_trial_whose_scene_is_learned_from(store):
    config = replace(CONFIG, held_out_share=0.3)
    batch = Sampler(store, config, 100, seed=0, held_out=True).batch(0)
    assert (batch.action[batch.steps_to_goal < 0, TERMINATE] == 0).mean() > 0.9


def test_data_without_such_pairs_are_refused_in_one_sentence(tmp_path):
    store = make_store(tmp_path, (("a", 1, WON), ("a", 2, WON), ("", -1, WON), ("", -1, LOST)))
    with pytest.raises(AmRosError, match="trial_share: .* holds no two episodes of one scene, one of them a success"):
        make_sampler(store, CONFIG, 8, seed=0)


def test_a_policy_plays_the_scenes_of_the_demonstrator(tmp_path, capsys):
    out = tmp_path / "trials"
    trials = ["collect", "--policy", "pick_place", "--task", "pick_place", "--variety", "0", "--seed", "5"]
    assert main([*trials, "--episodes", "2", "--out", str(out), "--json", str(tmp_path / "figures.json")]) == 0
    figures = json.loads((tmp_path / "figures.json").read_text())["tasks"]["pick_place"]
    experts = Collection(("pick_place",), 2, tmp_path / "experts", seed=5)
    bags = find_bags(out)
    assert [read_episode(bag, ActionSpace()).info.seed for bag in bags] == [experts.scene(0), experts.scene(1)]
    assert figures["episodes"] == 2 == sum(figures["ends"].values())
    again = main([*trials, "--episodes", "2", "--out", str(out)])  # what is there counts
    assert again == 0 and find_bags(out) == bags and f"{figures['reached']} of 2 episodes" in capsys.readouterr().out


def test_what_a_policy_cannot_be_collected_with_is_refused_by_name(tmp_path, capsys):
    trials = ["collect", "--policy", "pick_place", "--task", "reach", "--out", str(tmp_path / "out"), "--episodes", "1"]
    (tmp_path / "experts").mkdir()
    (tmp_path / "experts" / RECORD).write_text("{}")
    for more, sentence in (
        (["--noise", "0"], "parameter noise: 0.0 does not go with --policy"),
        (["--split", "grasp,place"], "parameter split: grasp,place does not go with --policy"),
        (["--out", "s3://bucket/trials"], "parameter out: s3://bucket/trials does not go with --policy"),
        (["--seed", "-1"], "scene index"),
        (["--episodes", "0"], "parameter episodes: 0 is outside"),
        (["--out", str(tmp_path / "experts")], "holds episodes of experts; give a policy's a folder of their own"),
        (["--policy", "nobody"], "nobody"),
    ):
        assert main([*trials, *more]) == 2
        assert sentence in capsys.readouterr().err
