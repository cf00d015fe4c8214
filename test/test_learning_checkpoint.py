"""Checkpoints that are cut, changed or of another kind are refused in one sentence; a kill loses nothing."""

import os
import pickle
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from learning_data import random_episodes

from am_ros.cli import main
from am_ros.errors import AmRosError
from am_ros.learning import checkpoint
from am_ros.learning.networks import NetworkConfig, make_network
from am_ros.learning.policy import Policy
from am_ros.learning.progress import Progress
from am_ros.learning.trainer import Trainer
from am_ros.learning.trainer_config import LearnerConfig
from am_ros.replay.store import ReplayStore


@pytest.fixture
def saved(tmp_path):
    """A small checkpoint with a model."""
    network = make_network(NetworkConfig(image_size=16, width=8, channels=4))
    meta = {
        "update": 7, "image_size": 16,
        "action_space": {"max_translation_m": [0.08, 0.08, 0.08], "max_rotation_rad": 0.5},
        "config": {
            "network": {"preset": "small", "image_size": 16, "width": 8, "channels": 4, "behaviour_prior": True},
        },
    }  # fmt: skip
    return checkpoint.save(tmp_path / "checkpoint", meta, {"model": network.state_dict()})


def test_what_was_saved_is_loaded_and_acts(saved):
    policy = Policy.load(saved)
    blank = np.zeros((16, 16, 3), np.uint8)
    decision = policy.act(blank, blank, np.zeros(6, np.float32))
    assert 0 < decision.q_value < 1 and policy.meta["update"] == 7


@pytest.mark.parametrize("name", ["model.safetensors", "checkpoint.json"])
def test_every_flipped_bit_is_noticed(saved, name):
    original = (saved / name).read_bytes()
    rng = np.random.default_rng(0)
    for position in rng.integers(0, len(original), 60):
        damaged = bytearray(original)
        damaged[position] ^= 1 << int(rng.integers(8))
        (saved / name).write_bytes(damaged)
        with pytest.raises(AmRosError, match=name.replace(".", "\\.")):
            Policy.load(saved)
    (saved / name).write_bytes(original)
    Policy.load(saved)


@pytest.mark.parametrize("name", ["model.safetensors", "checkpoint.json"])
def test_a_cut_file_is_refused(saved, name):
    content = (saved / name).read_bytes()
    for share in (0, 0.1, 0.5, 0.99):
        (saved / name).write_bytes(content[: int(len(content) * share)])
        with pytest.raises(AmRosError, match=name.replace(".", "\\.")):
            Policy.load(saved)


class _Malicious:
    def __reduce__(self):
        return os.system, ("touch pickle_was_executed",)


def test_a_pickle_is_refused_and_not_executed(saved, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "model.pt"
    file.write_bytes(pickle.dumps(_Malicious()))
    with pytest.raises(AmRosError, match="model.pt: is a file, but a checkpoint is a folder"):
        Policy.load(file)
    (saved / "model.safetensors").write_bytes(file.read_bytes())
    with pytest.raises(AmRosError, match="model.safetensors: is damaged"):
        Policy.load(saved)
    assert not (tmp_path / "pickle_was_executed").exists()


def test_a_folder_that_is_no_checkpoint_is_refused(tmp_path):
    with pytest.raises(AmRosError, match="is not a checkpoint"):
        Policy.load(tmp_path)


def test_weights_of_another_network_are_refused(saved, tmp_path):
    found = checkpoint.load(saved)
    meta = {k: v for k, v in found.meta.items() if k not in ("sha256", "files", "format")}
    other = {"model": {"stem": torch.zeros(3)}}
    with pytest.raises(AmRosError, match="does not fit this version"):
        Policy.load(checkpoint.save(tmp_path / "other", meta, other))


def test_an_exported_copy_is_half_as_large_and_acts_alike(saved, tmp_path, capsys):
    assert main(["model", "export", str(saved), str(tmp_path / "small")]) == 0
    sizes = [(folder / "model.safetensors").stat().st_size for folder in (saved, tmp_path / "small")]
    assert sizes[1] < 0.6 * sizes[0]
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    one, two = (Policy.load(folder).choose(image, image) for folder in (saved, tmp_path / "small"))
    np.testing.assert_allclose(one.vector, two.vector, atol=0.01)
    assert one.q_value == pytest.approx(two.q_value, abs=0.01)
    assert main(["model", "export", str(saved), str(tmp_path / "small")]) == 2
    assert "small: is there already" in capsys.readouterr().err


_SAVER = """
import sys, torch
from am_ros.learning import checkpoint
n = 0
while True:
    n += 1
    checkpoint.save(sys.argv[1], {"update": n}, {"model": {"w": torch.full((200_000,), float(n))}})
    print(n, flush=True)
"""


def test_a_trainer_killed_while_it_saves_leaves_a_whole_checkpoint(tmp_path):
    folder = tmp_path / "checkpoint"
    rng = np.random.default_rng(0)
    for _ in range(5):
        process = subprocess.Popen([sys.executable, "-c", _SAVER, str(folder)], stdout=subprocess.PIPE, text=True)
        process.stdout.readline()
        time.sleep(rng.uniform(0, 0.05))
        process.send_signal(signal.SIGKILL)
        process.wait()
        found = checkpoint.load(folder)
        assert (found.tensors["model"]["w"] == found.meta["update"]).all()


def test_a_killed_save_is_found_again_by_the_trainer(tmp_path):
    """Between the two renames of a save the checkpoint has another name: the trainer must look there, too."""
    config = LearnerConfig(network=NetworkConfig(image_size=16, width=8, channels=4))
    trainer = Trainer(config, tmp_path)
    trainer.learner.update = 3
    store = ReplayStore.create(tmp_path / "replay", (16, 16))
    store.append(random_episodes(2, 3, 16))
    trainer.save(store, Progress(3, 10, 0.0, 0.0, 0.0))
    os.rename(tmp_path / "checkpoint", tmp_path / ".checkpoint.old")
    assert Trainer(config, tmp_path).update == 3


SAVES_ON_AND_ON = """
import sys, torch
from am_ros.learning import checkpoint
count = 0
while True:
    count += 1
    values = {"model": {"w": torch.full((64,), float(count))}, "learner": {"w": torch.full((64,), float(count))}}
    checkpoint.save(sys.argv[1], {"update": count}, values)
    print(count, flush=True)
"""


def test_whoever_reads_while_a_training_saves_has_one_of_its_checkpoints_whole(tmp_path):
    folder = tmp_path / "checkpoint"
    with subprocess.Popen([sys.executable, "-c", SAVES_ON_AND_ON, folder], stdout=subprocess.PIPE, text=True) as saving:
        try:
            assert saving.stdout.readline() == "1\n"
            before, reads, seen, deadline = 0, 0, set(), time.monotonic() + 60
            while reads < 200 and time.monotonic() < deadline:
                found = checkpoint.load(folder, "model", "learner")
                values = {float(x) for tensors in found.tensors.values() for x in tensors["w"]}
                assert values == {found.meta["update"]} and found.meta["update"] >= before
                before, reads = found.meta["update"], reads + 1
                seen.add(before)
            assert len(seen) > 10, "nothing was saved meanwhile"
        finally:
            saving.kill()
