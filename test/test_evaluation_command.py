"""am-ros evaluate: what it writes, what it refuses in one sentence, and that nothing is left running."""

import json
import os
import signal
import subprocess
import sys

import psutil
import pytest
from conftest import wait_until

from am_ros.cli import main
from am_ros.learning import checkpoint
from am_ros.learning.networks import NetworkConfig, make_network
from am_ros.sim.tasks import TASKS

SPACE = {"max_translation_m": [0.08] * 3, "max_rotation_rad": 0.5}


def save(folder, image_size=64, says=None, space=SPACE, update=5):
    """A checkpoint of an untrained network for images of `image_size`, whose description says `says`."""
    config = {"width": 16, "channels": 4, "image_size": image_size}
    network = make_network(NetworkConfig(**config))
    meta = {"update": update, "image_size": says or image_size, "action_space": space, "config": {"network": config}}
    return checkpoint.save(folder, meta, {"model": network.state_dict()})


def evaluate(*arguments) -> int:
    return main(["evaluate", *map(str, arguments)])


def run_apart(*arguments, **options):
    return subprocess.Popen([sys.executable, "-m", "am_ros.cli", "evaluate", *map(str, arguments)], **options)


def strict(path):
    """JSON without NaN and infinity."""
    return json.loads(path.read_text(), parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))


def test_figures_and_pictures_of_the_expert(tmp_path, capsys):
    figures, pictures = tmp_path / "new" / "figures.json", tmp_path / "pictures"
    assert evaluate("expert", "--task", "reach", "--trials", 4, "--seed", 2, "--workers", 2, "--json", figures,
                    "--pictures", pictures) == 0  # fmt: skip
    said = capsys.readouterr()
    assert "reach" in said.out and "100%" in said.out and "4/4 trials, 4 reached, 0 s left" in said.err
    reach = strict(figures)["reach"]
    assert (reach["trials"], reach["successes"], reach["ends"]) == (4, 4, {"terminated": 4})
    assert reach["success_rate"] == reach["success_once_rate"] == 1.0 and 0.5 < reach["ci95"][0] < reach["ci95"][1]
    assert [t["seed"] for t in reach["trial_list"]] == [2, 3, 4, 5]
    assert all(t["final_q"] is None and t["distance_m"] <= 0.04 for t in reach["trial_list"])
    drawn = sorted(str(p.relative_to(pictures)) for p in pictures.rglob("*.*"))
    assert drawn == ["reach.gif", "reach.png", *(f"reach/{i:04d}.png" for i in range(2, 6))]


@pytest.mark.slow
def test_all_tasks_means_all(tmp_path):
    figures = tmp_path / "figures.json"
    assert evaluate("random", "--trials", 1, "--workers", 2, "--json", figures) == 0
    assert list(strict(figures)) == list(TASKS)


def test_several_tasks_are_named_with_commas_and_keep_their_order(tmp_path):
    figures = tmp_path / "figures.json"
    assert evaluate("random", "--task", "stacking,reach", "--trials", 1, "--json", figures) == 0
    assert list(strict(figures)) == ["stacking", "reach"]


@pytest.mark.parametrize("verb", ["evaluate", "qmap"])
def test_the_help_names_the_checkpoints_of_the_package(capsys, verb):
    with pytest.raises(SystemExit):
        main([verb, "--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert "a checkpoint folder or one that comes with the package (pick_place, seven_tasks)" in said


def test_noise_makes_the_expert_worse(tmp_path):
    rates = []
    for noise in (0, 1):
        figures = tmp_path / f"{noise}.json"
        assert evaluate("expert", "--noise", noise, "--task", "reach", "--trials", 6, "--json", figures) == 0
        rates.append(strict(figures)["reach"]["success_rate"])
    assert rates[0] == 1.0 and rates[1] <= 0.5


def test_checkpoints_and_baselines_are_compared_on_the_same_scenes(tmp_path, capsys):
    folder, figures = save(tmp_path / "policy"), tmp_path / "figures.json"
    assert evaluate("random", folder, "--task", "reach", "--trials", 2, "--json", figures, "--pictures",
                    tmp_path / "pictures", "--samples", 8) == 0  # fmt: skip
    content = strict(figures)
    assert list(content) == ["random", str(folder)]
    policy = content[str(folder)]["reach"]
    assert policy["decision_ms"]["p50"] > 0 and all(0 < t["final_q"] < 1 for t in policy["trial_list"])
    assert {p.name for p in (tmp_path / "pictures").iterdir()} == {"00_random", "01_policy"}


def test_a_training_becomes_a_curve(tmp_path):
    run = tmp_path / "run"
    for name, update in {"milestones/001": 100, "checkpoint": 200}.items():
        save(run / name, update=update)
    assert evaluate(run, "--curve", "--task", "reach", "--trials", 1, "--samples", 4) == 0
    rows = strict(run / "curve" / "success_curve.json")
    assert [row["update"] for row in rows] == [100, 200] and (run / "curve" / "success_curve.png").exists()


def test_images_of_another_size_are_drawn_for_a_checkpoint_that_wants_them(tmp_path):
    folder = save(tmp_path / "policy", image_size=96)
    assert evaluate(folder, "--task", "reach", "--trials", 1, "--samples", 4) == 0


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("expert", "--task", "juggling"), "task 'juggling': use one of reach, "),
        (("expert", "--task", "reach,juggling"), "task 'juggling': use one of reach, "),
        (("expert", "--task", "reach,reach"), "task 'reach': is named twice"),
        (("expert", "--trials", 0), "parameter trials: 0 is not a positive number"),
        (("expert", "--trials", "many"), "argument --trials: invalid int value: 'many'"),
        (("expert", "--workers", 0), "parameter workers: 0 is not a positive number"),
        (("expert", "--seed", -1), "scene index -1"),
        (("expert", "--noise", 1.5), "parameter noise: 1.5 is outside 0 ... 1"),
        (("random", "--noise", 0.5), "parameter noise: belongs to the expert"),
        (("expert", "--image-size", 4), "parameter image_size: 4 is outside 16 ... 2048"),
        (("expert", "--samples", 1), "parameter samples: 1 is outside"),
        (("expert", "expert"), "expert: is named twice"),
        (("expert", "--curve"), "--curve: takes checkpoints only"),
        (("expert", "--json", "/proc/figures.json"), "json /proc/figures.json: cannot be written"),
        (("expert", "--json", "/proc"), "json /proc: is a folder"),
        (("expert", "--pictures", "/proc/pictures"), "pictures /proc/pictures: cannot be written"),
        (("random", "--through-ros"), "through-ros: random actions have no node"),
        (("/nowhere",), "/nowhere: is neither a checkpoint folder nor one of expert, random, pick_place, seven_tasks"),
        ((), "the following arguments are required: actor"),
    ],
)
def test_a_wrong_argument_is_one_sentence_and_no_trial_runs(capsys, arguments, sentence):
    assert evaluate(*arguments) == 2
    said = capsys.readouterr()
    assert sentence in said.err and "\n" not in said.err.strip()
    assert not said.out and "trials," not in said.err


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ({"image_size": 8}, "parameter image_size: 8 is outside"),
        ({"says": 128}, "says images of 128 px, but its network takes 64 px"),
        ({"space": SPACE | {"max_rotation_rad": 1.0}}, "its actions reach 0.08, 0.08, 0.08 m and 1 rad"),
        ({"space": SPACE | {"max_translation_m": [0.08, 0.08]}}, "limits must be four positive"),
    ],
)
def test_a_checkpoint_for_another_cell_is_refused(tmp_path, capsys, kind, sentence):
    folder = save(tmp_path / "policy", **kind)
    assert evaluate(folder, "--trials", 1) == 2
    said = capsys.readouterr().err.strip()
    assert sentence in said and "\n" not in said


def test_a_checkpoint_takes_no_images_of_another_size(tmp_path, capsys):
    assert evaluate(save(tmp_path / "policy"), "--image-size", 128, "--trials", 1) == 2
    assert "takes images of 64 px, not of 128 px" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["checkpoint.json", "model.safetensors"])
def test_a_damaged_checkpoint_is_one_sentence(tmp_path, capsys, name):
    path = save(tmp_path / "policy") / name
    path.write_bytes(path.read_bytes()[:-3])
    assert evaluate(tmp_path / "policy", "--trials", 1) == 2
    said = capsys.readouterr().err.strip()
    assert str(path) in said and "\n" not in said


def test_a_network_with_another_state_is_refused(tmp_path, capsys):
    folder = save(tmp_path / "policy")
    found = checkpoint.load(folder)
    found.tensors["model"]["state.weight"] = found.tensors["model"]["state.weight"][:, :2]
    meta = {k: v for k, v in found.meta.items() if k not in ("format", "files", "sha256")}
    checkpoint.save(folder, meta, found.tensors)
    assert evaluate(folder, "--trials", 1) == 2
    said = capsys.readouterr().err.strip()
    assert "does not fit this version of am_ros" in said and "\n" not in said


@pytest.mark.parametrize(
    ("victim", "number", "code", "sentence"),
    [
        pytest.param("parent", signal.SIGINT, 130, "evaluate: interrupted after", marks=pytest.mark.slow),
        ("worker", signal.SIGKILL, 2, "evaluate: a worker process died"),
        pytest.param("parent", signal.SIGKILL, -signal.SIGKILL, "", marks=pytest.mark.slow),
    ],
)
def test_whatever_ends_it_nothing_runs_on(tmp_path, victim, number, code, sentence):
    figures = tmp_path / "figures.json"
    process = run_apart("random", "--trials", 500, "--workers", 2, "--json", figures, stderr=subprocess.PIPE, text=True)
    family = psutil.Process(process.pid)
    try:
        wait_until(lambda: process.stderr.readline(), 150, "a first trial")
        workers = [p for p in family.children(recursive=True) if "spawn_main" in " ".join(p.cmdline())]
        assert len(workers) == 2
        os.kill(process.pid if victim == "parent" else workers[0].pid, number)
        said = process.communicate(timeout=120)[1]
    finally:
        process.kill()
    assert process.returncode == code and sentence in said and "Traceback" not in said
    if sentence:  # a killed process says nothing; Python's own resource tracker mourns it
        assert len(said.split(sentence)[1].strip().splitlines()) == 1
    _, alive = psutil.wait_procs(workers, timeout=60)
    assert not alive and not figures.exists()
