"""The tasks that put things somewhere: what counts as done, what does not, and what their scenes promise."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest

from am_ros.action import CartesianAction, Gripper
from am_ros.sim.environment import Environment
from am_ros.sim.episodes import Mixture, play
from am_ros.sim.objects import BLOCK, BLOCK_SIZE_M, find_model, model_name
from am_ros.sim.scene import Pose, tool_down, upright
from am_ros.sim.tasks import TASKS, draw_scenario, evaluation_seed, layout
from am_ros.sim.tasks.fixture_placing import FIXTURE
from am_ros.sim.tasks.manipulation import LOWEST_M
from am_ros.sim.tasks.stacking import BASE

TASK_NAMES = ("stacking", "fixture_placing", "rearrangement", "container_placing")
SEED = evaluation_seed(3)
SQUEEZED = {"squeeze": True, "gripper_opening": BLOCK_SIZE_M / 0.09 + 0.02}


@pytest.fixture(scope="module")
def environment():
    with Environment(TASKS["stacking"]) as one:
        yield one


def settled(environment, task: str, objects: dict[str, Pose], seed: int = SEED, **changes) -> float:
    """Distance after a while in the goal scene with some objects elsewhere; the arm may be changed too."""
    environment.task = TASKS[task]
    environment.reset(seed, "goal")
    goal = draw_scenario(TASKS[task], seed).goal
    environment.workcell.arrange(replace(goal, objects={**goal.objects, **objects}, **changes), settle_s=1.5)
    return TASKS[task].distance(environment.scene())


def shifted(pose: Pose, x=0.0, y=0.0, z=0.0, yaw=0.0) -> Pose:
    """The pose moved along its own axes and turned."""
    c, s = math.cos(pose.yaw_rad), math.sin(pose.yaw_rad)
    return upright(np.add(pose.position_m, (c * x - s * y, s * x + c * y, z)), pose.yaw_rad + yaw)


def goal_of(task: str, name: str, seed: int = SEED) -> Pose:
    return draw_scenario(TASKS[task], seed).goal.objects[name]


# -- scenes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", TASK_NAMES)
def test_objects_never_overlap_and_lie_within_reach(task):
    for seed in range(200):
        scenario = draw_scenario(TASKS[task], seed)
        for name, pose in scenario.start.objects.items():
            assert (np.array(layout.BLOCK_LOW_M) <= pose.position_m[:2]).all(), (seed, name)
            assert (np.array(layout.BLOCK_HIGH_M) >= pose.position_m[:2]).all(), (seed, name)
        for (a, first), (b, second) in itertools.combinations(scenario.start.objects.items(), 2):
            room = find_model(a).radius_m + find_model(b).radius_m
            assert math.dist(first.position_m[:2], second.position_m[:2]) > room, (seed, a, b)
        tool = scenario.start.end_effector.position_m
        highest = max(find_model(name).height_m for name in scenario.start.objects)
        assert tool[2] - 0.015 > highest, seed  # the fingertips


@pytest.mark.parametrize("phase", ["start", "goal"])
@pytest.mark.parametrize("task", TASK_NAMES)
def test_objects_stay_where_they_are_put(environment, task, phase):
    environment.task = TASKS[task]
    for seed in map(evaluation_seed, range(8)):
        environment.reset(seed, phase)
        arrangement = getattr(draw_scenario(TASKS[task], seed), phase)
        environment.workcell.arrange(arrangement, settle_s=3.0)  # nothing is put to sleep before
        for name, pose in environment.workcell.object_poses().items():
            assert math.dist(pose.position_m, arrangement.objects[name].position_m) < 0.003, (seed, name)


@pytest.mark.parametrize("task", TASK_NAMES)
def test_an_episode_does_not_depend_on_those_before_it(environment, task):
    environment.task = TASKS[task]
    for seed in (1, 2):
        play(environment, seed, Mixture())
    after = play(environment, 5, Mixture())
    with Environment(TASKS[task]) as fresh:
        alone = play(fresh, 5, Mixture())
    assert after.info == alone.info
    assert after.images.tobytes() == alone.images.tobytes() and after.actions.tobytes() == alone.actions.tobytes()


# -- stacking -------------------------------------------------------------------------------------------------------


def test_only_a_block_that_rests_on_the_other_is_stacked(environment):
    tolerance, top, base = TASKS["stacking"].tolerance_m, goal_of("stacking", BLOCK), goal_of("stacking", BASE)
    assert settled(environment, "stacking", {BLOCK: shifted(top, 0.015)}) <= tolerance
    assert settled(environment, "stacking", {BLOCK: shifted(top, 0.032)}) > tolerance  # falls off
    beside = shifted(base, BLOCK_SIZE_M + 0.001)
    assert settled(environment, "stacking", {BLOCK: beside}) > tolerance
    assert settled(environment, "stacking", {BLOCK: base, BASE: upright(top.position_m, base.yaw_rad)}) > tolerance


def test_the_block_is_stacked_wherever_the_other_is(environment):
    top, base = goal_of("stacking", BLOCK), goal_of("stacking", BASE)
    shift = (0.56 - base.position_m[0], -0.3 * base.position_m[1], 0.0)
    moved = {BLOCK: upright(np.add(top.position_m, shift)), BASE: upright(np.add(base.position_m, shift))}
    assert settled(environment, "stacking", moved) < 0.005


def test_a_block_in_the_hand_is_not_stacked(environment):
    top = goal_of("stacking", BLOCK)
    assert settled(environment, "stacking", {}, end_effector=tool_down(top.position_m, top.yaw_rad), **SQUEEZED) > 0.05


def test_the_expert_undoes_a_stack_that_is_the_wrong_way_round(environment):
    task, base, top = TASKS["stacking"], goal_of("stacking", BASE), goal_of("stacking", BLOCK)
    settled(environment, "stacking", {BLOCK: base, BASE: upright(top.position_m, base.yaw_rad)})
    for _ in range(30):
        action = task.act(environment.scene())
        environment.step(action)
        if action.terminate:
            break
    assert environment.outcome().reached


# -- fixture placing ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("x, y, yaw", [(0.0, 0.0, 0.0), (0.004, -0.003, 0.0), (0.0, 0.0, 0.1)])
def test_a_block_between_the_walls_is_placed(environment, x, y, yaw):
    goal = goal_of("fixture_placing", BLOCK)
    for tilt in (0, math.pi / 2):  # a cube fits in any of four ways
        assert settled(environment, "fixture_placing", {BLOCK: shifted(goal, x, y, 0.002, yaw + tilt)}) <= 0.01


@pytest.mark.parametrize(
    "x, y, yaw", [(0.012, 0, 0), (0.02, 0.02, 0), (0.04, 0, 0), (0, 0, 0.4), (0, 0, math.pi / 4), (0.08, 0, 0)]
)
def test_a_block_on_or_beside_the_walls_is_not_placed(environment, x, y, yaw):
    above = shifted(goal_of("fixture_placing", BLOCK), x, y, find_model(FIXTURE).height_m + 0.001, yaw)
    assert settled(environment, "fixture_placing", {BLOCK: above}) > 0.0125


def test_a_block_in_the_hand_is_not_placed(environment):
    goal = goal_of("fixture_placing", BLOCK)
    tool = tool_down(np.add(goal.position_m, (0, 0, 0.017)), goal.yaw_rad)
    assert settled(environment, "fixture_placing", {}, end_effector=tool, **SQUEEZED) > 0.05


def test_the_walls_hold_off_a_block_that_is_pushed_from_the_side(environment):
    fixtures = {seed: goal_of("fixture_placing", FIXTURE, seed).position_m for seed in range(40)}
    for seed, (x, y, _) in fixtures.items():
        if not (0.47 < x < 0.65 and abs(y) < 0.05):
            continue  # no room to push from
        block, behind = upright((x, y + 0.1, layout.BLOCK_REST_M)), tool_down((x, y + 0.17, LOWEST_M))
        settled(environment, "fixture_placing", {BLOCK: block}, seed, end_effector=behind, gripper_opening=0.0)
        for _ in range(4):
            environment.step(CartesianAction((0.0, -0.04, 0.0), gripper=Gripper.CLOSE))
            assert environment.outcome().distance_m > 0.02, seed
        assert environment.workcell.object_poses()[FIXTURE].position_m == pytest.approx((x, y, 0.0), abs=1e-6)


# -- rearrangement --------------------------------------------------------------------------------------------------


def test_rearrangements_move_one_or_two_objects_to_free_places():
    kinds = set()
    for seed in range(200):
        scenario = draw_scenario(TASKS["rearrangement"], seed)
        start, goal = scenario.start.objects, scenario.goal.objects
        moved = [name for name in start if start[name] != goal[name]]
        kinds.add((len(start), len(moved)))
        assert set(scenario.wanted) == set(start) == set(goal)
        for name in moved:
            assert math.dist(start[name].position_m, goal[name].position_m) >= 0.11
        for a, b in itertools.permutations(start, 2):
            assert math.dist(start[a].position_m[:2], goal[b].position_m[:2]) > 0.1, seed
            assert math.dist(goal[a].position_m[:2], goal[b].position_m[:2]) > 0.1, seed
    assert kinds == {(1, 1), (2, 1), (2, 2), (3, 1), (3, 2)}


def test_one_of_two_objects_in_its_place_is_not_enough(environment):
    task = TASKS["rearrangement"]
    for seed in range(200):
        scenario = draw_scenario(task, seed)
        moved = [n for n in scenario.wanted if scenario.start.objects[n] != scenario.goal.objects[n]]
        if len(moved) == 2:
            break
    for name in moved:
        assert settled(environment, "rearrangement", {name: scenario.start.objects[name]}, seed) > 0.1
    near = {name: shifted(scenario.goal.objects[name], 0.03, 0.03) for name in moved}
    assert settled(environment, "rearrangement", near, seed) <= task.tolerance_m


def test_an_object_that_was_to_stay_has_to_stay(environment):
    task = TASKS["rearrangement"]
    for seed in range(200):
        scenario = draw_scenario(task, seed)
        still = [n for n in scenario.wanted if scenario.start.objects[n] == scenario.goal.objects[n]]
        if still:
            break
    elsewhere = shifted(scenario.goal.objects[still[0]], 0.0, 0.06)
    assert settled(environment, "rearrangement", {still[0]: elsewhere}, seed) > task.tolerance_m


# -- container placing ----------------------------------------------------------------------------------------------


def container_scene(container: str, kind: str) -> tuple[int, str]:
    """A seed of which the scene has this container, and the name of the object of this kind that belongs in."""
    for seed in range(2000):
        scenario = draw_scenario(TASKS["container_placing"], seed)
        if container in scenario.start.objects and model_name(scenario.wanted[0]) == kind:
            return seed, scenario.wanted[0]
    raise AssertionError(f"no scene with {container} and {kind}")


@pytest.mark.parametrize("kind", [BLOCK, "box", "apple", "lemon", "cup", "can"])
@pytest.mark.parametrize("container", ["plate", "bowl"])
def test_what_is_let_go_in_a_container_stays_in_it(environment, container, kind):
    seed, name = container_scene(container, kind)
    goal = goal_of("container_placing", name, seed)
    for x, y in ((0.0, 0.0), (0.02, 0.0), (-0.01, 0.018)):
        dropped = {name: shifted(goal, x, y, 0.01)}
        assert settled(environment, "container_placing", dropped, seed) <= TASKS["container_placing"].tolerance_m


@pytest.mark.parametrize("kind", [BLOCK, "cup", "can"])
@pytest.mark.parametrize("container", ["plate", "bowl"])
def test_what_lies_on_the_rim_or_beside_is_not_in_the_container(environment, container, kind):
    seed, name = container_scene(container, kind)
    middle, model, rim = goal_of("container_placing", container, seed), find_model(name), find_model(container)
    on_rim = np.add(middle.position_m, (0, rim.radius_m - 0.008, rim.height_m + model.rest_m + 0.001))
    assert settled(environment, "container_placing", {name: upright(on_rim)}, seed) > 0.055
    beside = np.add(middle.position_m, (0, rim.radius_m + model.radius_m + 0.005, model.rest_m))
    assert settled(environment, "container_placing", {name: upright(beside)}, seed) > 0.055


def test_an_object_in_the_hand_is_not_in_the_container_yet(environment):
    seed, name = container_scene("bowl", BLOCK)
    goal = goal_of("container_placing", name, seed)
    tool = tool_down(np.add(goal.position_m, (0, 0, 0.001)), goal.yaw_rad)
    assert settled(environment, "container_placing", {}, seed, end_effector=tool, **SQUEEZED) > 0.055


def test_containers_hold_at_most_one_object_of_four():
    for seed in range(200):
        scenario = draw_scenario(TASKS["container_placing"], seed)
        assert 2 <= len(scenario.start.objects) <= 4
        assert sum(name in ("plate", "bowl") for name in scenario.start.objects) == 1
        moved = [n for n in scenario.start.objects if scenario.start.objects[n] != scenario.goal.objects[n]]
        assert tuple(moved) == scenario.wanted and moved[0] not in ("plate", "bowl")
