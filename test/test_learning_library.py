"""The learner as a library: plain arrays in, a policy out, without ROS, bags and simulator."""

import runpy
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from am_ros import cli
from am_ros.action import ACTION_DIM, OPEN
from am_ros.episode import Outcome
from am_ros.errors import AmRosError
from am_ros.learning.cem import uniform_actions
from am_ros.learning.methods import MethodConfig
from am_ros.learning.networks import NetworkConfig, make_network
from am_ros.learning.policy import Policy
from am_ros.learning.trainer import Trainer
from am_ros.learning.trainer_config import LearnerConfig, TrainerConfig
from am_ros.replay.sampling import GoalConfig, Sampler
from am_ros.replay.store import ReplayStore

ROOT = Path(__file__).parents[1]
STATE = NetworkConfig(preset="state", observation_size=3, displacements=2, width=16)


def _arrays(episodes=10, steps=4, size=3, displacements=2):
    rng = np.random.default_rng(0)
    rows = episodes * (steps + 1)
    ends = np.arange(rows) % (steps + 1) == steps
    return rng.normal(50, 10, (rows, size)), rng.uniform(-1, 1, (rows, displacements)), ends


def _config(network=STATE, updates=10):
    return LearnerConfig(
        network=network,
        method=MethodConfig(negatives=4),
        trainer=TrainerConfig(updates=updates, batch_size=16, precision="fp32"),
    )


def test_a_store_from_arrays_holds_what_the_arrays_held(tmp_path):
    observations, actions, ends = _arrays()
    store = ReplayStore.from_arrays(tmp_path / "s", observations, actions, ends, outcomes=[True] * 3 + [False] * 7)
    assert len(store.episodes) == 10 and len(store) == 40 and store.observation_shape == (3,)
    again = ReplayStore.open(tmp_path / "s")
    np.testing.assert_array_equal(again.observations, observations.astype(np.float32))
    np.testing.assert_array_equal(again.actions[~ends, :2], actions[~ends].astype(np.float32))
    assert (again.actions[ends] == 0).all() and (again.states == 0).all()
    assert [e["outcome"] for e in again.episodes] == [Outcome.SUCCESS] * 3 + [Outcome.FAILURE] * 7
    assert again.data_hash == store.data_hash


def test_images_as_arrays_make_the_store_that_bags_make(tmp_path):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (12, 16, 16, 3), dtype=np.uint8)
    ends = np.arange(12) % 6 == 5
    states = rng.normal(size=(12, 2))
    store = ReplayStore.from_arrays(tmp_path / "s", images, rng.uniform(-1, 1, (12, 4)), ends, states=states)
    assert store.image_size == (16, 16) and store.action_dim == ACTION_DIM
    assert (store.actions[~ends, OPEN] == 1).all()
    np.testing.assert_allclose(store.states[:, :2], states, rtol=1e-6)
    network = NetworkConfig(image_size=16, width=16, channels=4)
    Trainer(_config(network), tmp_path / "out").fit(ReplayStore.open_or_create(tmp_path / "s", (16, 16)))
    assert Policy.load(tmp_path / "out" / "checkpoint")(images[0], images[5]).shape == (4,)


@pytest.mark.parametrize(("name", "change"), [
    ("observations", lambda o, a, e: (o[:, :, None], a, e)),
    ("observations: images must be uint8", lambda o, a, e: (np.zeros((50, 8, 8, 3)), a, e)),
    ("observations: a number is not finite", lambda o, a, e: (np.where(o > 60, np.nan, o), a, e)),
    ("actions", lambda o, a, e: (o, a[:-1], e)),
    ("actions: must lie within", lambda o, a, e: (o, 3 * a, e)),
    ("actions: must lie within", lambda o, a, e: (o, np.where(a > 0.5, np.nan, a), e)),
    ("episode_ends: has shape", lambda o, a, e: (o, a, e[:-1])),
    ("episode_ends: the last row", lambda o, a, e: (o, a, np.roll(e, 1))),
    ("episode_ends: episode 1 has one observation", lambda o, a, e: (o, a, e | (np.arange(50) == 5))),
])  # fmt: skip
def test_arrays_that_do_not_fit_are_refused_by_name_and_leave_nothing(tmp_path, name, change):
    with pytest.raises(AmRosError, match=name):
        ReplayStore.from_arrays(tmp_path / "s", *change(*_arrays()))
    assert not (tmp_path / "s").exists()


def test_a_training_on_vectors_resumes_exactly_and_knows_their_scale(tmp_path):
    store = ReplayStore.from_arrays(tmp_path / "s", *_arrays())
    whole = Trainer(_config(), tmp_path / "whole")
    whole.fit(store)
    Trainer(_config(), tmp_path / "parts").fit(store, until_update=4)
    resumed = Trainer(_config(), tmp_path / "parts")
    resumed.fit(store)
    for ours, theirs in (
        (resumed.learner.network, whole.learner.network),
        (resumed.learner.target, whole.learner.target),
    ):
        assert all(torch.equal(v, theirs.state_dict()[k]) for k, v in ours.state_dict().items())
    np.testing.assert_allclose(whole.learner.target.mean, np.mean(store.observations, axis=0), rtol=1e-4)
    np.testing.assert_allclose(whole.learner.target.std, np.std(store.observations, axis=0), rtol=1e-4)


def test_a_store_that_does_not_fit_the_network_is_refused(tmp_path):
    store = ReplayStore.from_arrays(tmp_path / "s", *_arrays())
    for change, word in (({"observation_size": 5}, "observation_size"), ({"displacements": 4}, "displacements")):
        with pytest.raises(AmRosError, match=f"do not fit a network for .*set .*{word}"):
            Trainer(_config(replace(STATE, **change)), tmp_path / word).fit(store)
    with pytest.raises(AmRosError, match="observation_size: the state network needs"):
        make_network(NetworkConfig(preset="state"))


def test_the_command_line_learns_from_a_store_of_vectors(tmp_path, capsys):
    ReplayStore.from_arrays(tmp_path / "replay", *_arrays())
    network = ["--preset", "state", "--observation-size", "3", "--displacements", "2", "--width", "16"]
    command = ["train", *network, "--out", str(tmp_path), "--updates", "3", "--batch-size", "8"]
    assert cli.main(command) == 0, capsys.readouterr().err
    assert Policy.load(tmp_path / "checkpoint")([50, 50, 50], [40, 40, 40]).shape == (2,)
    assert cli.main([*command, "bags"]) == 2 and "preset state: learns from vectors" in capsys.readouterr().err
    assert cli.main(["train", "--out", str(tmp_path)]) == 2
    assert "holds vectors of 3, asked for images of (64, 64)" in capsys.readouterr().err


def test_figures_that_cannot_be_written_stop_the_training_before_it_starts(tmp_path, capsys):
    for path, sentence in ((tmp_path, "is a folder"), ("/proc/figures.json", "cannot be written")):
        assert cli.main(["train", "bags", "--out", str(tmp_path / "run"), "--json", str(path)]) == 2
        said = capsys.readouterr().err.strip()
        assert f"json {path}: {sentence}" in said and "\n" not in said
    assert not (tmp_path / "run").exists()


def test_a_policy_says_what_it_cannot_take(tmp_path):
    store = ReplayStore.from_arrays(tmp_path / "s", *_arrays())
    Trainer(_config(), tmp_path).fit(store)
    policy = Policy.load(tmp_path / "checkpoint")
    action = policy([50.0, 50, 50], store.observations[3])
    assert action.shape == (2,) and (np.abs(action) <= 1).all()
    with pytest.raises(AmRosError, match="observation: expected 3 finite numbers"):
        policy([1.0, 2], store.observations[3])
    with pytest.raises(AmRosError, match="goal: expected 3 finite numbers"):
        policy(store.observations[3], [1, 2, np.nan])


def test_q_of_many_actions_at_once_equals_q_of_each_alone_for_vectors():
    torch.manual_seed(0)
    network = make_network(STATE).eval()
    inputs, actions = (torch.randn(2, 3), torch.randn(2, 3), torch.randn(2, 6)), uniform_actions(2, 5, displacements=2)
    assert actions.shape == (2, 5, 5)
    with torch.no_grad():
        tiled = network.score(network.encode(*inputs), actions)
        alone = [network.score(network.encode(*inputs), actions[:, i : i + 1]) for i in range(5)]
    torch.testing.assert_close(torch.cat(alone, dim=1), tiled)


def test_vectors_are_not_shifted(tmp_path):
    store = ReplayStore.from_arrays(tmp_path / "s", *_arrays())
    batch = Sampler(store, GoalConfig(random_shift_px=4), 32, seed=0).batch(0)
    known = {row.tobytes() for row in store.observations}
    assert {row.tobytes() for row in np.concatenate([batch.image, batch.next_image, batch.goal_image])} <= known


@pytest.mark.slow
def test_the_example_learns_to_go_where_it_is_told():
    rates = runpy.run_path(str(ROOT / "docs" / "examples" / "point_mass.py"))["main"](300, 300, 60)
    assert rates["Q"] > rates["chance"] + 0.15 and rates["cloning"] > rates["chance"] + 0.15


def test_learning_from_arrays_needs_neither_ros_nor_bags_nor_the_simulator(tmp_path):
    code = f"""
import sys
import numpy as np
from am_ros.learning.networks import NetworkConfig
from am_ros.learning.policy import Policy
from am_ros.learning.trainer import Trainer
from am_ros.learning.trainer_config import LearnerConfig, TrainerConfig
from am_ros.replay.store import ReplayStore
store = ReplayStore.from_arrays({str(tmp_path / "s")!r}, np.eye(6), np.zeros((6, 1)), np.arange(6) == 5)
network = NetworkConfig("state", observation_size=6, displacements=1, width=8)
Trainer(LearnerConfig(network=network, trainer=TrainerConfig(updates=2, batch_size=4)), {str(tmp_path)!r}).fit(store)
Policy.load({str(tmp_path / "checkpoint")!r})(np.zeros(6), np.ones(6))
heavy = ("rclpy", "am_msgs", "mcap", "pybullet", "am_ros.bags", "am_ros.sim", "am_ros.nodes", "matplotlib", "cv2")
print([m for m in sys.modules if m.startswith(heavy)])
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0 and done.stdout.strip() == "[]", done.stdout + done.stderr


def test_no_goal_is_no_place_far_away():
    """A task reward comes with a goal of zeros: where the zero of the observations lies must not matter then."""
    observations, state = torch.from_numpy(_arrays()[0]).float(), torch.zeros(50, 6)
    seen = []
    for shift in (0.0, 1000.0):
        torch.manual_seed(0)
        network = make_network(STATE)
        network.look_at((observations + shift).numpy())
        goals = 0 * observations, 0.9 * observations
        seen.append([network.encode(observations + shift, goal, state) for goal in goals])
    (without, wanted), (without_shifted, wanted_shifted) = seen
    torch.testing.assert_close(without, without_shifted, atol=1e-3, rtol=1e-3)
    assert (wanted - without).abs().max() > 0.1 and (wanted - wanted_shifted).abs().max() > 0.1
