"""A Q beside a cloning policy in one training: the policy learns first, and each part goes on where it was."""

import threading
from dataclasses import replace

import pytest
import torch
from conftest import wait_until
from learning_data import SMALL, noise_store, small_recipe

from am_ros import cli
from am_ros.action import ActionSpace
from am_ros.learning import checkpoint
from am_ros.learning.parallel import train
from am_ros.learning.trainer import Trainer
from am_ros.learning.two_parts import cloning_part, q_part
from am_ros.learning.worker import TrainingWorker

CONFIG = small_recipe("beside_cloning", updates=8, cloning_share=0.25)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return noise_store(tmp_path_factory.mktemp("store") / "replay")


@pytest.fixture(scope="module")
def whole(store, tmp_path_factory):
    """The weights of a training that nothing interrupts."""
    out = tmp_path_factory.mktemp("whole")
    _train(store, out)
    return checkpoint.load(out / "checkpoint").weights


def _train(store, out, begins=lambda trainer: None, config=CONFIG):
    shown = []
    last = train(config, store.folder, out, ActionSpace(), shown.append, begins)
    return last, shown


def _same(one, other):
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


def test_both_parts_are_what_two_trainings_by_hand_are(store, whole, tmp_path):
    last, shown = _train(store, tmp_path / "out")
    assert last.update == 6 and not last.part and shown[0].part == "cloning" and "cloning: update 2/2" in str(shown[0])
    Trainer(cloning_part(CONFIG), tmp_path / "first").fit(store)
    Trainer(q_part(CONFIG), tmp_path / "second", start_from=tmp_path / "first" / "checkpoint").fit(store)
    assert _same(checkpoint.load(tmp_path / "second" / "checkpoint").weights, whole)
    first, by_hand = (checkpoint.load(tmp_path / name / "checkpoint") for name in ("out/cloning", "first"))
    assert first.meta["update"] == 2 and _same(first.weights, by_hand.weights)


@pytest.mark.parametrize(("part", "kept"), [(0, "cloning/checkpoint"), (1, "checkpoint")])
def test_a_part_that_is_stopped_goes_on_and_ends_with_the_same_weights(store, whole, tmp_path, part, kept):
    begun = []

    def begins(trainer):
        begun.append(trainer)
        if len(begun) == part + 1:
            trainer.stop()

    last, _ = _train(store, tmp_path, begins)
    assert last.ended == "stopped" and len(begun) == part + 1
    assert checkpoint.load(tmp_path / kept).meta["update"] == 1
    last, _ = _train(store, tmp_path)
    assert last.ended == "updates" and _same(checkpoint.load(tmp_path / "checkpoint").weights, whole)


def test_a_first_part_that_is_over_is_not_trained_again_and_says_nothing(store, whole, tmp_path, caplog):
    Trainer(cloning_part(CONFIG), tmp_path / "cloning").fit(store)
    begun = []
    _train(store, tmp_path, begun.append)
    assert len(begun) == 1 and _same(checkpoint.load(tmp_path / "checkpoint").weights, whole) and not caplog.records
    _train(store, tmp_path, begun.append)
    assert len(begun) == 2 and "the training is over already, by its updates" in caplog.text


def test_more_updates_teach_q_alone_and_one_update_is_one_of_each(store, tmp_path):
    _train(store, tmp_path / "out")
    more, begun = replace(CONFIG, trainer=replace(CONFIG.trainer, updates=16)), []
    last, _ = _train(store, tmp_path / "out", begun.append, more)
    assert last.update == 12 and len(begun) == 1
    assert checkpoint.load(tmp_path / "out" / "cloning" / "checkpoint").meta["update"] == 2
    one = replace(CONFIG, trainer=replace(CONFIG.trainer, updates=1))
    assert cloning_part(one).trainer.planned_updates == q_part(one).trainer.planned_updates == 1


def test_every_limit_is_shared_and_what_is_left_includes_the_rest_of_the_time(store, tmp_path):
    config = small_recipe("beside_cloning", updates=0, minutes=0.004, cpu_minutes=10.0, cloning_share=0.25)
    first, rest = cloning_part(config), q_part(config)
    assert (first.trainer.minutes, first.trainer.cpu_minutes, first.trainer.updates) == (0.001, 2.5, 0)
    assert (rest.trainer.minutes, rest.trainer.cpu_minutes, rest.trainer.updates) == (0.003, 7.5, 0)
    last, shown = _train(store, tmp_path, config=config)
    assert last.ended == "minutes" and shown[0].part == "cloning" and shown[0].seconds_left >= 0.18
    assert cloning_part(small_recipe("beside_cloning", updates=0)).trainer.updates == 3000


@pytest.mark.slow
def test_two_processes_learn_both_parts(store, tmp_path):
    config = replace(CONFIG, trainer=replace(CONFIG.trainer, processes=2))
    last, _ = _train(store, tmp_path, config=config)
    assert last.update == 6 and checkpoint.load(tmp_path / "cloning" / "checkpoint").meta["update"] == 2


def test_the_command_takes_one_line_and_draws_both_curves(store, tmp_path, capsys):
    command = ["train", "--replay", str(store.folder), "--recipe", "beside_cloning", "--out", str(tmp_path)]
    for name, value in {**SMALL, "updates": 4}.items():
        command += [f"--{name.replace('_', '-')}", str(value)]
    assert cli.main(command) == 0
    assert "cloning: update 2/2" in capsys.readouterr().err
    assert (tmp_path / "learning_curve.png").exists() and (tmp_path / "cloning" / "learning_curve.png").exists()
    assert checkpoint.load(tmp_path / "checkpoint").meta["update"] == 2


def test_a_stop_of_the_trainer_node_holds_for_the_part_that_comes_next(store, tmp_path):
    """The first part ends within milliseconds, so the stop comes before, in or after it: nothing may go on."""
    config, ended = replace(CONFIG, trainer=replace(CONFIG.trainer, updates=1_000_000, cloning_share=0.01)), []
    over = threading.Event()

    def hears(kind, content):
        if kind != "progress":
            ended.append((kind, content))
            over.set()

    worker = TrainingWorker(config, store.folder, tmp_path, ActionSpace(), hears)
    wait_until(lambda: (tmp_path / "cloning" / "metrics.csv").exists(), 60)
    worker.send("pause")
    worker.send("resume")
    worker.send("stop")
    assert over.wait(60) and ended[0][0] == "done" and ended[0][1].ended == "stopped"
    worker.close()
