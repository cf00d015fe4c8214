"""am-ros improve: bags that say what was done, the same ones however often it is killed, and refusals in a sentence."""

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from conftest import wait_until

from am_ros.action import TERMINATE, ActionSpace, CartesianAction
from am_ros.bags.episodes import read_episode
from am_ros.bags.finder import find_bags
from am_ros.bags.verify import verify
from am_ros.cli import main
from am_ros.configuration import from_dict
from am_ros.episode import Outcome
from am_ros.errors import AmRosError
from am_ros.evaluation.online.loop import improve
from am_ros.evaluation.online.plan import LoopConfig, Plan
from am_ros.evaluation.policy_episodes import Exploration, Explorer, PolicyRound, collect_round, play
from am_ros.learning import checkpoint
from am_ros.learning.networks import NetworkConfig, make_network
from am_ros.learning.policy import Decision
from am_ros.learning.recipes import find_recipe
from am_ros.learning.trainer_config import LearnerConfig, TrainerConfig
from am_ros.replay.store import ReplayStore
from am_ros.sim.camera import CameraConfig
from am_ros.sim.collect import Collection, collect
from am_ros.sim.environment import Environment
from am_ros.sim.episodes import as_episode, fixed_noise
from am_ros.sim.tasks import TASKS
from am_ros.sim.workcell import SimConfig

NETWORK = {"image_size": 32, "width": 16, "channels": 4}
SIM = SimConfig(variety=0.0, camera=CameraConfig(image_size=32))
FLAGS = ("--image-size", 32, "--width", 16, "--channels", 4, "--batch-size", 8, "--rounds", 2, "--episodes", 3,
         "--updates", 4, "--trials", 2)  # fmt: skip


def save(folder, space=None, **network):
    """A checkpoint of an untrained network."""
    config = {**NETWORK, **network}
    meta = {
        "update": 5, "image_size": config["image_size"], "config": {"network": config},
        "action_space": space or {"max_translation_m": [0.08] * 3, "max_rotation_rad": 0.5},
    }  # fmt: skip
    model = make_network(from_dict(NetworkConfig, config)).state_dict()
    return checkpoint.save(folder, meta, {"model": model})


def small(recipe) -> LearnerConfig:
    found = find_recipe(recipe)
    network = NetworkConfig(**NETWORK, behaviour_prior=found.network.behaviour_prior)
    return LearnerConfig(network, found.method, found.goals, TrainerConfig(batch_size=8), found.acting)


def arguments_for(out, *more):
    return ["improve", "--out", str(out), *map(str, (*FLAGS, *more))]


def run(out, *more) -> int:
    return main(arguments_for(out, *more))


def content(out):
    return {path.relative_to(out): path.read_bytes() for path in sorted((out / "bags").rglob("*.mcap"))}


def ledger(out):
    return json.loads((out / "improvement.json").read_text(), parse_constant=lambda word: pytest.fail(word))


class Doing:
    """In place of a policy's actor in an Explorer: the expert, or always the same."""

    def __init__(self, explorer, action=None):
        self.begin, self.policy, self._action = explorer._actor.begin, explorer._actor.policy, action

    def decide(self, seen, goal_image, environment):
        return Decision(self._action or environment.task.act(environment.scene()), 0.5, 1.0)


@pytest.fixture
def explorer(tmp_path):
    """A function: an explorer with so much exploration, whose policy is replaced by `Doing`."""

    def make(action=None, **exploration):
        made = Explorer(save(tmp_path / "policy"), Exploration(**exploration))
        made._actor = Doing(made, action)
        return made

    return make


def test_an_episode_ends_with_its_reward(explorer):
    expert = explorer(exploration=0.0, noise_std=0.0)
    with Environment(TASKS["grasp_bottle"], SIM) as environment:
        episodes = [as_episode(play(environment, expert, seed, f"e{seed}")) for seed in range(4)]
    reached = [e for e in episodes if e.info.reason == "reached"]
    assert len(reached) >= 3
    for episode in reached:
        assert episode.info.outcome == Outcome.SUCCESS and episode.info.source == "policy"
        assert episode.actions[-1, TERMINATE] == 1 and not episode.actions[:-1, TERMINATE].any()


def test_a_policy_that_terminates_short_of_the_goal_has_failed(explorer):
    early = explorer(CartesianAction(terminate=True), exploration=0.0)
    with Environment(TASKS["reach"], SIM) as environment:
        episode = as_episode(play(environment, early, 0, "early"))
    assert (episode.info.outcome, episode.info.reason, len(episode)) == (Outcome.FAILURE, "terminated", 1)


def test_half_of_the_episodes_cannot_terminate(explorer):
    one = explorer()
    with Environment(TASKS["reach"], SIM) as environment:
        can = []
        for seed in range(200):
            one.begin(environment, seed)
            can.append(one._actor.policy.cem.terminate)
    assert 70 < sum(can) < 130


def test_exploration_is_what_was_asked_for(explorer):
    def actions(**exploration):
        one = explorer(CartesianAction((0.04, 0, 0)), **exploration)
        with Environment(TASKS["reach"], SIM) as environment:
            seen = environment.reset(0)
            one.begin(environment, 0)
            found = [one.act(seen, seen.image, environment) for _ in range(300)]
            return np.array([a.translation_m[0] for a in found]), [a.gripper for a in found], one.random_steps

    still, _, none = actions(exploration=0.0, noise_std=0.0)
    noisy, _, _ = actions(exploration=0.0, noise_std=0.1)
    wild, grippers, share = actions(exploration=0.5, noise_std=0.0)
    assert none == 0 and np.allclose(still, 0.04)
    assert noisy.mean() == pytest.approx(0.04, abs=0.002) and noisy.std() == pytest.approx(0.008, rel=0.2)
    assert 120 < share < 180 and (wild != np.float32(0.04)).sum() >= share and len(set(grippers)) == 2


def test_two_rounds_collect_learn_and_judge(tmp_path, capsys):
    out = tmp_path / "out"
    assert run(out, "--task", "reach", "--recipe", "default") == 0
    said = capsys.readouterr()
    assert "round 2/2: 3/3 episodes" in said.err and "0 s left" in said.err and "collecting" in said.out
    bags = find_bags(out / "bags")
    assert [b.parent.name for b in bags] == ["round_000"] * 3 + ["round_001"] * 3
    assert all(not verify(b, ActionSpace()).problems for b in bags)
    episodes = [read_episode(b, ActionSpace()) for b in bags]
    assert [e.info.seed for e in episodes] == list(range(6)) and {e.info.source for e in episodes} == {"policy"}
    assert len(ReplayStore.open(out / "replay").episodes) == 6
    rounds = ledger(out)["rounds"]
    assert [(r["episodes_before"], r["update"]) for r in rounds] == [(0, 0), (3, 4), (6, 8)]
    assert [r["evaluation"]["trials"] for r in rounds] == [2, 2, 2] and "collection" not in rounds[2]
    assert all(r["collection"]["episodes"] == 3 for r in rounds[:2])
    assert (out / "improvement.png").stat().st_size > 5000
    # Once more: nothing is left to do. With a further round: only that one is done.
    before = content(out)
    assert run(out, "--task", "reach", "--recipe", "default", "--rounds", 3) == 0
    after = content(out)
    assert len(after) == 9 and before.items() <= after.items() and ledger(out)["rounds"][:2] == rounds[:2]


@pytest.mark.slow
def test_a_run_that_is_killed_in_a_round_goes_on_as_if_it_were_not(tmp_path):
    arguments = ("--task", "reach", "--recipe", "default", "--episodes", 8)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert run(whole, *arguments) == 0
    for number, bags in ((signal.SIGKILL, 3), (signal.SIGINT, 10)):  # in the first round, in the second
        command = [sys.executable, "-m", "am_ros.cli", *arguments_for(cut, *arguments)]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        wait_until(lambda n=bags: len(list((cut / "bags").glob("*/*/metadata.yaml"))) >= n, 150, "bags")
        os.kill(process.pid, number)
        said = process.communicate(timeout=120)[1]
        if number == signal.SIGINT and process.returncode == 0:
            pytest.skip("it was done before the signal came")
        assert process.returncode == (130 if number == signal.SIGINT else -number) and "Traceback" not in said
    assert run(cut, *arguments) == 0
    assert content(cut) == content(whole) and len(content(whole)) == 16

    def figures(out):
        return [(r["update"], r["evaluation"], r.get("collection", {}).get("ends")) for r in ledger(out)["rounds"]]

    assert figures(cut) == figures(whole)


def test_workers_collect_what_one_process_collects(tmp_path):
    policy = save(tmp_path / "policy")
    for workers in (1, 2):
        what = PolicyRound("reach", policy, "its sha256", Exploration(), SIM, tmp_path / str(workers) / "bags", 7)
        facts = list(collect_round(what, 3, workers))
        assert {f.digest for f in facts} == {f.digest for f in collect_round(what, 3)}  # now they are there
    assert content(tmp_path / "1") == content(tmp_path / "2")


@pytest.mark.slow
def test_an_interrupt_while_it_learns_loses_nothing(tmp_path):
    def plan():
        return Plan("reach", small("default"), LoopConfig(rounds=1, episodes=1, updates=600, trials=1))

    def interrupt(status):
        if status.unit == "updates" and status.done < status.total:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        improve(plan(), tmp_path / "cut", on_status=interrupt)
    assert 0 < checkpoint.load(tmp_path / "cut" / "checkpoint").meta["update"] < 600
    for name in ("cut", "whole"):
        improve(plan(), tmp_path / name)
    cut, whole = (checkpoint.load(tmp_path / name / "policies" / "001").meta for name in ("cut", "whole"))
    assert cut["update"] == 600 and cut["files"] == whole["files"]


def test_two_runs_in_one_folder_exclude_each_other(tmp_path):
    plan = Plan("reach", small("default"), LoopConfig(rounds=1, episodes=1, updates=1, trials=1))

    def again(_status):
        with pytest.raises(AmRosError, match="another process is at work in it"):
            improve(plan, tmp_path)

    improve(plan, tmp_path, on_status=again)


def test_a_reward_is_learned_from_given_bags_and_own_episodes(tmp_path):
    given = Collection(("grasp_bottle",), 3, tmp_path / "given", mixture=fixed_noise(0.0), sim=SIM)
    assert collect(given)["tasks"]["grasp_bottle"]["successes"]
    start = save(tmp_path / "start", behaviour_prior=True)
    out = tmp_path / "out"
    assert run(out, tmp_path / "given", "--task", "grasp_bottle", "--start-from", start, "--first-updates", 3,
                        "--recipe", "qt_opt_auxiliary") == 0  # fmt: skip
    assert [r["update"] for r in ledger(out)["rounds"]] == [3, 7, 11]
    assert len(ReplayStore.open(out / "replay").episodes) == 3 + 6
    assert checkpoint.load(out / "checkpoint").meta["config"]["goals"]["reward_task"] == "grasp_bottle"


def test_without_any_reward_it_goes_on_collecting(tmp_path):
    said = []
    plan = Plan("grasp_milk", small("qt_opt"), LoopConfig(rounds=1, episodes=1, updates=3, trials=1))
    rounds = improve(plan, tmp_path, say=said.append)
    assert [r["update"] for r in rounds] == [0, 0] and "no success of grasp_milk to learn from yet" in said[0]
    # Weights that learned nothing want nothing: the first episode of a run from nothing is random.
    info = read_episode(find_bags(tmp_path / "bags")[0], ActionSpace()).info
    assert info.extra["random_steps"] == str(TASKS["grasp_milk"].max_steps)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--task", "juggle"), "task 'juggle': use one of reach, "),
        (("--task", "reach", "--rounds", 0), "parameter rounds: 0 is outside 1 ... 10000"),
        (("--task", "reach", "--exploration", 2), "parameter exploration: 2.0 is outside 0 ... 1"),
        (("--task", "reach", "--workers", 0), "parameter workers: 0 is outside"),
        (("--task", "reach", "--gamma", 2), "parameter gamma: 2.0 is outside"),
        (("--task", "reach", "--image-size", 8), "parameter image_size: 8 is outside"),
        (("--task", "reach", "--preset", "state"), "parameter preset: state takes vectors"),
        (("--task", "reach", "--recipe", "guess"), "recipe 'guess': use one of default, "),
        (("--task", "reach", "--recipe", "qt_opt"), "parameter recipe: qt_opt learns without goal image"),
        (("--task", "grasp_milk", "--recipe", "best"), "parameter recipe: task grasp_milk shows no goal image"),
        (("--task", "reach", "--start-from", "/nowhere"), "parameter start_from: /nowhere: is not a checkpoint"),
        (("/nowhere", "--task", "reach"), "bag folder /nowhere: is not a folder"),
        (("--task", "grasp_milk", "--rounds", 9999, "--episodes", 9999), "parameters rounds and episodes: together"),
    ],
)
def test_bad_input_is_one_sentence_and_nothing_is_written(tmp_path, capsys, arguments, sentence):
    out = tmp_path / "out"
    assert main(["improve", "--out", str(out), *map(str, arguments)]) == 2
    said = capsys.readouterr().err.strip()
    assert sentence in said and "\n" not in said and not out.exists()


def test_a_checkpoint_that_does_not_fit_is_refused(tmp_path, capsys):
    def refuse(start, *arguments):
        assert main(["improve", "--out", str(tmp_path / "out"), "--task", "reach", "--start-from", str(start),
                     *map(str, arguments)]) == 2  # fmt: skip
        said = capsys.readouterr().err.strip()
        assert "\n" not in said and not (tmp_path / "out").exists()
        return said

    start = save(tmp_path / "start")
    assert "parameter image_size: 64, but the network of" in refuse(start, "--image-size", 64)
    other = save(tmp_path / "other", {"max_translation_m": [0.08] * 3, "max_rotation_rad": 1.0})
    assert "parameter start_from: " in (said := refuse(other)) and "its actions reach" in said
    (start / "model.safetensors").write_bytes(b"no")
    assert "parameter start_from: " in (said := refuse(start)) and "is damaged" in said


def test_a_folder_of_another_plan_is_refused(tmp_path, capsys):
    arguments = ("--task", "grasp_milk", "--rounds", 1, "--episodes", 1, "--trials", 1)
    assert run(tmp_path, *arguments) == 0
    capsys.readouterr()
    assert run(tmp_path, *arguments, "--exploration", 0.5, "--gamma", 0.9) == 2
    assert "improvement.json: was begun with another exploration, gamma; choose" in capsys.readouterr().err


def test_first_updates_need_something_to_learn_from(tmp_path, capsys):
    assert run(tmp_path, "--task", "grasp_milk", "--first-updates", 5) == 2
    assert "parameter first_updates: the given bags hold no episode" in capsys.readouterr().err
