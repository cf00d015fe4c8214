"""Several processes that share a batch learn what one process with the whole batch does."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from learning_data import random_episodes

from am_ros.action import ActionSpace
from am_ros.errors import AmRosError
from am_ros.learning import checkpoint, draws, reporter
from am_ros.learning.cem import CemConfig, uniform_actions
from am_ros.learning.draws import Share
from am_ros.learning.group import Group
from am_ros.learning.methods import MethodConfig
from am_ros.learning.methods.actionable_models import negative_actions
from am_ros.learning.networks import NetworkConfig, make_network
from am_ros.learning.parallel import train
from am_ros.learning.trainer_config import LearnerConfig, TrainerConfig
from am_ros.replay.sampling import GoalConfig, Sampler
from am_ros.replay.store import ReplayStore

UPDATES, BATCH = 6, 16
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    store = ReplayStore.create(tmp_path_factory.mktemp("parallel") / "replay", (16, 16))
    store.append(random_episodes(8, steps=5, size=16))
    return store


def _config(processes=1, batch_size=BATCH):
    return LearnerConfig(
        network=NetworkConfig(image_size=16, width=16, channels=4),
        method=MethodConfig(negatives=8, flipped_share=0.25, target_cem=CemConfig(samples=4, iterations=2)),
        goals=GoalConfig(random_share=0.3, random_shift_px=2),
        trainer=TrainerConfig(updates=UPDATES, batch_size=batch_size, processes=processes, precision="fp32"),
    )


@pytest.fixture(scope="module", autouse=True)
def one_report_at_the_end():
    """The last figures are then means over all updates, however long the machine takes for one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reporter, "EVERY_S", 1e9)
        yield


@pytest.fixture(scope="module")
def alone(store, tmp_path_factory):
    """What one process makes of the whole batch: the folder, and the last figures of its log."""
    out = tmp_path_factory.mktemp("alone")
    return out, train(_config(), store.folder, out, ActionSpace(), lambda p: None).metrics


def _assert_same_training(out, alone):
    ours, theirs = (checkpoint.load(folder / "checkpoint", "learner").tensors["learner"] for folder in (out, alone))
    torch.manual_seed(0)
    start = make_network(_config().network).state_dict()
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name], rtol=1e-4, atol=2e-6)
    moved = sum((theirs[name] - start[name]).norm().item() for name in start)
    apart = sum((theirs[name] - ours[name]).norm().item() for name in start)
    assert apart < 1e-3 * moved


def test_two_processes_see_the_items_and_the_candidates_of_one(store):
    whole = Sampler(store, GoalConfig(), BATCH, seed=0).batch(3)
    halves = [Sampler(store, GoalConfig(), BATCH, 0, rank, 2).batch(3) for rank in range(2)]
    for rank, half in enumerate(halves):
        np.testing.assert_array_equal(half.goal_image, whole.goal_image[rank::2])
        np.testing.assert_array_equal(half.action, whole.action[rank::2])

    def generator():
        return torch.Generator().manual_seed(5)

    seen, config = torch.from_numpy(whole.action), MethodConfig(flipped_share=0.25)
    candidates, far = negative_actions(seen, config, generator())
    for rank in range(2):
        part, part_far = negative_actions(seen[rank::2], config, Share(generator(), rank, 2))
        assert torch.equal(part, candidates[rank::2]) and torch.equal(part_far, far[rank::2])
        assert torch.equal(
            uniform_actions(8, 5, None, Share(generator(), rank, 2)),
            uniform_actions(16, 5, None, generator())[rank::2],
        )


def test_three_processes_share_a_batch_that_three_does_not_divide(store):
    whole = Sampler(store, GoalConfig(), BATCH, seed=0).batch(3)
    drawn = uniform_actions(BATCH, 5, None, torch.Generator().manual_seed(5))
    for rank in range(3):
        third = Sampler(store, GoalConfig(), BATCH, 0, rank, 3).batch(3)
        np.testing.assert_array_equal(third.goal_image, whole.goal_image[rank::3])
        share = Share(torch.Generator().manual_seed(5), rank, 3, BATCH)
        assert torch.equal(uniform_actions(len(third), 5, None, share), drawn[rank::3])
    with pytest.raises(AmRosError, match="2 items are too few for 3 processes"):
        Sampler(store, GoalConfig(), 2, 0, 0, 3)


def test_items_of_own_data_weigh_so_that_every_transition_counts_alike(store):
    class Gathered(Group):
        def __init__(self, rank, data):
            self.rank, self.size, self._data = rank, len(data), data

        def _gathered(self, numbers):
            return [[hash(name), count] for name, count in self._data]

    def weights(*data):
        return [Gathered(rank, data).data_weight(*own) for rank, own in enumerate(data)]

    assert weights(("a", 300), ("b", 100)) == [1.5, 0.5]
    assert weights(("a", 300), ("a", 300), ("b", 300)) == [0.75, 0.75, 1.5]  # two processes of one machine
    assert weights(("a", 7), ("a", 7)) == [1.0, 1.0]
    one, other = (Sampler(store, GoalConfig(), 8, 0, stream=stream).batch(0) for stream in range(2))
    np.testing.assert_array_equal(one.action, Sampler(store, GoalConfig(), 8, 0).batch(0).action)
    assert not np.array_equal(one.action, other.action)


def test_choices_are_drawn_as_often_as_their_probabilities_say():
    probabilities = torch.tensor([[0.2, 0.5, 0.3], [0.0, 1.0, 0.0], [0.7, 0.3, 0.0]])
    choice = draws.categorical(probabilities, 20_000, torch.Generator().manual_seed(0))
    shares = torch.stack([(choice == k).float().mean(dim=1) for k in range(3)], dim=1)
    torch.testing.assert_close(shares, probabilities, rtol=0, atol=0.02)
    assert (shares[probabilities == 0] == 0).all()


def test_two_processes_learn_what_one_does(store, alone, tmp_path):
    progress = train(_config(2), store.folder, tmp_path, ActionSpace(), lambda p: None)
    assert progress.update == UPDATES
    _assert_same_training(tmp_path, alone[0])
    # The figures of the log are means over both. Those of hindsight items alone weigh the halves alike.
    for name in ("loss", "loss_positive", "loss_negative", "loss_prior", "target", "q_unseen"):
        assert progress.metrics[name] == pytest.approx(alone[1][name], rel=1e-4), name


@pytest.mark.slow
@pytest.mark.parametrize("compression", ["none", "bf16"])
def test_three_processes_learn_what_one_does(store, alone, tmp_path, compression):
    config = replace(_config(3), trainer=replace(_config(3).trainer, gradient_compression=compression))
    progress = train(config, store.folder, tmp_path, ActionSpace(), lambda p: None)
    assert progress.update == UPDATES
    if compression == "none":
        _assert_same_training(tmp_path, alone[0])
    assert progress.metrics["loss"] == pytest.approx(alone[1]["loss"], rel=1e-2)


@pytest.mark.slow
def test_two_processes_learn_from_data_of_their_own(store, tmp_path):
    """Under torchrun, each reads the store that its rank names; what is saved goes on."""
    other = ReplayStore.create(tmp_path / "replay_1", (16, 16))
    other.append(random_episodes(12, steps=4, size=16)[8:])
    os.symlink(store.folder, tmp_path / "replay_0")
    script = tmp_path / "own.py"
    script.write_text(
        "import os, sys\nfrom am_ros import cli\n"
        "sys.exit(cli.main([*sys.argv[1:], '--replay', sys.argv[-1] + '/replay_' + os.environ['RANK']]))\n"
    )
    learner = ["--image-size", "16", "--width", "16", "--channels", "4", "--updates", str(UPDATES), "--out", tmp_path]
    done = _run("--nproc-per-node=2", script, "train", "--own-data", "true", *learner)
    assert done.returncode == 0, done.stderr
    assert checkpoint.load(tmp_path / "checkpoint").meta["update"] == UPDATES


def _torchrun(*arguments, processes=2):
    """`torchrun ... -m am_ros.cli train ...` as a user types it."""
    network = ["--image-size", "16", "--width", "16", "--channels", "4"]
    learner = ["--negatives", "8", "--updates", str(UPDATES), "--batch-size", str(BATCH), "--precision", "fp32"]
    return _run(f"--nproc-per-node={processes}", "-m", "am_ros.cli", "train", *network, *learner, *arguments)


def _run(*arguments):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", *map(str, arguments)]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, env=env)


@pytest.mark.slow
def test_torchrun_trains_one_model_with_two_processes(store, tmp_path):
    config = LearnerConfig(
        network=_config().network, method=MethodConfig(negatives=8), trainer=_config().trainer
    )  # fmt: skip
    train(config, store.folder, tmp_path / "alone", ActionSpace(), lambda p: None)
    (tmp_path / "two").mkdir()
    os.symlink(store.folder, tmp_path / "two" / "replay")
    done = _torchrun("--out", tmp_path / "two", "--json", tmp_path / "two.json")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "two.json").read_text())["update"] == UPDATES
    assert done.stderr.count("checkpoint: ") == 1  # the first process alone reports
    _assert_same_training(tmp_path / "two", tmp_path / "alone")


def test_torchrun_with_another_number_of_processes_is_refused_in_one_sentence(store, tmp_path):
    os.symlink(store.folder, tmp_path / "replay")
    done = _torchrun("--out", tmp_path, "--processes", "3", processes=1)
    assert done.returncode != 0 and "parameter processes: 3, but torchrun started 1" in done.stderr
