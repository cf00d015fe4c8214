"""Goal chaining by planning: waypoints from the replay store, Q as the distance, the shortest path to a far goal."""

import json
import math
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from learning_data import random_episodes

from am_ros.cli import main
from am_ros.errors import AmRosError
from am_ros.learning import checkpoint
from am_ros.learning.cem import CemConfig, Prior
from am_ros.learning.networks import NetworkConfig, make_network
from am_ros.learning.planning import PlanConfig, PlanningPolicy, WaypointGraph, draw_rows, plan_through, shortest_paths
from am_ros.learning.policy import Policy
from am_ros.replay.store import ReplayStore

EXAMPLES = Path(__file__).parents[1] / "docs" / "examples"
SPACE = {"max_translation_m": [0.08] * 3, "max_rotation_rad": 0.5}
GAMMA = 0.9


class Line(torch.nn.Module):
    """A network that knows it all: points of a line, steps of length 1 at most, Q = gamma^(steps left after this one).

    At the goal, and only there, it wants to terminate; what it proposes is the way to go.
    """

    config = NetworkConfig(preset="state", observation_size=1, displacements=1)

    def __init__(self):
        super().__init__()
        self.anything = torch.nn.Parameter(torch.zeros(1))  # a policy asks a network's parameters for the device

    def encode(self, observation, goal, state):
        return goal - observation

    def score(self, way, actions):
        left = (way - actions[..., 0]).abs() + 5 * actions[..., -1] * (way.abs() > 0.5)
        return torch.logit(GAMMA ** left.clamp_min(0.01))

    def prior(self, way):
        return Prior(way.clamp(-1, 1), torch.tensor([0.0, 1.0, 0.0]).expand(len(way), -1))


def line_policy(method=None, **cem) -> Policy:
    learned = {"method": {"gamma": GAMMA, **(method or {})}}
    meta = {"image_size": 64, "action_space": SPACE, "config": learned}
    return Policy(Line(), meta, CemConfig(prior_weight=0.0, prior_std=0.05, **cem))


def line_store(folder, points=range(10)) -> ReplayStore:
    """A walk along the line: one episode."""
    points = np.array(points, np.float32)[:, None]
    return ReplayStore.from_arrays(folder, points, np.ones((len(points), 1)), np.arange(len(points)) == len(points) - 1)


def test_waypoints_are_spread_over_the_episodes(tmp_path):
    ends = np.isin(np.arange(60), [2, 5, 8, 59])  # three short episodes and a long one
    store = ReplayStore.from_arrays(tmp_path, np.arange(60.0)[:, None], np.zeros((60, 1)), ends)
    rows = draw_rows(store, 8)
    assert np.bincount(np.searchsorted([2, 5, 8, 59], rows)).tolist() == [2, 2, 2, 2]
    assert (draw_rows(store, 8) == rows).all() and (draw_rows(store, 8, seed=1) != rows).any()
    assert (draw_rows(store, 1000) == np.arange(60)).all()  # takes all if there are fewer


def test_the_shortest_path_may_have_more_edges_than_the_direct_one():
    inf = math.inf
    edges = np.array([[0, 1, 5, inf], [inf, 0, 1, inf], [inf, inf, 0, 2], [inf, inf, inf, 0]])
    assert shortest_paths(edges)[0].tolist() == [0, 1, 2, 4]
    assert shortest_paths(edges)[3].tolist() == [inf, inf, inf, 0]


def test_edges_are_the_steps_that_q_says_and_long_ones_are_dropped(tmp_path):
    graph = WaypointGraph(line_policy(), line_store(tmp_path), PlanConfig(max_steps=2.5))
    apart = np.abs(np.subtract.outer(np.arange(10), np.arange(10)))
    near = (apart > 0) & (apart <= 2)
    np.testing.assert_allclose(graph.edges[near], apart[near], atol=0.1)
    assert np.isinf(graph.edges[apart > 2]).all()
    np.testing.assert_allclose(graph.between[apart > 0], apart[apart > 0], atol=0.3)


def test_without_max_steps_the_density_of_the_graph_says_how_long_an_edge_may_be(tmp_path):
    graph = WaypointGraph(line_policy(), line_store(tmp_path), PlanConfig(neighbours=4))
    assert graph.horizon == pytest.approx(2, abs=0.1)  # two on either side


def test_a_far_goal_is_reached_by_way_of_waypoints_and_only_there_the_policy_terminates(tmp_path):
    policy = plan_through(line_policy(), line_store(tmp_path).folder, PlanConfig(max_steps=2.5))
    place, goal, pursued, left = np.zeros(1), np.array([9.2]), [], []
    for _ in range(15):
        choice = policy.choose(place, goal)
        if choice.terminate:
            break
        assert 0 < choice.q_value < 1
        pursued.append(choice.waypoint)
        left.append(choice.steps_left)
        place = place + choice.vector[:1]
    assert choice.terminate and choice.waypoint is None and abs(place - goal) < 0.5
    assert pursued[0] in (1, 2) and pursued[-1] is None and len(set(pursued)) > 3
    assert left[0] == pytest.approx(9.2, abs=1) and (np.diff(left) < 0.1).all()


def test_towards_a_waypoint_terminating_is_no_candidate(tmp_path):
    graph = WaypointGraph(line_policy(), line_store(tmp_path), PlanConfig(max_steps=2.5))
    policy = PlanningPolicy(line_policy(), graph)
    asked = []
    score = policy.network.score
    policy.network.score = lambda way, actions: (asked.append(float(actions[..., -1].max())), score(way, actions))[1]
    assert policy.choose([0.0], [9.0]).waypoint is not None and max(asked) == 0
    assert policy.choose([8.6], [9.0]).waypoint is None and max(asked) == 1


def test_a_waypoint_that_does_not_come_nearer_is_given_up_until_the_next_episode(tmp_path):
    policy = plan_through(line_policy(), line_store(tmp_path).folder, PlanConfig(max_steps=2.5, patience=2))
    stuck = [policy.choose([0.4], [9.0]).waypoint for _ in range(20)]
    assert stuck[0] is not None and max(stuck.count(w) for w in stuck if w is not None) == 2 and stuck[-1] is None
    policy.reset(0)
    assert policy.choose([0.4], [9.0]).waypoint == stuck[0]


def test_without_a_path_the_policy_goes_directly(tmp_path):
    policy = plan_through(line_policy(), line_store(tmp_path).folder, PlanConfig(max_steps=2.5))
    choice = policy.choose([0.0], [40.0])
    assert choice.waypoint is None and choice.steps_left == math.inf and choice.vector[0] > 0.8
    assert policy.choose([0.0], [0.0]).waypoint is None  # zeros stand for a task reward


def network_checkpoint(folder, method="actionable_models", image_size=64):
    """A checkpoint of an untrained network."""
    torch.manual_seed(0)
    config = {"width": 16, "channels": 4, "image_size": image_size}
    network = make_network(NetworkConfig(**config))
    learned = {"network": config, "method": {"method": method}}
    meta = {"update": 5, "image_size": image_size, "action_space": SPACE, "config": learned}
    return checkpoint.save(folder, meta, {"model": network.state_dict()})


def image_store(folder, size=64) -> ReplayStore:
    store = ReplayStore.create(folder, (size, size))
    store.append(random_episodes(3, 4, size))
    return store


def test_images_are_planned_through_and_the_same_calls_give_the_same_decisions(tmp_path):
    store = image_store(tmp_path / "run" / "replay")
    policy = plan_through(Policy.load(network_checkpoint(tmp_path / "c")), tmp_path / "run", PlanConfig(8))
    assert (policy.image_size, len(policy.graph)) == (64, 8)
    (here, there), decisions = np.array(store.observations[[0, 9]]), []
    for _ in range(2):
        policy.reset(3)
        decisions.append(policy.act(here, there, store.states[0]))
    assert decisions[0].action == decisions[1].action and decisions[0].waypoint == decisions[1].waypoint
    assert decisions[0].decision_ms > 0 and policy(here, there).shape == (4,)
    with pytest.raises(AmRosError, match="goal image: is uint8"):
        policy.act(here, np.zeros((32, 32, 3), np.uint8), store.states[0])
    with pytest.raises(AmRosError, match="state: expected 6"):
        policy.act(here, there, np.zeros(3))


def test_what_cannot_be_planned_with_is_refused(tmp_path):
    with pytest.raises(AmRosError, match="holds no replay store to plan through"):
        plan_through(line_policy(), tmp_path)
    store = line_store(tmp_path / "line")
    with pytest.raises(AmRosError, match="method gcbc: has no Q"):
        WaypointGraph(line_policy({"method": "gcbc"}), store)
    with pytest.raises(AmRosError, match="waypoints: 0 is outside"):
        WaypointGraph(line_policy(), store, PlanConfig(0))
    with pytest.raises(AmRosError, match="do not fit a network for 64 px"):
        WaypointGraph(Policy.load(network_checkpoint(tmp_path / "c")), image_store(tmp_path / "small", 32))
    with pytest.raises(AmRosError, match="holds no observation"):
        WaypointGraph(Policy.load(tmp_path / "c"), ReplayStore.create(tmp_path / "empty", (64, 64)))


def test_the_command_line_plans_and_refuses_what_cannot_be(tmp_path, capsys):
    image_store(tmp_path / "run" / "replay")
    folder, figures = network_checkpoint(tmp_path / "c"), tmp_path / "figures.json"
    planned = ["evaluate", str(folder), "--task", "reach", "--trials", "1", "--plan-through", str(tmp_path / "run")]
    assert main([*planned, "--waypoints", "8", "--json", str(figures)]) == 0
    trial = json.loads(figures.read_text())["reach"]["trial_list"][0]
    assert trial["end"] in ("terminated", "step_limit") and 0 < trial["final_q"] < 1
    capsys.readouterr()
    for change, sentence in (
        (["--through-ros"], "--plan-through: needs trials without --through-ros"),
        (["--waypoints", "0"], "parameter waypoints: 0 is outside"),
        (["--plan-through", str(tmp_path)], f"{tmp_path}: holds no replay store to plan through"),
    ):
        assert main([*planned, *change]) == 2
        said = capsys.readouterr().err.strip()
        assert sentence in said and "\n" not in said
    assert main(["evaluate", "expert", "--plan-through", str(tmp_path)]) == 2
    assert "belongs to a checkpoint, not to expert" in capsys.readouterr().err


@pytest.mark.slow
def test_the_example_gets_behind_the_wall_by_planning_alone(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES)
    example = runpy.run_path(str(EXAMPLES / "planning.py"))
    rates = example["compare"](*example["learn"](tmp_path, random_share=0.3, updates=700), trials=20)
    assert rates["planning"] >= rates["plain"] + 0.2  # 50 % and 0 % as this is written
