"""Light may change: augmentation of what is learned from, and goals recorded under another light than the trial."""

import numpy as np
import pytest
import torch

from am_ros import cli
from am_ros.errors import AmRosError
from am_ros.evaluation.actors import ActorConfig
from am_ros.evaluation.trials import TrialPlan, reset_trial, run_trials
from am_ros.learning.loader import to_tensors
from am_ros.replay.gather import Gather
from am_ros.replay.light import add_noise, light, light_tables
from am_ros.replay.sampling import GoalConfig, Sampler
from am_ros.replay.store import ReplayStore
from am_ros.sim.environment import Environment
from am_ros.sim.tasks import find_task
from am_ros.sim.workcell import SimConfig


@pytest.fixture
def store(tmp_path):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (40, 16, 16, 3), dtype=np.uint8)
    ends = np.arange(40) % 8 == 7
    return ReplayStore.from_arrays(tmp_path / "s", images, rng.uniform(-1, 1, (40, 4)), ends)


def _batch(store, strength, rank=0, size=1):
    goals = GoalConfig(photometric=strength, random_shift_px=0, random_share=0.0, at_goal_share=0.0)
    return Sampler(store, goals, 32, 0, rank, size).batch(3)


def test_image_and_next_image_share_a_light_and_the_goal_has_its_own(store):
    plain, lit = _batch(store, 0.0), _batch(store, 1.0)
    np.testing.assert_array_equal(plain.action, lit.action)
    np.testing.assert_array_equal(plain.steps_to_goal, lit.steps_to_goal)
    assert (plain.image != lit.image).mean() > 0.5 and (plain.goal_image != lit.goal_image).mean() > 0.5
    for i in range(len(plain)):
        # A light maps equal pixel values to equal ones: the table read off the image holds for the next image too.
        table = np.zeros(256, int) - 1
        table[plain.image[i, ..., 0]] = lit.image[i, ..., 0]
        known = table[plain.next_image[i, ..., 0]] >= 0
        assert (table[plain.next_image[i, ..., 0]] == lit.next_image[i, ..., 0])[known].all()
    means = [(b.image.astype(float) - b.goal_image).mean(axis=(1, 2, 3)) for b in (plain, lit)]
    assert np.abs(means[1] - means[0]).max() > 20, "image and goal are lit apart"


def test_a_light_is_monotone_and_strength_zero_is_none():
    rng = np.random.default_rng(0)
    tables = light_tables(rng, 50, 1.0).astype(int)
    assert (np.diff(tables, axis=2) >= 0).all() and tables.shape == (50, 3, 256)
    images = rng.integers(0, 256, (2, 4, 4, 3), dtype=np.uint8)
    same, lit = images.copy(), images.copy()
    light(same, light_tables(rng, 2, 0.0))
    np.testing.assert_array_equal(same, images)
    light(lit, tables[:2].astype(np.uint8))
    for channel in range(3):
        np.testing.assert_array_equal(lit[1, ..., channel], tables[1, channel][images[1, ..., channel]])


def test_noise_is_small_drawn_apart_and_goes_over_no_edge():
    images = np.repeat(np.array([0, 128, 255], np.uint8), 16 * 16 * 3).reshape(3, 16, 16, 3)
    noisy = images.copy()
    add_noise(noisy, 3, np.array([0.1, 0.5, 0.9]))
    difference = noisy.astype(int) - images
    assert difference.min() >= -6 and difference.max() <= 6
    assert set(np.unique(difference[1])) == set(range(-3, 4)) and abs(difference[1].mean()) < 0.5
    other = images.copy()
    add_noise(other, 3, np.array([0.1, 0.2, 0.9]))
    np.testing.assert_array_equal(other[[0, 2]], noisy[[0, 2]])
    assert (other[1] != noisy[1]).any()


def test_a_bumped_camera_moves_the_goal_alone_and_everything_else_stays(store):
    def batch(rank=0, size=1, **changes):
        goals = GoalConfig(random_shift_px=2, random_share=0.0, at_goal_share=0.0, **changes)
        return Sampler(store, goals, 32, 0, rank, size).batch(3)

    plain, bumped = batch(), batch(camera_shift_px=2)
    for name in ("image", "next_image", "action", "steps_to_goal", "state"):
        np.testing.assert_array_equal(getattr(plain, name), getattr(bumped, name))
    moved = (plain.goal_image != bumped.goal_image).any(axis=(1, 2, 3))
    assert 20 < moved.sum() < 32, "up to 2 px, 0 among them"
    i = int(np.flatnonzero(moved)[0])
    inner = [bumped.goal_image[i, 4 + y : 12 + y, 4 + x : 12 + x] for y in range(-2, 3) for x in range(-2, 3)]
    assert any((plain.goal_image[i, 4:12, 4:12] == part).all() for part in inner)
    everything = {"camera_shift_px": 2, "noise_levels": 2, "photometric": 0.5}
    whole = batch(**everything)
    for rank in range(2):
        np.testing.assert_array_equal(batch(rank, 2, **everything).goal_image, whole.goal_image[rank::2])


def test_what_comes_after_a_shift_is_not_left_to_the_device(store):
    for changes in ({"noise_levels": 2}, {"camera_shift_px": 1}, {"photometric": 0.5}):
        goals = GoalConfig(random_shift_px=2, **changes)
        plain, raw = Sampler(store, goals, 32, 0), Sampler(store, goals, 32, 0)
        raw.gather = Gather(shifts=False)
        ours, theirs = to_tensors(plain.batch(1), "cpu"), to_tensors(raw.batch(1), "cpu")
        for name in ("image", "goal_image"):
            assert torch.equal(ours[name], theirs[name]), (changes, name)


def test_processes_that_share_a_batch_light_it_alike(store):
    whole = _batch(store, 1.0)
    for rank in range(2):
        np.testing.assert_array_equal(_batch(store, 1.0, rank, 2).goal_image, whole.goal_image[rank::2])


def test_a_goal_recorded_at_another_hour_shows_the_same_scene_in_another_light():
    with Environment(find_task("pick_place"), SimConfig(variety=0.0)) as environment:
        start, goal = reset_trial(environment, 3)
        same_start, other = reset_trial(environment, 3, 1.0)
        usual = reset_trial(environment, 3, 0.0)[1]
    np.testing.assert_array_equal(start.image, same_start.image)
    np.testing.assert_array_equal(goal, usual)
    difference = np.abs(goal.astype(int) - other)
    assert difference.mean() > 3
    block = goal[..., 2].astype(int) - goal[..., 0] > 60  # it is blue, and stays so
    assert block.any() and (other[..., 2].astype(int) - other[..., 0] > 30)[block].mean() > 0.5


def test_goal_variety_is_part_of_a_plan_and_of_the_command(capsys):
    trial = next(run_trials([TrialPlan(ActorConfig("expert"), ("reach",), 1, frames_px=64, variety=0.0)]))
    other = next(run_trials([TrialPlan(ActorConfig("expert"), ("reach",), 1, 0, 64, 0.0, 1.0)]))
    assert trial.success and other.success and (trial.goal_image != other.goal_image).any()
    with pytest.raises(AmRosError, match="goal_variety: 2"):
        TrialPlan(ActorConfig("expert"), ("reach",), 1, goal_variety=2)
    assert cli.main(["evaluate", "random", "--task", "reach", "--goal-variety", "1", "--through-ros"]) == 2
    assert "needs trials without --through-ros" in capsys.readouterr().err
