"""Evaluation that can be trusted: the same scenes for whoever acts, however many processes, and honest figures."""

import json
import math

import numpy as np
import pytest

from am_ros.action import CartesianAction
from am_ros.episode import Outcome
from am_ros.errors import AmRosError
from am_ros.evaluation.actors import ActorConfig
from am_ros.evaluation.statistics import Trial, summarise, wilson_interval, with_trial_list
from am_ros.evaluation.trials import MAX_REFUSALS, TrialPlan, run_trial, run_trials
from am_ros.learning.policy import Decision
from am_ros.sim.environment import Environment
from am_ros.sim.episodes import fixed_noise, generate_episodes
from am_ros.sim.tasks import TASKS, evaluation_seed

BOTH = ("reach", "pick_place")


def facts(trials):
    """What a trial came to, by scene: everything but the time it took."""
    key = {(t.actor, t.task, t.seed): t for t in trials}
    assert len(key) == len(trials)
    return {k: (t.success, t.success_once, t.steps, t.end, t.distance_m, t.best_distance_m) for k, t in key.items()}


@pytest.mark.parametrize(
    "config",
    [pytest.param(ActorConfig("random"), marks=pytest.mark.slow), ActorConfig("expert", noise=0.5)],
    ids=lambda c: c.name,
)
def test_the_number_of_workers_changes_nothing(config):
    plan = TrialPlan(config, BOTH, 3, seed=4)
    one, two = facts(list(run_trials([plan], 1))), facts(list(run_trials([plan], 2)))
    assert len(one) == 6 and one == two


def test_a_scene_is_the_same_in_whatever_company():
    alone = facts(list(run_trials([TrialPlan(ActorConfig("random"), ("reach",), 1, seed=5)])))
    among = facts(list(run_trials([TrialPlan(ActorConfig("random"), BOTH, 4, seed=3)])))
    assert alone.items() <= among.items()


def test_all_actors_see_the_same_scenes_and_goals():
    plans = [TrialPlan(ActorConfig(name), ("reach",), 3, frames_px=64) for name in ("expert", "random")]
    trials = list(run_trials(plans))
    for scene in range(3):
        expert, random = (next(t for t in trials if (t.actor, t.seed) == (a, scene)) for a in ("expert", "random"))
        assert (expert.frames[0] == random.frames[0]).all() and (expert.goal_image == random.goal_image).all()
        assert expert.success and (expert.frames[-1] != random.frames[-1]).any()


@pytest.mark.parametrize("noise", [0.0, 0.4])
def test_the_expert_is_the_one_of_the_recorded_episodes(noise):
    trials = list(run_trials([TrialPlan(ActorConfig("expert", noise=noise), ("pick_place",), 3)]))
    seeds = [evaluation_seed(scene) for scene in range(3)]
    episodes = generate_episodes(TASKS["pick_place"], seeds, mixture=fixed_noise(noise))
    for trial, episode in zip(trials, episodes, strict=True):
        assert trial.success == (episode.info.outcome == Outcome.SUCCESS)
        assert (trial.steps, trial.end) == (len(episode), episode.info.reason)


class Fixed:
    """An actor that always does the same."""

    def __init__(self, action):
        self.action = action

    def begin(self, task, scene):
        pass

    def decide(self, seen, goal_image, environment):
        if isinstance(self.action, AmRosError):
            raise self.action
        return Decision(self.action, 0.25, 1.0)


@pytest.mark.parametrize(
    ("action", "steps", "end", "reason"),
    [
        (CartesianAction(terminate=True), 1, "terminated", ""),
        (CartesianAction(), 10, "step_limit", ""),
        (CartesianAction((0, 0, 0), 2.0), MAX_REFUSALS, "fault", "action_too_large"),
        (AmRosError("policy_not_finite: no"), 0, "fault", "policy_not_finite: no"),
    ],
)
def test_it_says_why_a_trial_ended(action, steps, end, reason):
    with Environment(TASKS["reach"]) as environment:
        trial = run_trial(environment, Fixed(action), 0, frames_px=64)
    assert (trial.steps, trial.end) == (steps, end) and trial.reason.startswith(reason)
    assert not trial.success and len(trial.frames) == steps + 1
    json.dumps(with_trial_list(summarise([trial]), [trial]), allow_nan=False)


def test_a_goal_that_was_reached_and_left_again_counts_as_seen_only():
    class Passing(Fixed):
        """To the goal, and then away from it."""

        def decide(self, seen, goal_image, environment):
            if environment.outcome().reached_once:
                return Decision(CartesianAction((0, 0, 0.08 if seen.state[1] < 0.2 else -0.08)), math.nan, math.nan)
            return Decision(environment.task.act(environment.scene()), math.nan, math.nan)

    with Environment(TASKS["reach"]) as environment:
        trials = [run_trial(environment, Passing(None), scene) for scene in range(6)]
    passed = [t for t in trials if t.success_once and not t.success]
    assert len([t for t in trials if t.success_once]) == 6 and passed
    assert all(t.best_distance_m <= 0.04 < t.distance_m for t in passed)
    figures = summarise(trials)["reach"]
    assert figures["success_once_rate"] == 1.0 > figures["success_rate"]


def test_pictures_are_kept_on_demand_and_never_large():
    def run(**plan):
        return next(iter(run_trials([TrialPlan(ActorConfig("random", image_size=160), ("reach",), 1, **plan)])))

    without, small, whole = run(), run(frames_px=128), run(frames_px=472)
    assert not without.frames and without.goal_image is None
    assert small.goal_image.shape == small.frames[0].shape == (128, 128, 3)
    assert whole.frames[0].shape == (160, 160, 3) and len(small.frames) == len(whole.frames) == 11


def trial(seed, success, steps, end="step_limit", distance_m=0.02, **more):
    return Trial("reach", seed, success, True, steps, end, distance_m, 0.01, **more)


def test_figures_of_known_trials():
    trials = [
        trial(0, True, 4, "terminated", 0.01, decision_ms=[1.0, 3.0]),
        trial(1, True, 8, distance_m=0.03, decision_ms=[2.0], final_q=0.5),
        trial(2, False, 9, distance_m=0.11),
        trial(3, False, 0, "fault", distance_m=0.21, reason="no image"),
    ]
    figures = summarise(trials)["reach"]
    assert (figures["trials"], figures["successes"], figures["success_rate"]) == (4, 2, 0.5)
    assert figures["ci95"] == pytest.approx([0.1500, 0.8500], abs=1e-3)
    assert figures["success_once_rate"] == 1.0 and figures["success_once_ci95"] == pytest.approx([0.5101, 1], abs=1e-3)
    assert (figures["mean_steps"], figures["mean_steps_of_successes"]) == (5.25, 6.0)
    assert figures["ends"] == {"fault": 1, "step_limit": 2, "terminated": 1}
    assert figures["distance_m"] == pytest.approx({"median": 0.07, "mean": 0.09, "p90": 0.18})
    assert figures["decision_ms"]["p50"] == 2.0
    records = with_trial_list(summarise(trials), trials)["reach"]["trial_list"]
    assert [r["seed"] for r in records] == [0, 1, 2, 3] and records[3]["reason"] == "no image"
    assert [r["final_q"] for r in records] == [None, 0.5, None, None]  # JSON has no NaN


def test_nothing_but_failures_is_still_finite_json():
    figures = summarise([trial(0, False, 3)])["reach"]
    assert figures["mean_steps_of_successes"] is None and figures["decision_ms"] == {"p50": None, "p99": None}
    json.dumps(figures, allow_nan=False)


def test_the_interval_is_the_published_one():
    """Newcombe (Statistics in Medicine, 1998), table I, method 3."""
    published = ((81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718))
    for successes, trials, low, high in published:
        assert wilson_interval(successes, trials) == pytest.approx((low, high), abs=6e-5)


def test_the_interval_holds_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(0)
    for p in (0.1, 0.5, 0.9):
        intervals = [wilson_interval(k, 50) for k in rng.binomial(50, p, 2000)]
        assert 0.92 < np.mean([low <= p <= high for low, high in intervals]) < 0.98
    assert wilson_interval(0, 0) == (0.0, 1.0)
    assert wilson_interval(0, 50)[0] == 0.0 and wilson_interval(50, 50)[1] == 1.0
