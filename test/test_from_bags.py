"""Folders of our own bags: what lies there is taken once, in order, by however many processes, or named."""

import shutil
import sqlite3

import pytest
import yaml
from bag_data import make_episode

from am_ros import cli
from am_ros.action import ActionSpace
from am_ros.bags.episodes import read_episode, write_episode
from am_ros.bags.finder import find
from am_ros.bags.index import read_row
from am_ros.bags.relabel import label_of, set_label
from am_ros.bags.salvage import salvage
from am_ros.errors import AmRosError
from am_ros.replay.from_bags import ingest
from am_ros.replay.store import ReplayStore
from am_ros.sim.dataset_card import read_facts

SPACE = ActionSpace()


@pytest.fixture
def store(tmp_path):
    return ReplayStore.create(tmp_path / "store", (64, 64))


@pytest.mark.parametrize("workers", [1, 2])
def test_bags_are_taken_in_order_by_any_number_of_processes(tmp_path, store, workers):
    for number in range(70):
        write_episode(make_episode(f"e{number:03d}", steps=2, seed=number), tmp_path / "bags", SPACE)
    (tmp_path / "bags" / "e007" / "e007_0.mcap").write_bytes(b"nothing")
    told = []
    report = ingest(tmp_path / "bags", store, SPACE, lambda *counts: told.append(counts), workers=workers)
    assert [e["id"] for e in store.episodes] == [f"e{n:03d}" for n in range(70) if n != 7]
    assert report.added == 69 and len(report.refused) == 1 and told[-1] == (70, 70)
    again = ingest(tmp_path / "bags", ReplayStore.open(tmp_path / "store"), SPACE, workers=workers)
    assert (again.added, again.known) == (0, 69)


def test_bags_do_not_go_into_a_store_of_vectors(tmp_path):
    write_episode(make_episode("e0"), tmp_path / "bags", SPACE)
    vectors = ReplayStore.create_for_vectors(tmp_path / "vectors", size=7)
    with pytest.raises(AmRosError, match="vectors: is a replay store of vectors, and bags hold images"):
        ingest(tmp_path / "bags", vectors, SPACE)


def test_two_sessions_with_bags_of_the_same_names_are_both_learned_from(tmp_path, store):
    for session, seed in (("monday", 1), ("tuesday", 2)):
        write_episode(make_episode("e0", seed=seed), tmp_path / "bags" / session, SPACE)
    shutil.copytree(tmp_path / "bags" / "monday", tmp_path / "bags" / "copy")
    salvage(tmp_path / "bags" / "monday" / "e0", tmp_path / "bags" / "salvaged")
    report = ingest(tmp_path / "bags", store, SPACE)
    assert report.added == 2 and report.known == 2 and len(report.renamed) == 1
    assert store.episodes[0]["id"] == "e0" and store.episodes[1]["id"].startswith("e0-")
    again = ingest(tmp_path / "bags", ReplayStore.open(tmp_path / "store"), SPACE)
    assert again.added == 0 and again.known == 4


def test_what_lies_in_a_folder_and_is_not_read_is_named(tmp_path, store, capsys):
    bags = tmp_path / "bags"
    write_episode(make_episode("e0"), bags, SPACE)
    write_episode(make_episode("e1"), tmp_path / "other", SPACE)
    shutil.copy(tmp_path / "other" / "e1" / "e1_0.mcap", bags / "loose.mcap")  # hides no folder
    shutil.move(tmp_path / "other" / "e1", bags / "e2.unfinished")
    (bags / "night.zip").write_bytes(b"PK")
    (bags / "run.bag.active").write_bytes(b"#ROSBAG V2.0")
    (bags / ".hidden.mcap").write_bytes(b"x")
    (bags / "gone.mcap").symlink_to(tmp_path / "nowhere")
    with sqlite3.connect(bags / "e0" / "x.db3") as database:
        database.execute("CREATE TABLE topics(id INTEGER)")
    found = find(bags)
    assert found.bags == [bags, bags / "e0"] and found.unfinished == [bags / "e2.unfinished"]
    assert {p.name: why for p, why in found.passed.items()} == {
        ".hidden.mcap": "is a hidden file",
        "e2.unfinished": "was never closed: `am-ros bags salvage` makes a bag of it",
        "gone.mcap": "is a link to nothing",
        "night.zip": "is an archive: unpack it",
        "run.bag.active": "was never closed: `rosbag reindex` makes a bag of it",
    }
    assert cli.main(["bags", "verify", str(bags)]) == 1
    printed = capsys.readouterr().out
    assert "not read: " in printed and "night.zip: is an archive" in printed and "x.db3" in printed
    report = ingest(bags, store, SPACE)
    assert report.added == 1 and "x.db3" in next(iter(report.refused.values()))
    assert any("night.zip" in sentence for sentence in report.passed)


@pytest.mark.parametrize("change", [{"custom_data": None}, {"custom_data": None, "storage_identifier": ""}, None])
def test_a_bag_of_ours_stays_an_episode_after_a_reindex(tmp_path, change, capsys):
    """What `ros2 bag reindex` (rosbag2 issues 1699, 2175) and a lost metadata.yaml leave."""
    bag = write_episode(make_episode("e0"), tmp_path / "bags", SPACE)
    whole, path = read_episode(bag, SPACE), bag / "metadata.yaml"
    set_label(bag, "good")
    if change is None:
        path.unlink()
        assert read_episode(bag, SPACE).info == whole.info
        return
    content = yaml.safe_load(path.read_text())["rosbag2_bagfile_information"]
    path.write_text(yaml.safe_dump({"rosbag2_bagfile_information": {**content, **change}}))
    assert read_episode(bag, SPACE).info == whole.info
    assert cli.main(["bags", "verify", str(tmp_path / "bags")]) == 0
    assert "lost its custom_data" in capsys.readouterr().out
    assert read_facts(bag).info == whole.info  # as the data card counts it
    assert (read_row(bag).name, read_row(bag).flaws) == ("e0", ())  # as the operator's page lists it
    set_label(bag, "bad")
    assert label_of(bag) == "bad" and read_episode(bag, SPACE).info.extra["label"] == "bad"
