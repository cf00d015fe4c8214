"""Labels of episodes: written with the bag, changed later without touching what was recorded, and chosen by."""

import os
import shutil

import pytest
from bag_data import make_episode

from am_ros import cli
from am_ros.action import ActionSpace
from am_ros.bags import relabel
from am_ros.bags.episodes import read_episode, write_episode
from am_ros.bags.finder import find_bags
from am_ros.bags.labels import check_labels
from am_ros.bags.reader import BagReader
from am_ros.bags.recorder import EpisodeRecorder, Received, RecorderConfig
from am_ros.bags.relabel import label_of, set_label
from am_ros.bags.salvage import salvage
from am_ros.bags.verify import verify
from am_ros.episode import EpisodeInfo
from am_ros.errors import AmRosError
from am_ros.replay.from_bags import ingest
from am_ros.replay.store import ReplayStore

SPACE = ActionSpace()


@pytest.fixture
def bags(tmp_path):
    for name in ("a", "b", "c"):
        write_episode(make_episode(name, steps=2), tmp_path / "bags", SPACE)
    return tmp_path / "bags"


def test_a_label_is_changed_in_the_metadata_and_nothing_else(bags):
    recorded = (bags / "a" / "a_0.mcap").read_bytes()
    assert label_of(bags / "a") == "none" and "label" not in read_episode(bags / "a", SPACE).info.extra
    for label in ("good", "bad", "none"):
        set_label(bags / "a", label)
        assert label_of(bags / "a") == read_episode(bags / "a", SPACE).info.extra["label"] == label
        assert verify(bags / "a", SPACE).ok
    assert (bags / "a" / "a_0.mcap").read_bytes() == recorded
    assert sorted(p.name for p in (bags / "a").iterdir()) == ["a_0.mcap", "metadata.yaml"]


def test_a_label_that_is_none_and_bags_that_cannot_take_one_are_named(bags):
    with pytest.raises(AmRosError, match="label 'superb': is not one of good, bad, none"):
        set_label(bags / "a", "superb")
    path = bags / "a" / "metadata.yaml"
    path.write_text(path.read_text().replace("custom_data:\n", "custom_data:\n    label: superb\n"))
    with pytest.raises(AmRosError, match=r"bag .*/a: label 'superb': is not one of"):
        label_of(bags / "a")
    with pytest.raises(AmRosError, match=r"bag .*/a: label 'superb': is not one of"):
        read_episode(bags / "a", SPACE)
    (bags / "b" / "metadata.yaml").unlink()
    with pytest.raises(AmRosError, match=r"bag .*/b: has no metadata.yaml to label"):
        set_label(bags / "b", "good")
    with pytest.raises(AmRosError, match=r"bag .*/nothing: does not exist"):
        set_label(bags / "nothing", "good")


def test_everything_but_the_label_has_to_agree_with_the_recorded_file(bags):
    set_label(bags / "a", "good")
    path = bags / "a" / "metadata.yaml"
    path.write_text(path.read_text().replace('"task": "reach"', '"task": "peach"'))
    with pytest.raises(AmRosError, match="custom_data in metadata.yaml disagrees with the MCAP file"):
        read_episode(bags / "a", SPACE)


def test_a_disk_that_refuses_leaves_the_old_label(bags, monkeypatch):
    set_label(bags / "a", "good")

    def refuse(*_):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(relabel.os, "rename", refuse)
    with pytest.raises(AmRosError, match="cannot be labelled: No space left on device"):
        set_label(bags / "a", "bad")
    assert label_of(bags / "a") == "good" and len(list((bags / "a").iterdir())) == 2


def test_the_recorder_labels_what_it_records_and_what_it_has_recorded(bags, tmp_path):
    recorder = EpisodeRecorder(RecorderConfig(str(tmp_path / "new"), free_disk_mb=0))
    try:
        for name in ("open", "void"):
            recorder.start(EpisodeInfo(name), 0).result(5)
        assert recorder.label("void", "discarded").result(5) == tmp_path / "new" / "void"
        for m in [m for m in BagReader(bags / "a").messages() if "image" in m.topic]:
            recorder.receive(Received(m.topic, m.type_name, m.raw, m.log_time_ns))
        recorder.label("open", "good").result(5)
        shutil.copytree(tmp_path / "new" / "open.unfinished", tmp_path / "killed.unfinished")  # as a kill -9 leaves it
        assert label_of(salvage(tmp_path / "killed.unfinished").path) == "good"
        recorder.stop().result(5)
        assert label_of(tmp_path / "new" / "open") == "good"
        recorder.label("open", "bad").result(5)
        assert label_of(tmp_path / "new" / "open") == "bad"
        for name, label, sentence in (("open", "superb", "is not one of"), ("../open", "good", "use 1 to 64 letters"),
                                      ("nobody", "good", "does not exist"), ("nobody", "discarded", "does not exist")):
            with pytest.raises(AmRosError, match=sentence):
                recorder.label(name, label).result(5)
        recorder.label("open", "discarded").result(5)
        assert find_bags(tmp_path / "new") == [] and list((tmp_path / "new").iterdir()) == []
    finally:
        recorder.close()


def test_training_takes_the_labels_it_is_told(bags, tmp_path, capsys):
    assert cli.main(["bags", "label", str(bags / "a"), "good"]) == 0
    assert cli.main(["bags", "label", str(bags / "b"), "bad"]) == 0
    assert "1 bags labelled bad" in capsys.readouterr().out
    store = ReplayStore.create(tmp_path / "store", (32, 32))
    report = ingest(bags, store, SPACE, labels=frozenset({"good"}))
    assert (report.added, report.left_out) == (1, 2) and [e["id"] for e in store.episodes] == ["a"]
    assert ingest(bags, store, SPACE, labels=frozenset({"good", "none"})).added == 1
    set_label(bags / "b", "good")  # what was left out once is looked at again
    set_label(bags / "a", "bad")
    report = ingest(bags, store, SPACE, labels=frozenset({"good", "none"}))
    assert (report.added, report.known, report.left_out, report.relabelled) == (1, 1, 1, 1)
    assert ingest(bags, store, SPACE).known == 3
    for wrong, sentence in ((["fine"], "label 'fine': is not one of good, bad, none"), ([], "labels: name at least")):
        with pytest.raises(AmRosError, match=sentence):
            check_labels(wrong)
