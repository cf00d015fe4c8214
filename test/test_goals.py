"""The goal library on disk: what was recorded comes back exactly, or is refused by name; kill -9 loses nothing."""

import json
import multiprocessing
import os
import random
import resource
import signal
import time

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from am_ros import goals
from am_ros.errors import AmRosError
from am_ros.goals import Goal, GoalLibrary

FORK = multiprocessing.get_context("fork")
METADATA = Goal("ignored", note="block left of the cup", image_stamp_ns=1_700_000_000_123_456_789,
                joint_names=("joint_a1", "finger"), joint_positions=(0.1, 0.04), gripper_opening=0.25)


def picture(seed=0, height=48, width=64):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


@pytest.fixture
def library(tmp_path):
    return GoalLibrary(tmp_path / "goals")


def test_a_goal_comes_back_exactly_and_after_a_restart(library):
    stored = library.record("cup", picture(), METADATA)
    goal, rgb = GoalLibrary(library.folder).get("cup")
    np.testing.assert_array_equal(rgb, picture())
    assert goal == stored
    assert (goal.goal_id, goal.width, goal.height) == ("cup", 64, 48)
    assert (goal.note, goal.image_stamp_ns) == (METADATA.note, METADATA.image_stamp_ns)
    assert (goal.joint_names, goal.joint_positions) == (("joint_a1", "finger"), (0.1, 0.04))
    assert goal.gripper_opening == 0.25
    np.testing.assert_array_equal(cv2.imread(str(library.folder / "cup.png"))[..., ::-1], picture())


def test_goals_are_listed_by_name_and_deleted(library):
    for name in ("b", "a", "c"):
        library.record(name, picture())
    library.delete("b")
    listed, damaged = library.list()
    assert [goal.goal_id for goal in listed] == ["a", "c"] and damaged == []
    assert sorted(p.name for p in library.folder.glob("[!.]*")) == ["a.json", "a.png", "c.json", "c.png"]
    with pytest.raises(AmRosError, match="goal 'b': does not exist"):
        library.get("b")
    with pytest.raises(AmRosError, match="goal 'b': does not exist"):
        library.delete("b")


def test_a_goal_without_a_name_gets_the_first_free_one(library):
    assert [library.record("", picture()).goal_id for _ in range(3)] == ["goal_0001", "goal_0002", "goal_0003"]
    library.delete("goal_0002")
    assert library.record("", picture()).goal_id == "goal_0002"


def test_a_taken_name_is_refused_and_the_first_image_stays(library):
    library.record("cup", picture(0))
    with pytest.raises(AmRosError, match="goal 'cup': exists already"):
        library.record("cup", picture(1))
    np.testing.assert_array_equal(library.get("cup")[1], picture(0))


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/b", ".hidden", "a.json", "a b", "ä", "x" * 65, "a\n", "\0"])
def test_names_like_paths_are_refused_by_every_verb(library, name):
    for verb in (lambda: library.record(name, picture()), lambda: library.get(name), lambda: library.delete(name)):
        with pytest.raises(AmRosError, match="goal id .*: use 1 to 64 letters"):
            verb()
    assert not list(library.folder.glob("[!.]*")) and not (library.folder.parent / "x.png").exists()


def test_images_of_no_use_and_long_notes_are_refused(library, monkeypatch):
    for rgb, sentence in ((picture().astype(float), "expected uint8"),
                          (picture(0, 15, 64), "64x15 px is outside 16x16"),
                          (np.zeros((4097, 16, 3), np.uint8), "16x4097 px is outside")):
        with pytest.raises(AmRosError, match=sentence):
            library.record("cup", rgb)
    with pytest.raises(AmRosError, match="at most 1000 characters"):
        library.record("cup", picture(), Goal("cup", note="x" * 1001))
    monkeypatch.setattr(goals, "MAX_GOALS", 2)
    library.record("a", picture()), library.record("b", picture())
    with pytest.raises(AmRosError, match="holds 2 goals, no more than 2 fit"):
        library.record("cup", picture())
    assert [goal.goal_id for goal in library.list()[0]] == ["a", "b"]


def test_a_changed_image_is_refused_by_name(library):
    library.record("cup", picture())
    png = library.folder / "cup.png"
    data = bytearray(png.read_bytes())
    data[len(data) // 2] ^= 1
    png.write_bytes(data)
    with pytest.raises(AmRosError, match="cup.png: is not the image that was recorded"):
        library.get("cup")


def test_damaged_entries_are_named_and_the_rest_is_listed(library):
    for name in ("good", "cut", "gone", "renamed", "garbage", "infinite"):
        library.record(name, picture(), METADATA)
    folder = library.folder
    (folder / "cut.png").write_bytes((folder / "cut.png").read_bytes()[:-1])
    (folder / "gone.png").unlink()
    os.rename(folder / "renamed.json", folder / "other.json")
    (folder / "garbage.json").write_text("[" * 50_000)
    content = json.loads((folder / "infinite.json").read_text())
    (folder / "infinite.json").write_text(json.dumps({**content, "joint_positions": [float("inf"), 0]}))
    listed, damaged = library.list()
    assert [goal.goal_id for goal in listed] == ["good"]
    for sentence in ("cut.png: has", "gone.png: No such file", "other.json: is damaged: it describes goal 'renamed'",
                     "garbage.json: is damaged: not JSON", "a joint position is not a finite number"):
        assert sum(sentence in text for text in damaged) == 1, sentence
    with pytest.raises(AmRosError, match="goal 'cut': exists already"):
        library.record("cut", picture())  # damaged is not free: nothing is overwritten
    library.delete("cut")
    library.record("cut", picture())


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_damage_to_a_metadata_file_raises_anything_but_a_sentence(library, data):
    path = library.folder / "cup.json"
    if not (library.folder / "whole").exists():
        library.record("cup", picture(), METADATA)
        (library.folder / "whole").write_bytes(path.read_bytes())
    content = bytearray((library.folder / "whole").read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        position = data.draw(st.integers(0, len(content) - 1))
        content[position:position + data.draw(st.integers(0, 40))] = data.draw(st.binary(max_size=3))
        content = content or bytearray(b"0")
    path.write_bytes(content)
    listed, damaged = library.list()
    assert len(listed) + len(damaged) == 1
    assert all("\n" not in text and "cup" in text for text in damaged)


def _record_and_die(folder, call_number):
    """Record a goal in this process and die by SIGKILL at the n-th call that touches the disk."""
    calls = 0

    def deadly(function):
        def call(*arguments):
            nonlocal calls
            calls += 1
            if calls == call_number:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments)
        return call

    library = GoalLibrary(folder)
    os.fsync, os.rename = deadly(os.fsync), deadly(os.rename)
    library.record("cup", picture(), METADATA)


def test_killed_at_any_step_a_record_is_whole_or_not_there(tmp_path):
    deaths = 0
    for call_number in range(1, 50):
        folder = tmp_path / str(call_number)
        child = FORK.Process(target=_record_and_die, args=(folder, call_number))
        child.start()
        child.join(20)
        if child.exitcode == 0:
            break
        assert child.exitcode == -signal.SIGKILL
        deaths += 1
        library = GoalLibrary(folder)
        listed, damaged = library.list()
        assert damaged == [] and not list(folder.glob(".*.tmp"))
        if listed:
            np.testing.assert_array_equal(library.get("cup")[1], picture())
        else:
            library.record("cup", picture(1))  # the name is free again
            np.testing.assert_array_equal(library.get("cup")[1], picture(1))
    assert deaths == 6  # fsync, rename, fsync of the folder; twice


def _record_for_ever(folder, started):
    library = GoalLibrary(folder)
    library.record("", picture())
    while True:
        library.record("", picture())
        started.set()  # two goals each, so that a busy machine has recorded something before the kill


def test_kill_9_in_the_middle_of_many_records_leaves_whole_goals_only(tmp_path):
    for _ in range(15):
        started = FORK.Event()
        child = FORK.Process(target=_record_for_ever, args=(tmp_path, started))
        child.start()
        assert started.wait(20)
        time.sleep(random.uniform(0, 0.05))
        child.kill()
        child.join(20)
    library = GoalLibrary(tmp_path)
    listed, damaged = library.list()
    assert damaged == [] and len(listed) > 15
    for goal in listed:
        library.get(goal.goal_id)


def _record_names(folder, names):
    library = GoalLibrary(folder)
    for name in names:
        try:
            library.record(name, picture(os.getpid() % 1000))
        except AmRosError:
            continue


def test_two_writers_never_share_a_name(tmp_path):
    names = [f"goal_{i}" for i in range(40)]
    children = [FORK.Process(target=_record_names, args=(tmp_path, names)) for _ in range(2)]
    for child in children:
        child.start()
    for child in children:
        child.join(30)
        assert child.exitcode == 0
    library = GoalLibrary(tmp_path)
    assert len([library.get(name) for name in names]) == 40


def _record_on_a_full_disk(folder, said):
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        GoalLibrary(folder).record("cup", picture())
    except AmRosError as error:
        said.put(str(error))


def test_a_disk_that_refuses_leaves_no_trace(tmp_path):
    said = FORK.Queue()
    child = FORK.Process(target=_record_on_a_full_disk, args=(tmp_path, said))
    child.start()
    assert "cup.png: cannot be written: File too large" in said.get(timeout=20)
    child.join(20)
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_a_folder_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(AmRosError, match="goal library .*file: File exists"):
        GoalLibrary(tmp_path / "file")
    with pytest.raises(AmRosError, match="goal library .*file/goals: Not a directory"):
        GoalLibrary(tmp_path / "file" / "goals")


def test_a_larger_view_is_kept_beside_the_image_and_goes_with_it(tmp_path):
    library = GoalLibrary(tmp_path)
    library.record("cup", picture(), Goal("cup", focal_px=80.0), picture(1, 96, 128))
    goal, rgb = library.get("cup")
    np.testing.assert_array_equal(rgb, picture())
    np.testing.assert_array_equal(library.view(goal), picture(1, 96, 128))
    assert (goal.focal_px, goal.view_width, goal.view_height) == (80.0, 128, 96)
    data = bytearray((tmp_path / "cup.view.png").read_bytes())
    data[100] ^= 4
    (tmp_path / "cup.view.png").write_bytes(data)
    with pytest.raises(AmRosError, match=r"cup.view.png: is not the image that was recorded .*cup.json"):
        library.view(goal)
    library.delete("cup")
    assert not list(tmp_path.glob("*.*g*"))


def test_goals_recorded_before_there_were_views_are_read(tmp_path):
    library = GoalLibrary(tmp_path)
    library.record("old", picture())
    content = json.loads((tmp_path / "old.json").read_text())
    for name in ("focal_px", "view_width", "view_height", "view_sha256"):
        del content[name]
    (tmp_path / "old.json").write_text(json.dumps(content))
    goal, _ = library.get("old")
    assert goal.focal_px is None and library.view(goal) is None and library.list()[1] == []
