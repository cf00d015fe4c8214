"""The architecture's import rules (pyproject.toml, [tool.importlinter]) and the style (ruff) hold."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent


def test_imports_run_downward_and_heavy_libraries_stay_behind_their_doors():
    done = subprocess.run(
        [BIN / "lint-imports", "--no-logo", "--no-cache"], cwd=ROOT, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_ruff_finds_nothing():
    done = subprocess.run([BIN / "ruff", "check", "--no-cache", "."], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_command_line_starts_without_heavy_libraries():
    code = "import sys; from am_ros import cli; cli._parser(['bags']); print([m for m in sys.modules if m in heavy])"
    done = subprocess.run(
        [sys.executable, "-c", "heavy = {'torch', 'pybullet', 'rclpy', 'matplotlib'}; " + code],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == "[]"


def test_the_trainer_node_leaves_torch_to_the_process_that_trains():
    code = "import sys; import am_ros.nodes.trainer; print([m for m in ('torch', 'pybullet') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
