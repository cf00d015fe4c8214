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
from am_ros.bags.episodes import find_bags, read_episode
from am_ros.episode import Outcome
from am_ros.errors import AmRosError
from am_ros.sim.collect import Collection, collect
from am_ros.sim.episodes import Mixture, fixed_noise, generate_episodes
from am_ros.sim.tasks import TASKS


def command(out, *arguments):
    return [sys.executable, "-m", "am_ros.cli", "collect", "--out", str(out), *map(str, arguments)]


def content(out):
    return {path.relative_to(out): path.read_bytes() for path in sorted(Path(out).rglob("*.mcap"))}


def test_collected_bags_are_the_generated_episodes(tmp_path):
    mixture = fixed_noise(0.3)
    figures = collect(Collection(("reach",), 4, tmp_path, mixture=mixture))
    assert figures["episodes"] == 4 and figures["present"] == 0
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


def test_more_episodes_are_added_and_none_is_made_twice(tmp_path):
    collect(Collection(("reach",), 3, tmp_path))
    before = content(tmp_path)
    figures = collect(Collection(("reach",), 5, tmp_path))
    assert (figures["episodes"], figures["present"]) == (2, 3)
    after = content(tmp_path)
    assert len(after) == 5 and all(after[path] == data for path, data in before.items())
    assert collect(Collection(("reach",), 5, tmp_path))["episodes"] == 0


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


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--episodes", 0), "parameter episodes: 0 is outside"),
        (("--workers", 0), "parameter workers: 0 is not a positive number"),
        (("--noise", 2), "parameter noise: 2.0 is outside"),
        (("--noise-high", 7), "parameter noise_high: 7.0 is outside"),
        (("--image-size", 3), "parameter image_size: 3 is outside"),
        (("--seed", -1), "scene index"),
    ],
)
def test_a_wrong_argument_is_one_sentence(tmp_path, arguments, sentence, capsys):
    from am_ros.cli import main

    assert main(["collect", "--out", str(tmp_path / "x"), *map(str, arguments)]) == 2
    said = capsys.readouterr().err.strip()
    assert sentence in said and "\n" not in said
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_an_interrupted_collection_leaves_nothing_running_and_goes_on(tmp_path, number):
    arguments = ("--task", "reach", "--episodes", 60, "--workers", 2)
    process = subprocess.Popen(command(tmp_path, *arguments), stderr=subprocess.DEVNULL)
    wait_until(lambda: find_bags(tmp_path), 30, "a first bag")
    family = psutil.Process(process.pid).children(recursive=True)
    os.kill(process.pid, number)
    process.wait(20)
    psutil.wait_procs(family, timeout=10)
    assert not [p for p in family if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
    some = len(find_bags(tmp_path))
    assert 0 < some < 60
    figures = collect(Collection(("reach",), some + 2, tmp_path), workers=1)
    assert figures["present"] + figures["episodes"] == some + 2
    assert len([read_episode(b, ActionSpace()) for b in find_bags(tmp_path)]) >= some + 2


def test_two_collections_into_one_folder_exclude_each_other(tmp_path):
    process = subprocess.Popen(command(tmp_path, "--episodes", 500), stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: find_bags(tmp_path), 30, "a first bag")
        with pytest.raises(AmRosError, match="another process is collecting"):
            collect(Collection(("reach",), 1, tmp_path))
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
