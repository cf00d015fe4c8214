"""Tasks and demonstrators: every scene can be solved, training and evaluation never meet, noise does what it says."""

import math

import numpy as np
import pytest

from am_ros.action import CLOSE, OPEN, TERMINATE, ActionSpace, CartesianAction, Gripper
from am_ros.episode import Outcome
from am_ros.errors import AmRosError
from am_ros.sim.environment import Environment
from am_ros.sim.episodes import Mixture, episode_id, fixed_noise, generate_episodes
from am_ros.sim.expert import NoisyExpert
from am_ros.sim.objects import BLOCK
from am_ros.sim.tasks import TASKS, draw_scenario, evaluation_seed, find_task, train_seed

TRIALS = 20


@pytest.mark.parametrize("task", TASKS)
def test_the_expert_reaches_the_goal_and_says_so(task):
    seeds = [evaluation_seed(i) for i in range(TRIALS)]
    episodes = list(generate_episodes(TASKS[task], seeds, mixture=fixed_noise(0.0)))
    assert sum(e.info.outcome == Outcome.SUCCESS for e in episodes) >= 0.9 * TRIALS
    assert sum(e.info.reason == "terminated" for e in episodes) >= 0.9 * TRIALS
    for episode in episodes:
        last = episode.actions[-1]
        if last[TERMINATE]:
            assert (episode.images[-1] == episode.images[-2]).all()
        assert (np.diff(episode.stamps_ns) > 0).all()


@pytest.mark.parametrize("task", TASKS)
def test_the_goal_phase_is_a_solved_scene(task):
    with Environment(TASKS[task]) as environment:
        for i in range(5):
            environment.reset(evaluation_seed(i), "goal")
            assert environment.outcome().reached
            assert environment.outcome().distance_m < 0.01
            environment.reset(evaluation_seed(i), "start")
            assert not environment.outcome().reached
            assert not environment.outcome().reached_once


def test_no_scene_of_training_is_a_scene_of_evaluation():
    training, evaluation = {train_seed(i) for i in range(5000)}, {evaluation_seed(i) for i in range(5000)}
    assert not training & evaluation
    with pytest.raises(AmRosError, match="scene index"):
        train_seed(evaluation_seed(0))
    with pytest.raises(AmRosError, match="scene index"):
        evaluation_seed(-1)


def test_scenes_of_a_seed_are_always_the_same_and_of_others_differ():
    task = TASKS["pick_place"]
    assert draw_scenario(task, 5) == draw_scenario(task, 5)
    assert draw_scenario(task, 5) != draw_scenario(task, 6)
    assert draw_scenario(task, train_seed(5)) != draw_scenario(task, evaluation_seed(5))


def test_scenes_keep_what_the_tasks_promise():
    for seed in range(200):
        place = draw_scenario(TASKS["pick_place"], seed)
        start, goal = (np.array(a.objects[BLOCK].position_m) for a in (place.start, place.goal))
        assert np.linalg.norm(goal - start) >= 0.10
        for block in (start, goal):
            assert 0.44 <= block[0] <= 0.68 and abs(block[1]) <= 0.20
        reach = draw_scenario(TASKS["reach"], seed)
        block = reach.start.objects[BLOCK].position_m
        assert reach.start.objects == reach.goal.objects
        for arrangement in (reach.start, reach.goal):
            assert math.dist(arrangement.end_effector.position_m[:2], block[:2]) >= 0.12


def test_an_unknown_task_seed_or_phase_is_refused_by_name():
    with pytest.raises(AmRosError, match="reach, pick_place"):
        find_task("juggle")
    with Environment(TASKS["reach"]) as environment:
        with pytest.raises(AmRosError, match="seed -1"):
            environment.reset(-1)
        with pytest.raises(AmRosError, match="phase 'middle'"):
            environment.reset(1, "middle")


def test_reached_once_remembers_a_goal_that_was_left_again():
    with Environment(TASKS["reach"]) as environment:
        environment.reset(evaluation_seed(1), "goal")
        inwards = -np.sign(environment.workcell.end_effector().position_m[1])
        observation = environment.step(CartesianAction((0.0, 0.079 * inwards, 0.0)))
        assert not observation.refused
        outcome = environment.outcome()
        assert not outcome.reached and outcome.reached_once
        assert outcome.best_distance_m < 0.01 < outcome.distance_m


def test_noise_turns_the_expert_into_a_random_walk_by_degrees():
    rates = []
    for noise in (0.0, 0.4, 1.0):
        episodes = generate_episodes(TASKS["reach"], range(15), mixture=fixed_noise(noise))
        rates.append(np.mean([e.info.outcome == Outcome.SUCCESS for e in episodes]))
    assert rates[0] == 1.0 and rates[0] > rates[1] > rates[2] and rates[2] <= 0.2


def test_random_actions_keep_their_direction_for_a_while():
    task, rng = TASKS["reach"], np.random.default_rng(0)
    with Environment(task) as environment:
        environment.reset(0)
        scene = environment.scene()
    expert = NoisyExpert(task, 1.0, rng)
    steps = np.array([expert.act(scene).translation_m for _ in range(2000)])
    cosines = (steps[1:] * steps[:-1]).sum(1) / np.linalg.norm(steps[1:], axis=1).clip(1e-9) / np.linalg.norm(
        steps[:-1], axis=1).clip(1e-9)  # fmt: skip
    assert cosines.mean() > 0.3


def test_what_is_recorded_is_what_was_executed():
    """Steps into the border are cut, so the recorded displacement is the measured one, in the middle and there."""
    space, errors, at_border = ActionSpace(), [], 0
    for episode in generate_episodes(TASKS["reach"], range(10), mixture=fixed_noise(1.0)):
        positions = episode.states[:, [2, 3, 1]].astype(float)
        commanded = episode.actions[:, :3] * space.scale[:3]
        errors.append(np.abs(np.diff(positions, axis=0) - commanded).max(axis=1))
        at_border += (np.abs(positions[:, 1]) > 0.239).sum()
    errors = np.concatenate(errors)
    assert at_border > 0
    assert np.quantile(errors, 0.95) < 2e-3  # the rest pushes the block or the table


def test_actions_of_demonstrators_have_one_meaning_as_vectors():
    episodes = generate_episodes(TASKS["pick_place"], range(6), mixture=Mixture(noise_high=0.8))
    actions = np.concatenate([e.actions for e in episodes])
    assert (actions[:, [CLOSE, OPEN, TERMINATE]].sum(axis=1) == 1).all()
    assert np.abs(actions[:, :4]).max() <= 1
    assert (actions[actions[:, TERMINATE] == 1][:, :4] == 0).all()


def test_a_share_of_episodes_ends_with_the_block_in_the_air():
    mixture = Mixture(random_share=0.0, lift_share=1.0, noise_low=0.0, noise_high=0.0)
    for episode in generate_episodes(TASKS["pick_place"], range(3), mixture=mixture):
        assert episode.info.extra["stop_after_lift"] == "true"
        assert episode.info.reason == "terminated" and episode.info.outcome == Outcome.FAILURE
        assert episode.actions[-2, CLOSE] == 1
        assert 0.4 < episode.states[-1][0] < 0.7  # the fingers are around the block


def test_episodes_are_reproducible_and_say_where_they_come_from():
    first, second = (next(generate_episodes(TASKS["pick_place"], [9], mixture=Mixture())) for _ in range(2))
    assert first.info == second.info
    assert first.info.episode_id == episode_id("pick_place", 9) and first.info.seed == 9
    assert first.info.source == "expert"
    assert first.images.tobytes() == second.images.tobytes()
    assert first.actions.tobytes() == second.actions.tobytes()
    assert (first.stamps_ns == second.stamps_ns).all()


def test_noise_outside_its_range_is_refused():
    with pytest.raises(AmRosError, match=r"noise: 1\.5"):
        NoisyExpert(TASKS["reach"], 1.5, np.random.default_rng(0))


def test_the_demonstrator_never_holds():
    task = TASKS["pick_place"]
    with Environment(task) as environment:
        environment.reset(2)
        for seed in range(5):
            expert = NoisyExpert(task, 0.7, np.random.default_rng(seed))
            assert all(expert.act(environment.scene()).gripper != Gripper.HOLD for _ in range(20))


def test_scenes_differ_in_look_as_far_as_is_asked_for():
    task = TASKS["stacking"]
    varied, plain, half = ([draw_scenario(task, seed, v) for seed in range(30)] for v in (1.0, 0.0, 0.5))
    assert len({s.appearance.light_direction for s in varied}) == 30
    assert len({(s.appearance.light_direction, s.appearance.table, str(s.appearance.colours)) for s in plain}) == 1
    assert [s.start for s in varied] == [s.start for s in plain]  # the look is not what happens
    for scenario in varied + plain:
        assert len({scenario.appearance.colours[name] for name in task.objects}) == 2  # the goal says which block
    shifts = [np.abs([s.appearance.camera_shift_m for s in scenes]).max() for scenes in (half, varied)]
    assert 0 < shifts[0] <= 0.0075 and shifts[1] <= 0.015
