"""Pictures of trials and curves of trainings: complete, bounded, and the same however the trials came in."""

import csv
import json

import cv2
import numpy as np
import pytest
from PIL import Image

from am_ros.errors import AmRosError
from am_ros.evaluation.curves import curve_rows, find_checkpoints, write_curve
from am_ros.evaluation.pictures import ANIMATED, MAX_ANIMATION_BYTES, Album, animation, contact_sheet, overview
from am_ros.evaluation.statistics import Trial, summarise
from am_ros.learning import checkpoint


def trial(seed, success, steps=4, size=64, task="reach", noise=False):
    """A trial with pictures: a square that wanders over a plain ground, or pictures of noise."""
    rng = np.random.default_rng(seed)
    frames = [rng.integers(0, 256, (size, size, 3), dtype=np.uint8) for _ in range(steps + 1)]
    if not noise:
        frames = [np.full((size, size, 3), 200, np.uint8) for _ in range(steps + 1)]
        for i, frame in enumerate(frames):
            frame[10:20, 2 + 2 * i : 12 + 2 * i] = (220, 40, 20)
    goal = np.full((size, size, 3), 90, np.uint8)
    return Trial(task, seed, success, success, steps, "step_limit", 0.03, 0.02, frames=frames, goal_image=goal)


def gif(path):
    with Image.open(path) as image:
        frames = []
        for i in range(image.n_frames):
            image.seek(i)
            frames.append(np.array(image.convert("RGB")))
    return frames


def test_an_animation_shows_both_kinds_until_the_longest_has_ended(tmp_path):
    trials = [trial(i, success=i % 2 == 0, steps=2 + i) for i in range(6)]
    frames = gif(animation(trials, tmp_path / "a.gif"))
    assert len(frames) == 8  # seven steps and the start
    assert frames[0].shape == (26 + 2 * 153, 3 * 2 * 134, 3)  # two rows of three trials with their goals
    green, red = np.array((40, 150, 60)), np.array((200, 50, 45))

    def has(frame, colour):
        return (np.abs(frame.astype(int) - colour).max(axis=-1) < 12).sum() > 500

    assert not has(frames[0], green) and not has(frames[0], red)  # nothing is decided yet
    assert has(frames[2], green) and not has(frames[2], red)  # scene 0 has ended, and it was reached
    assert has(frames[-1][:180], green) and has(frames[-1][180:], red)
    square = (np.abs(frames[3][26 + 22 :, :134].astype(int) - (220, 40, 20)).max(axis=-1) < 30).sum()
    assert square > 100  # the small thing keeps its colour


def test_an_animation_stays_small_even_of_noise(tmp_path):
    path = animation([trial(i, i < 3, steps=20, size=128, noise=True) for i in range(6)], tmp_path / "a.gif")
    plain = animation([trial(i, i < 3, steps=20, size=128) for i in range(6)], tmp_path / "b.gif")
    assert len(gif(path)) == 21 and gif(path)[0].shape[1] < gif(plain)[0].shape[1]
    assert plain.stat().st_size < 0.3 * MAX_ANIMATION_BYTES


@pytest.mark.parametrize("success", [True, False])
def test_an_animation_of_one_kind_has_one_row(tmp_path, success):
    frames = gif(animation([trial(0, success)], tmp_path / "a.gif"))
    assert frames[0].shape == (26 + 153, 2 * 134, 3)


def test_an_album_is_the_same_in_whatever_order_trials_end(tmp_path):
    seeds = np.random.default_rng(0).permutation(12)
    for name, order in {"sorted": range(12), "shuffled": map(int, seeds)}.items():
        album = Album(tmp_path / name)
        for seed in order:
            album.add(trial(seed, success=seed % 3 > 0))
        album.close()
    names = {str(p.relative_to(tmp_path / "sorted")) for p in (tmp_path / "sorted").rglob("*.*")}
    assert names == {"reach.gif", "reach.png", *(f"reach/{i:04d}.png" for i in range(12))}
    assert all((tmp_path / "sorted" / n).read_bytes() == (tmp_path / "shuffled" / n).read_bytes() for n in names)


def test_an_album_keeps_few_pictures_in_memory(tmp_path):
    album, trials = Album(tmp_path), [trial(seed, success=seed % 2 == 0) for seed in range(20)]
    for one in trials:
        album.add(one)
    assert sum(len(t.frames) == 5 for t in trials) == 2 * ANIMATED
    assert all(len(t.frames) == 2 for t in trials[2 * ANIMATED :])


def test_a_trial_that_failed_before_its_first_image_is_left_out(tmp_path):
    nothing = Trial("reach", 0, False, False, 0, "fault", 0.3, 0.3, reason="no image")
    album = Album(tmp_path)
    album.add(nothing)
    album.add(trial(1, True))
    album.close()
    assert not (tmp_path / "reach" / "0000.png").exists() and (tmp_path / "reach.png").exists()
    for draw in (overview, animation):
        with pytest.raises(AmRosError, match="no trial has pictures"):
            draw([nothing], tmp_path / "x")
    with pytest.raises(AmRosError, match="has no pictures to draw"):
        contact_sheet(nothing, tmp_path / "x.png")


def test_a_contact_sheet_has_a_tile_per_moment_and_the_goal(tmp_path):
    drawn = cv2.imread(str(contact_sheet(trial(0, True, steps=9), tmp_path / "a.png")))
    assert drawn.shape == (26 + 2 * 153, 8 * 134, 3)  # eleven tiles in rows of eight
    assert (drawn[26 + 153 :, 3 * 134 :] == 255).all() and (drawn[26 + 153 :, : 3 * 134] < 255).any()


@pytest.fixture
def run_folder(tmp_path):
    """What a training leaves: milestones and the last checkpoint, and a save that was cut off."""
    folders = {"milestones/001": 100, "milestones/002": 200, "checkpoint": 200, "milestones/010": 1000}
    for name, update in folders.items():
        checkpoint.save(tmp_path / "run" / name, {"update": update, "trained_s": 0.1 * update}, {"model": {}})
    checkpoint.save(tmp_path / "run" / "milestones" / ".003.77.tmp", {"update": 300}, {"model": {}})
    return tmp_path / "run"


def test_checkpoints_of_a_training_are_found_in_order(run_folder):
    found = [str(p.relative_to(run_folder)) for p in find_checkpoints(run_folder)]
    assert len(found) == 3 and found[0] == "milestones/001" and found[2] == "milestones/010"
    assert found[1] in ("milestones/002", "checkpoint")
    assert find_checkpoints(run_folder / "checkpoint") == [run_folder / "checkpoint"]
    with pytest.raises(AmRosError, match="holds no checkpoint"):
        find_checkpoints(run_folder / "nowhere")
    (run_folder / "milestones" / "001" / "model.safetensors").write_bytes(b"cut")
    with pytest.raises(AmRosError, match="001/model.safetensors: is damaged"):
        find_checkpoints(run_folder)


def test_a_curve_is_written_as_table_and_picture(run_folder, tmp_path):
    summaries = {}
    for path, successes in zip(find_checkpoints(run_folder), (1, 4, 9), strict=True):
        trials = [trial(i, i < successes, task=task) for task in ("reach", "pick_place") for i in range(10)]
        summaries[str(path)] = summarise(trials)
    rows = curve_rows(summaries, dict.fromkeys(summaries, "run"))
    assert [(r["update"], r["task"], r["successes"]) for r in rows] == [
        (100, "reach", 1), (100, "pick_place", 1), (200, "reach", 4), (200, "pick_place", 4), (1000, "reach", 9),
        (1000, "pick_place", 9),
    ]  # fmt: skip
    assert all(r["ci_low"] < r["success_rate"] < r["ci_high"] for r in rows)
    path = write_curve(rows, tmp_path / "curve")
    assert cv2.imread(str(path)).std() > 10
    assert json.loads((tmp_path / "curve" / "success_curve.json").read_text()) == rows
    with (tmp_path / "curve" / "success_curve.csv").open() as file:
        read = list(csv.DictReader(file))
    assert [float(r["success_rate"]) for r in read] == [0.1, 0.1, 0.4, 0.4, 0.9, 0.9]


def test_trainings_are_compared_in_one_picture(run_folder, tmp_path):
    names = [str(path) for path in find_checkpoints(run_folder)]
    summaries = {name: summarise([trial(i, i < 5) for i in range(10)]) for name in names}
    rows = curve_rows(summaries, {names[0]: "slow", names[1]: "fast", names[2]: "slow"})
    assert [(r["run"], r["update"]) for r in rows] == [("slow", 100), ("slow", 1000), ("fast", 200)]
    both = write_curve(rows, tmp_path / "both")
    one = write_curve([r for r in rows if r["run"] == "slow"], tmp_path / "one")
    assert (cv2.imread(str(both)) != cv2.imread(str(one))).any()
