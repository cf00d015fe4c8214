"""Collecting bags in parallel: complete, resumable, and the same whoever wrote them."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest
from conftest import wait_until

from am_ros.action import ActionSpace
from am_ros.bags.episodes import read_episode
from am_ros.bags.finder import find_bags
from am_ros.episode import Outcome
from am_ros.errors import AmRosError
from am_ros.sim.collect import CHUNK, Collection, collect
from am_ros.sim.dataset_card import CARD
from am_ros.sim.episodes import Mixture, fixed_noise, generate_episodes
from am_ros.sim.tasks import TASKS


def command(out, *arguments):
    return [sys.executable, "-m", "am_ros.cli", "collect", "--out", str(out), *map(str, arguments)]


def content(out):
    return {path.relative_to(out): path.read_bytes() for path in sorted(Path(out).rglob("*.mcap"))}


def card(out):
    return json.loads((out / CARD).read_text())


def test_collected_bags_are_the_generated_episodes(tmp_path):
    mixture = fixed_noise(0.3)
    figures = collect(Collection(("reach",), 4, tmp_path, mixture=mixture))
    assert figures["episodes"] == figures["new_episodes"] == 4
    episodes = {e.info.episode_id: e for e in generate_episodes(TASKS["reach"], range(4), mixture=mixture)}
    bags = find_bags(tmp_path)
    assert len(bags) == 4
    assert figures["steps"] == sum(map(len, episodes.values()))
    for path in bags:
        read = read_episode(path, ActionSpace())
        made = episodes[read.info.episode_id]
        assert read.info == made.info
        assert (read.actions == made.actions).all() and (read.states == made.states).all()
        assert np.abs(read.images.astype(int) - made.images).mean() < 3  # JPEG


def test_workers_collect_what_one_process_collects(tmp_path):
    for workers in (1, 2):
        collect(Collection(("reach", "pick_place"), 6, tmp_path / str(workers), seed=3), workers)
    one, two = content(tmp_path / "1"), content(tmp_path / "2")
    assert len(one) == 12 and one == two
    assert card(tmp_path / "1") == card(tmp_path / "2")


def test_more_episodes_are_added_and_none_is_made_twice(tmp_path):
    collect(Collection(("reach",), 3, tmp_path))
    before = content(tmp_path)
    figures = collect(Collection(("reach",), 5, tmp_path))
    assert (figures["episodes"], figures["new_episodes"]) == (5, 2)
    after = content(tmp_path)
    assert len(after) == 5 and all(after[path] == data for path, data in before.items())
    assert collect(Collection(("reach",), 5, tmp_path))["new_episodes"] == 0


def test_the_figures_of_a_collection_in_two_goes_are_those_of_one_go(tmp_path):
    collect(Collection(("pick_place",), 4, tmp_path / "two"))
    two = collect(Collection(("pick_place",), 9, tmp_path / "two"))
    one = collect(Collection(("pick_place",), 9, tmp_path / "one"))
    assert 0 < one["tasks"]["pick_place"]["successes"] < 9
    mine = ("new_episodes", "new_steps", "steps_per_s", "wall_s", "tasks")  # of the call, not of the data
    assert {k: v for k, v in one.items() if k not in mine} == {k: v for k, v in two.items() if k not in mine}
    assert card(tmp_path / "one") == card(tmp_path / "two")


def test_what_another_call_collected_stays_on_the_card(tmp_path):
    collect(Collection(("reach",), 4, tmp_path))
    collect(Collection(("pick_place",), 2, tmp_path))
    collect(Collection(("reach",), 1, tmp_path))
    assert {task: row["episodes"] for task, row in card(tmp_path)["tasks"].items()} == {"reach": 4, "pick_place": 2}
    assert card(tmp_path)["bags"] == len(find_bags(tmp_path)) == 6


def test_data_of_another_kind_is_not_mixed_in(tmp_path):
    collect(Collection(("reach",), 1, tmp_path, mixture=fixed_noise(0.0)))
    with pytest.raises(AmRosError, match="collected with another mixture"):
        collect(Collection(("reach",), 2, tmp_path, mixture=Mixture()))
    with pytest.raises(AmRosError, match="collected with another seed"):
        collect(Collection(("reach",), 2, tmp_path, seed=1, mixture=fixed_noise(0.0)))
    assert len(find_bags(tmp_path)) == 1


def test_the_command_writes_the_figures(tmp_path):
    out, figures = tmp_path / "bags", tmp_path / "figures" / "collect.json"
    done = subprocess.run(
        command(out, "--task", "pick_place", "--episodes", 3, "--noise", 0, "--json", figures), capture_output=True
    )
    assert done.returncode == 0, done.stderr.decode()
    written = json.loads(figures.read_text())
    assert written["episodes"] == 3 and written["tasks"]["pick_place"]["success_rate"] == 1.0
    assert written["steps_per_s"] > 0
    assert all(read_episode(b, ActionSpace()).info.outcome == Outcome.SUCCESS for b in find_bags(out))


def test_several_tasks_are_collected_by_their_names(tmp_path):
    done = subprocess.run(command(tmp_path, "--task", "reach,pick_place", "--episodes", 1), capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    assert {task: row["episodes"] for task, row in card(tmp_path)["tasks"].items()} == {"reach": 1, "pick_place": 1}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--episodes", 0), "parameter episodes: 0 is outside"),
        (("--workers", 0), "parameter workers: 0 is not a positive number"),
        (("--noise", 2), "parameter noise: 2.0 is outside"),
        (("--noise-high", 7), "parameter noise_high: 7.0 is outside"),
        (("--image-size", 3), "parameter image_size: 3 is outside"),
        (("--seed", -1), "scene index"),
        (("--task", "juggle"), "task 'juggle': use one of reach, pick_place"),
        (("--task", "reach,juggle"), "task 'juggle': use one of reach, pick_place"),
        (("--task", "reach,"), "task '': use one of reach, pick_place"),
        (("--task", "reach,stacking,reach"), "task 'reach': is named twice"),
        (("--split", "place,grasp"), "parameter split: 'place,grasp' is not 'grasp,place'"),
        (("--task", "reach", "--split", "grasp,place"), "parameter split: task reach does not lift a single object"),
        (("--json", "/dev/null/figures.json"), "json /dev/null/figures.json: cannot be written"),
        (("--json", "/proc"), "json /proc: is a folder"),
    ],
)
def test_a_wrong_argument_is_one_sentence(tmp_path, arguments, sentence, capsys):
    from am_ros.cli import main

    assert main(["collect", "--out", str(tmp_path / "x"), *map(str, arguments)]) == 2
    said = capsys.readouterr().err.strip()
    assert sentence in said and "\n" not in said
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("out", ["/dev/null/bags", "file"])
def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path, out):
    (tmp_path / "file").touch()
    with pytest.raises(AmRosError, match=r"out \S+: cannot be written \("):
        collect(Collection(("reach",), 1, tmp_path / out))


def test_a_damaged_bag_is_named_and_not_counted(tmp_path):
    collect(Collection(("reach",), 2, tmp_path))
    bag = find_bags(tmp_path)[1]
    (bag / "metadata.yaml").write_text("rosbag2_bagfile_information: {storage_identifier: mcap}")
    with pytest.raises(AmRosError, match="reach_1: .*damaged|reach_1: metadata.yaml"):
        collect(Collection(("reach",), 2, tmp_path))
    assert not card(tmp_path)["complete"]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_an_interrupted_collection_leaves_nothing_running_and_goes_on(tmp_path, number):
    arguments = ("--task", "reach", "--episodes", 60, "--workers", 2)
    process = subprocess.Popen(command(tmp_path, *arguments), stderr=subprocess.DEVNULL)
    wait_until(lambda: len(find_bags(tmp_path)) > 2 * CHUNK, 60, "bags of a finished job")
    family = psutil.Process(process.pid).children(recursive=True)
    os.kill(process.pid, number)
    process.wait(60)
    psutil.wait_procs(family, timeout=60)
    assert not [p for p in family if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
    some = len(find_bags(tmp_path))
    assert 0 < some < 60
    if number == signal.SIGINT:
        assert not card(tmp_path)["complete"] and 0 < card(tmp_path)["bags"] <= some
    figures = collect(Collection(("reach",), some + 2, tmp_path), workers=1)
    assert figures["episodes"] == len(find_bags(tmp_path)) >= some + 2
    assert figures["episodes"] - figures["new_episodes"] == some
    assert card(tmp_path)["complete"]
    assert all(read_episode(b, ActionSpace()) for b in find_bags(tmp_path))


def test_two_collections_into_one_folder_exclude_each_other(tmp_path):
    process = subprocess.Popen(command(tmp_path, "--episodes", 500), stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: find_bags(tmp_path), 60, "a first bag")
        with pytest.raises(AmRosError, match="another process is collecting"):
            collect(Collection(("reach",), 1, tmp_path))
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
