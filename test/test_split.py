"""Episodes cut where the object is lifted: two bags that nothing connects, and nothing lost."""

import json
import shutil
from itertools import pairwise

import numpy as np
import pytest

from am_ros.action import TERMINATE, ActionSpace
from am_ros.bags.episodes import read_episode
from am_ros.bags.finder import find_bags
from am_ros.bags.verify import verify
from am_ros.episode import Outcome
from am_ros.errors import AmRosError
from am_ros.sim.collect import Collection, collect
from am_ros.sim.dataset_card import CARD
from am_ros.sim.episodes import Mixture, fixed_noise, generate_episodes
from am_ros.sim.split import PARTS, parse_split, split
from am_ros.sim.tasks import TASKS

TASK = TASKS["pick_place"]
Z = 1  # height of the tool in a state


def parts_in(folder):
    return {path.name: read_episode(path, ActionSpace()) for path in find_bags(folder)}


def content(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.mcap")}


@pytest.fixture(scope="module")
def whole():
    """An episode of the expert: grasp, lift, place."""
    return next(generate_episodes(TASK, [1], mixture=fixed_noise(0.0)))


def test_the_first_part_ends_in_the_air_and_the_second_begins_there(whole):
    grasp, place = split(whole)
    assert len(grasp) + len(place) == len(whole)
    assert (np.concatenate([grasp.actions, place.actions]) == whole.actions).all()
    assert (grasp.images[-1] == place.images[0]).all() and (grasp.states[-1] == place.states[0]).all()
    opening, height = grasp.states[-1][:2]
    assert 0.4 < opening < 0.7 and height > 0.07  # the fingers are around the block, above the table
    assert np.diff(grasp.stamps_ns).tolist() + np.diff(place.stamps_ns).tolist() == np.diff(whole.stamps_ns).tolist()


def test_the_parts_say_what_they_are_and_who_reached_the_goal(whole):
    grasp, place = split(whole)
    assert grasp.info.extra == {"part": "grasp"} and place.info.extra == {"part": "place"}
    assert (grasp.info.outcome, grasp.info.reason) == (Outcome.FAILURE, "lifted")
    assert (place.info.outcome, place.info.reason) == (Outcome.SUCCESS, "terminated")
    assert grasp.info.task == place.info.task == whole.info.task


def test_nothing_connects_the_parts():
    wholes = list(generate_episodes(TASK, range(6), mixture=fixed_noise(0.0)))
    parts = [part for episode in wholes for part in split(episode)]
    assert len(parts) == 12
    assert all(part.info.seed == -1 for part in parts)
    digests = [part.info.episode_id.split("_")[-1] for part in parts]
    assert len(set(digests)) == 12
    starts = [int(part.stamps_ns[0]) for part in parts]
    ends = [int(part.stamps_ns[-1]) for part in parts]
    assert all(ends[i] not in starts for i in range(12))
    # Neither by name nor by start does a part lie beside the one it was cut from.
    for order in (np.argsort(digests), np.argsort(starts)):
        neighbours = sum(a // 2 == b // 2 for a, b in pairwise(order))
        assert neighbours <= 4


def test_an_episode_without_a_lift_is_a_grasping_part_alone():
    whole = next(
        e for e in generate_episodes(TASK, range(9), mixture=fixed_noise(1.0)) if not e.info.extra["lifted_at"]
    )
    (part,) = split(whole)
    assert part.info.extra == {"part": "grasp"} and len(part) == len(whole)
    assert (part.info.outcome, part.info.reason) == (whole.info.outcome, whole.info.reason)


def test_an_episode_that_ends_with_the_lift_leaves_nothing_to_place():
    mixture = Mixture(random_share=0.0, lift_share=1.0, noise_low=0.0, noise_high=0.0)
    (part,) = split(next(generate_episodes(TASK, [0], mixture=mixture)))
    assert part.info.extra == {"part": "grasp"} and part.actions[-1, TERMINATE]


def test_no_part_holds_a_grasp_and_what_follows_it():
    """An object that was dropped and taken up again makes one more cut."""
    whole = next(
        e
        for e in generate_episodes(TASK, range(200), mixture=fixed_noise(0.4))
        if len(e.info.extra["lifted_at"].split()) > 1
    )
    parts = split(whole)
    assert [p.info.extra["part"] for p in parts] == ["grasp"] + ["place"] * (len(parts) - 1)
    assert len(parts) == 1 + len(whole.info.extra["lifted_at"].split())
    assert sum(map(len, parts)) == len(whole)
    assert all(p.info.reason == "lifted" and p.info.outcome == Outcome.FAILURE for p in parts[:-1])


def test_split_collections_are_whole_resumable_and_counted(tmp_path):
    def collection(episodes, folder):
        return Collection(("pick_place",), episodes, tmp_path / folder, mixture=Mixture(noise_high=0.4), split=PARTS)

    collect(collection(4, "a"))
    figures = collect(collection(10, "a"), workers=2)
    collect(collection(10, "b"))
    assert content(tmp_path / "a") == content(tmp_path / "b")
    parts = parts_in(tmp_path / "a")
    assert all(verify(path, ActionSpace()).ok for path in find_bags(tmp_path / "a"))
    row = figures["tasks"]["pick_place"]
    assert (figures["episodes"], figures["new_episodes"], figures["bags"]) == (10, 6, len(parts))
    assert row["parts"]["grasp"] == 10 and row["parts"]["place"] == len(parts) - 10 > 0
    assert row["steps"] == sum(map(len, parts.values()))
    assert row["successes"] == sum(p.info.outcome == Outcome.SUCCESS for p in parts.values())
    assert json.loads((tmp_path / "a" / CARD).read_text())["split"] == list(PARTS)


def test_an_episode_of_which_one_part_is_missing_is_made_again(tmp_path):
    wanted = Collection(("pick_place",), 2, tmp_path, mixture=fixed_noise(0.0), split=PARTS)
    collect(wanted)
    before = content(tmp_path)
    shutil.rmtree(wanted.bag("pick_place", 0))  # the grasp, which is written last
    assert collect(wanted)["new_episodes"] == 1
    assert content(tmp_path) == before


def test_whole_and_cut_episodes_are_not_mixed(tmp_path):
    collect(Collection(("pick_place",), 1, tmp_path))
    with pytest.raises(AmRosError, match="collected with another split"):
        collect(Collection(("pick_place",), 1, tmp_path, split=PARTS))


@pytest.mark.parametrize("text", ["", "grasp", "place,grasp", "grasp, place"])
def test_another_cut_is_one_sentence(text):
    with pytest.raises(AmRosError, match="is not 'grasp,place', the one cut there is"):
        parse_split(text)
