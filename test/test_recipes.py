"""The recipes in CONTRIBUTING.md and docs/own_task.md, followed in a copy of the package."""

import os
import re
import shutil
import subprocess
import sys
import textwrap

import pytest
from docs_commands import ROOT

_BLOCK = re.compile(r'^( *)```python title="(am_ros/[^"]+)"\n(.*?)^ *```$', re.S | re.M)


def blocks(page: str, heading: str = "") -> list[tuple[str, str]]:
    """(file, text) of every block with a title, on the page or below one of its headings."""
    text = (ROOT / page).read_text()
    if heading:
        text = re.search(rf"^### {heading}\n(.*?)(?=^##)", text, re.S | re.M)[1]
    return [(name, textwrap.dedent(body)) for _, name, body in _BLOCK.findall(text)]


def insert(text: str, block: str) -> str:
    """A file's text with what the block adds: imports, members of a collection, lines where a function begins."""
    imports = "".join(re.findall(r"^from .+\n", block, re.M))
    text = re.sub(r"^from am_ros", f"{imports}from am_ros", text, count=1, flags=re.M)
    for name, members in re.findall(r"^(\w+) = [({]\s*\.\.\.,(.*?),?\s*[)}]$", block, re.S | re.M):
        text, found = re.subn(rf"^({name}\b[^=\n]*= [({{])", rf"\g<1>{members}, ", text, flags=re.M)
        assert found == 1, f"{name} is there {found} times"
    for name, lines in re.findall(r"^def (\w+)\(\.\.\.\):\n(.*?)^    \.\.\.$", block, re.S | re.M):
        text, found = re.subn(rf'(^def {name}\(.*?""".*?"""\n)', rf"\g<1>{lines}", text, flags=re.S | re.M)
        assert found == 1, f"{name} is there {found} times"
    return text


@pytest.fixture
def follow(tmp_path):
    """A function (blocks, program) that does as the blocks say in a copy of the package, and runs the program in it."""
    ignored = shutil.ignore_patterns("__pycache__", "pretrained")
    for name in ("am_ros", "config", "urdf"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignored)
    shutil.copy(ROOT / "package.xml", tmp_path)
    (tmp_path / "am_ros" / "pretrained").mkdir()
    shutil.copy(ROOT / "am_ros/pretrained/__init__.py", tmp_path / "am_ros" / "pretrained")

    def run(parts: list[tuple[str, str]], program: str) -> str:
        assert parts
        for name, block in parts:
            file = tmp_path / name
            file.write_text(insert(file.read_text(), block) if file.exists() else block)
        env = os.environ | {"PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1", "HOME": str(tmp_path)}
        command = [sys.executable, "-c", textwrap.dedent(program)]
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=240)
        assert done.returncode == 0, done.stderr
        assert f"{tmp_path}/am_ros" in done.stdout, "another package was run"
        return done.stdout

    return run


def test_a_task(follow):
    follow(
        blocks("docs/own_task.md"),
        """
        import am_ros
        from am_ros.sim.environment import Environment
        from am_ros.sim.tasks import evaluation_seed, find_task

        print(am_ros.__file__)
        with Environment(find_task("hover")) as environment:
            environment.reset(evaluation_seed(0), "goal")
            assert environment.outcome().reached
            environment.reset(evaluation_seed(0), "start")
            assert not environment.outcome().reached
        """,
    )


def test_a_method(follow):
    follow(
        blocks("CONTRIBUTING.md", "A method"),
        """
        import am_ros
        import numpy as np
        from am_ros.learning.recipes import find_recipe
        from am_ros.learning.trainer import Trainer
        from am_ros.replay.store import ReplayStore

        print(am_ros.__file__)
        rng, ends = np.random.default_rng(0), np.arange(1, 41) % 10 == 0
        store = ReplayStore.from_arrays("store", rng.normal(size=(40, 3)), rng.uniform(-1, 1, (40, 2)), ends)
        small = dict(preset="state", observation_size=3, displacements=2, width=16, batch_size=8, updates=2)
        progress = Trainer(find_recipe("monte_carlo", **small), "out").fit(store)
        assert 0 < progress.metrics["target"] <= 1
        """,
    )


def test_a_backend(follow):
    follow(
        blocks("CONTRIBUTING.md", "A backend"),
        """
        import am_ros
        from am_ros.action import CartesianAction
        from am_ros.cell.arguments import SimArguments, arguments_from_text
        from am_ros.control.backends import BackendConfig
        from am_ros.control.controller import ControllerConfig, make_guard, make_stepper
        from am_ros.ros.arm.backends import make_backend

        print(am_ros.__file__)
        assert arguments_from_text(SimArguments, {"backend": "half_speed"})
        config = ControllerConfig(backend=BackendConfig("half_speed"))
        stepper, step = make_stepper(config), CartesianAction((0.05, 0.0, 0.0))
        home = stepper.kinematics.home((0.55, 0.0, 0.15))

        class Arm:
            follow = staticmethod(print)

        planned = make_backend(None, config, stepper, Arm, None).plan(home, step).result(1)
        assert planned.duration_s == 2 * stepper.plan(home, step, 0.0).duration_s
        """,
    )


def test_a_stack(follow, tmp_path):
    given = follow(
        blocks("CONTRIBUTING.md", "A stack"),
        """
        import am_ros, pathlib
        from am_ros import cli

        print(am_ros.__file__)
        values = pathlib.Path("config/lbr_fri.yaml").read_text().replace("/lbr/", "/mine/")
        pathlib.Path("config/my_driver.yaml").write_text(values)
        assert cli.main(["up", "workcell", "stack:=my_driver", "--print"]) == 0
        """,
    )
    assert "joint_states:=/mine/joint_states" in given and "am_ros.nodes.cartesian_controller" in given
