"""Noise of demonstrators: what explorers and half-trained policies do, and how much of it."""

import math
from dataclasses import dataclass

import numpy as np
import pytest

from am_ros.action import CartesianAction, Gripper
from am_ros.sim.expert import SPELLS, NoisyExpert
from am_ros.sim.flaws import FLAWS, Displaced, Drifting, Late, Sticky, Weak, draw_flaw
from am_ros.sim.lifts import LiftWatch
from am_ros.sim.scene import ObjectState, SceneState, tool_down, upright
from am_ros.sim.tasks import layout

WANTED, OTHER, GOAL = (0.5, -0.1, 0.025), (0.6, 0.1, 0.025), (0.65, -0.15, 0.025)


@dataclass
class Approach:
    """A task small enough to see what its expert took for what: go straight to the object that has a goal."""

    name: str = "approach"
    lifts: bool = True

    def act(self, state):
        """Towards the wanted object, closing."""
        (wanted,) = (o for o in state.objects if o.goal is not None)
        return layout.towards(state.end_effector, wanted.pose.position_m, 0.0, Gripper.CLOSE)


def scene(tool=(0.55, 0.0, 0.2), heights=(0.025, 0.025)):
    wanted = ObjectState("apple", upright((*WANTED[:2], heights[0])), upright(GOAL))
    other = ObjectState("can", upright((*OTHER[:2], heights[1])))
    return SceneState("approach", 0, tool_down(tool), tool_down((0.5, 0.0, 0.2)), 1.0, 1.0, (wanted, other))


def expert(noise, seed=0):
    return NoisyExpert(Approach(), noise, np.random.default_rng(seed))


def spell(kind, seed=0, state=None):
    """How a demonstrator acts under one disturbance."""
    return getattr(expert(0.5, seed), f"_{kind}")(state or scene())


def ends(action, state=None):
    """Where a step ends."""
    return np.array((state or scene()).end_effector.position_m) + action.translation_m


@pytest.mark.parametrize("noise", [0.1, 0.3, 0.6, 1.0])
def test_noise_is_the_share_of_disturbed_steps(noise):
    disturbed = steps = 0
    for seed in range(150):
        acting = expert(noise, seed)
        for _ in range(20):
            assert acting.act(scene()).gripper != Gripper.HOLD
        counts = acting.description["disturbed"].split()
        disturbed += sum(int(count.split(":")[1]) for count in counts)
        steps += 20
    assert abs(disturbed / steps - noise) < 0.05


def test_without_noise_it_is_the_expert():
    acting = expert(0.0)
    assert all(acting.act(scene()) == Approach().act(scene()) for _ in range(20))
    assert acting.description["flaw"] == "none" and not acting.description["disturbed"]


def test_one_who_acts_at_random_shows_nothing_of_the_task():
    kinds = set()
    for seed in range(60):
        acting = expert(1.0, seed)
        for _ in range(20):
            acting.act(scene())
        kinds |= {count.split(":")[0] for count in acting.description["disturbed"].split()}
    assert kinds == {kind for kind, spell in SPELLS.items() if spell.random}
    assert not kinds & {"wrong_object", "wrong_goal", "grip_late"}


def test_all_disturbances_occur_and_stay_in_the_action_space():
    seen = set()
    for seed in range(80):
        acting = expert(0.5, seed)
        for _ in range(20):
            action = acting.act(scene())
            assert (np.abs([*action.translation_m, action.rotation_z_rad]) <= layout.STEP).all()
        seen |= {count.split(":")[0] for count in acting.description["disturbed"].split()}
    assert seen == set(SPELLS)


def test_a_wrong_object_is_approached_in_place_of_the_wanted_one():
    act = spell("wrong_object")
    action = act(scene())
    right = Approach().act(scene())
    way = np.array(OTHER) - scene().end_effector.position_m
    assert np.dot(action.translation_m, way) > 0.99 * np.linalg.norm(action.translation_m) * np.linalg.norm(way)
    assert np.dot(right.translation_m, way) < np.dot(action.translation_m, way)


def test_a_late_grip_moves_the_arm_but_not_the_gripper():
    action = spell("grip_late")(scene())
    assert action.gripper == Gripper.OPEN and action.translation_m == Approach().act(scene()).translation_m


def test_fumbling_turns_the_gripper_over():
    acting = expert(0.5)
    acting._gripper = Gripper.CLOSE
    assert acting._fumble(scene())(scene()).gripper == Gripper.OPEN


def test_half_trained_policies_are_the_more_frequent_the_noisier():
    def share(noise):
        return np.mean([draw_flaw(noise, np.random.default_rng(seed)).name != "none" for seed in range(400)])

    assert share(0.0) == 0.0 and abs(share(0.3) - 0.3) < 0.07 and share(0.9) > 0.8
    assert share(1.0) == 0.0  # no policy acts
    drawn = {draw_flaw(0.9, np.random.default_rng(seed)).name for seed in range(60)}
    assert drawn == {"none"} | {flaw.name for flaw in FLAWS}


def test_flaws_are_not_averaged_away():
    """Over an episode each flaw errs in one direction, other than jitter."""
    towards = CartesianAction((0.03, 0.0, 0.0), 0.0, Gripper.CLOSE)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        drift, weak = Drifting(rng), Weak(rng)
        steps = {drift.do(towards, Gripper.OPEN).translation_m for _ in range(5)}
        assert len(steps) == 1 and steps != {towards.translation_m}
        assert 0 < weak.do(towards, Gripper.OPEN).translation_m[0] < 0.03
        displaced = Displaced(rng)
        places = {displaced.see(scene()).objects[0].pose.position_m for _ in range(5)}
        assert len(places) == 1 and places != {WANTED}


def test_a_misperception_may_shrink_on_the_way():
    errors = []
    for seed in range(40):
        flaw = Displaced(np.random.default_rng(seed))
        far, near = (math.dist(flaw.see(s).objects[0].pose.position_m, WANTED) for s in (scene(), scene(WANTED)))
        assert far > 0 and (near == 0 or abs(near - far) < 1e-12)
        errors.append(near == 0)
    assert 0.2 < np.mean(errors) < 0.8


def test_a_late_policy_acts_on_what_it_saw_before():
    late, states = Late(np.random.default_rng(0)), [scene((0.5 + 0.01 * i, 0.0, 0.2)) for i in range(20)]
    seen = [late.see(state) for state in states]
    behind = [states.index(s) - i for i, s in enumerate(seen)]
    assert set(behind) == {0, -1} and behind[0] == 0


def test_a_sticky_gripper_follows_after_some_steps():
    flaw, close = Sticky(np.random.default_rng(1)), CartesianAction(gripper=Gripper.CLOSE)
    grippers = [flaw.do(close, Gripper.OPEN).gripper for _ in range(50)]
    assert 10 < grippers.count(Gripper.OPEN) < 45


def test_a_lift_is_noticed_once_and_again_after_it_was_put_down():
    watch = LiftWatch()
    heights = [0.025, 0.04, 0.09, 0.12, 0.075, 0.065, 0.12, 0.03, 0.1]
    assert [watch.taken_up(scene(heights=(z, 0.025))) for z in heights] == [
        False, False, True, False, False, False, False, False, True,
    ]  # fmt: skip
    watch = LiftWatch()  # another object than the wanted one
    assert not any(watch.taken_up(scene(heights=(0.025, z))) for z in heights)
