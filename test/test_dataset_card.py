"""The card of a data set: what it counts, and that it is the same whoever collected."""

import dataclasses
import json
import random

import pytest

from am_ros.bags.finder import find_bags
from am_ros.episode import EpisodeInfo, Outcome
from am_ros.errors import AmRosError
from am_ros.sim.collect import Collection, collect
from am_ros.sim.dataset_card import CARD, README, BagFacts, Totals, data_hash, read_facts, write_atomically
from am_ros.sim.episodes import fixed_noise


def bag(name, outcome=Outcome.FAILURE, steps=5, digest=7, **extra):
    info = EpisodeInfo(name, "reach", outcome=outcome, reason="step_limit", extra=extra)
    return BagFacts(info, steps, 1000, digest)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("set")
    collect(Collection(("reach", "pick_place"), 5, out, mixture=fixed_noise(0.2)), command="am-ros collect ...")
    return out


def test_the_card_says_what_lies_in_the_folder(folder):
    card, bags = json.loads((folder / CARD).read_text()), find_bags(folder)
    facts = [read_facts(path) for path in bags]
    assert card["bags"] == card["episodes"] == len(bags) == 10
    assert card["steps"] == sum(f.steps for f in facts)
    assert card["bytes"] == sum(file.stat().st_size for file in folder.rglob("*.mcap"))
    row = card["tasks"]["reach"]
    wins = sum(f.info.outcome == Outcome.SUCCESS for f in facts if f.info.task == "reach")
    assert (row["episodes"], row["successes"], row["success_rate"]) == (5, wins, wins / 5)
    assert sum(row["ends"].values()) == sum(row["flaws"].values()) == 5
    assert row["noise"] == {"0.2": {"episodes": 5, "successes": wins}}
    assert card["command"] == "am-ros collect ..." and card["complete"] and card["seed"] == 0
    assert card["mixture"]["noise_high"] == 0.2 and card["image_size"] == 64


def test_people_read_the_same(folder):
    text = (folder / README).read_text()
    card = json.loads((folder / CARD).read_text())
    assert f"10 episodes in 10 bags, {card['steps']} steps" in text and "64x64 px" in text
    assert "| `pick_place` | 5 | 5 |" in text and "`am-ros collect ...`" in text and card["hash"][:16] in text
    assert "Not complete" not in text and "\n\n\n" not in text


def test_the_hash_is_of_names_and_bytes_in_any_order():
    bags = [bag(f"reach_{i}", digest=3**i) for i in range(300)]
    hashes = set()
    for seed in range(3):
        totals = Totals()
        random.Random(seed).shuffle(bags)
        for one in bags:
            totals.add([one], new=True)
        hashes.add(data_hash({"reach": totals}))
    assert len(hashes) == 1
    totals.add([dataclasses.replace(bags[0], digest=1)], new=True)
    assert data_hash({"reach": totals}) not in hashes


def test_the_hash_notices_one_changed_byte(folder, tmp_path):
    before = read_facts(find_bags(folder)[0])
    collect(Collection(("pick_place",), 1, tmp_path, mixture=fixed_noise(0.2)))
    (file,) = tmp_path.rglob("*.mcap")
    assert read_facts(file.parent).digest == before.digest
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    assert read_facts(file.parent).digest != before.digest


def test_success_is_counted_against_noise_and_parts_as_one_episode():
    totals = Totals()
    totals.add([bag("a", Outcome.SUCCESS, noise="0.049", flaw="none")], new=True)
    totals.add([bag("b", noise="0.949", flaw="late")], new=False)
    totals.add([bag("c", noise="1.000", flaw="none")], new=False)
    totals.add([bag("d", part="grasp"), bag("e", Outcome.SUCCESS, part="place")], new=True)
    figures = totals.figures()
    assert figures["noise"] == {
        "0.0": {"episodes": 1, "successes": 1},
        "0.9": {"episodes": 1, "successes": 0},
        "1.0": {"episodes": 1, "successes": 0},
    }
    assert figures["flaws"] == {"late": 1, "none": 2} and figures["parts"] == {"grasp": 1, "place": 1}
    assert (figures["episodes"], figures["bags"], figures["steps"], figures["success_rate"]) == (4, 5, 25, 0.5)
    assert (totals.new_episodes, totals.new_steps) == (2, 15)
    assert Totals().success_rate is None


def test_a_bag_that_is_not_ours_is_named(folder, tmp_path):
    with pytest.raises(AmRosError, match=r"nothing: does not exist"):
        read_facts(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "x.mcap").touch()
    with pytest.raises(AmRosError, match=r"empty: is damaged; delete it and collect again"):
        read_facts(tmp_path / "empty")


def test_a_file_is_replaced_at_once(tmp_path):
    write_atomically(tmp_path / "a", "one")
    write_atomically(tmp_path / "a", "two")
    assert (tmp_path / "a").read_text() == "two" and [p.name for p in tmp_path.iterdir()] == ["a"]
