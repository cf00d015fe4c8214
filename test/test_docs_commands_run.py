"""The commands of the documentation that need neither nodes nor an arm, run as they stand but with small numbers."""

import re
import runpy
import shutil
import subprocess
import sys

import numpy as np
import pytest
from docs_commands import PAGES, ROOT, calls
from PIL import Image
from test_docs_commands import SMALL, run_by

from am_ros import cli

# What makes a command long is made short. Two updates teach nothing: what counts is that the command does its work.
LITTLE = {
    "--episodes": "3", "--updates": "2", "--first-updates": "2", "--minutes": "0.02", "--trials": "1", "--rounds": "1",
    "--workers": "1", "--processes": "1", "--milestones": "1", "--seeds": "1", "--given": "2", "--waypoints": "5",
}  # fmt: skip
LEARNS = ("train", "improve")
HELD_OUT = "--held-out-share"


def small(words: tuple[str, ...]) -> list[str]:
    """The same command with small numbers."""
    words = [re.sub(r"_\d{4,}(?=/)", "_2", word) for word in words]  # a folder named after its updates
    words = ["reach" if word == "NAME" else word for word in words]
    for i, word in enumerate(words[:-1]):
        if word in LITTLE:
            words[i + 1] = LITTLE[word]
        elif word == HELD_OUT:
            words[i + 1] = "0.4"
    evaluates = words[:2] == ["am-ros", "evaluate"]
    if "all" in words or (evaluates and "--task" not in words):
        words += ["--task", "reach"]
    if (evaluates or words[1] == "improve") and "--trials" not in words:
        words += ["--trials", "1"]
    if words[0] == "am-ros" and words[1] in LEARNS:
        words += ["--batch-size", "8"] + ["--updates", "2"] * ("--updates" not in words)
    return words


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """What the pages presume: bags, a run with its checkpoint, a goal and a picture."""
    folder = tmp_path_factory.mktemp("world")
    bags, run = folder / "bags", folder / "run"
    which = ["--task", "reach,pick_place,grasp_bottle", "--episodes", "3", "--noise", "0.2", "--variety", "0"]
    assert cli.main(["collect", *which, "--out", str(bags)]) == 0
    little = ["--updates", "2", "--batch-size", "8", "--milestones", "1"]
    assert cli.main(["train", str(bags / "reach"), "--out", str(run), *little]) == 0
    picture = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    (folder / "goals").mkdir()
    for name in ("goals/cup.png", "now.png"):
        Image.fromarray(picture).save(folder / name)
    return folder


def furnish(folder, world) -> None:
    """Lay the world out under the names that the pages use."""
    episode = next((world / "bags" / "reach").rglob("*.mcap")).parent
    for name in ("runs/demo/bags", "runs/bags", "bags", "BAGS", "runs/play"):
        shutil.copytree(world / "bags", folder / name)
    for name in ("BAGS/EPISODE", "runs/play/EPISODE", "BAGS/quarantine/a.unfinished"):
        shutil.copytree(episode, folder / name)
    for name in ("runs/a", "runs/b", "runs/mine", "runs/demo", "runs/best_1"):
        shutil.copytree(world / "run", folder / name, dirs_exist_ok=True)
    shutil.copytree(world / "goals", folder / "goals")
    shutil.copy(world / "now.png", folder)
    for name in ("config", "benchmarks", "docs/data", "docs/images"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    shutil.copytree(ROOT / "config" / "ingest", folder / "config" / "ingest")


def run(words: list[str], monkeypatch) -> int:
    """The exit code of the command, run in this process where that is possible."""
    if words[0] == "am-ros":
        try:
            return cli.main(words[1:])
        except SystemExit as end:
            return end.code
    if words[0] in ("mkdir", "sed"):
        return 0  # bash has done it
    assert words[0] == "python"
    if words[1] in ("-", "-m"):
        body, standard_input = (["-"], words[2]) if words[1] == "-" else (words[1:], "")
        return subprocess.run([sys.executable, *body], input=standard_input, text=True).returncode
    with monkeypatch.context() as patch:
        script = ROOT / words[1]
        patch.syspath_prepend(str(script.parent))
        patch.setattr(sys, "argv", [str(script), *words[2:]])
        try:
            runpy.run_path(str(script), run_name="__main__")
        except SystemExit as end:
            return end.code
    return 0


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("page", PAGES)
def test_commands_do_their_work_with_small_numbers(page, world, tmp_path, monkeypatch):
    furnish(tmp_path, world)
    found = [call for call in calls(page, tmp_path) if not call.mark and run_by(call) == SMALL]
    if not found:
        pytest.skip("the page has no such command")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{ROOT / 'benchmarks'}")
    failed, before, done = [], set(), []
    for call in found:
        words = small(call.words)
        # The longest loop repeats its commands for four foods and three sizes: the first turn says whether they work.
        kind = tuple(word for word in words if not re.search(r"runs/|grasp_|^\d+$", word))
        if "runs/ft" in call.text and kind in before:
            continue
        before.add(kind)
        if words in done:
            continue  # a page that says it twice, "as above"
        done.append(words)
        if words[1] in ("train", "collect"):  # what the world has laid there is of another training or collection
            shutil.rmtree(words[words.index("--out") + 1], ignore_errors=True)
        code = run(words, monkeypatch)
        if code not in ALLOWED.get(words[1], (0,)):
            failed.append(f"exit code {code}: {' '.join(words)}")
    assert not failed, "\n".join(failed)


# Commands that report by their exit code: a missing arm, or a bag that is not whole, is an answer.
ALLOWED = {"bags": (0, 1), "check": (0, 1), "goals": (0, 1, 3)}
