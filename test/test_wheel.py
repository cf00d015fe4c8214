"""The wheel and the source archive: whole in themselves, at work outside the checkout."""

import os
import signal
import subprocess
import sys
import tarfile
import time
import venv
import zipfile
from pathlib import Path

import pytest

from am_ros.cell.environment import child_environment

ROOT = Path(__file__).parents[1]
PREFIX = Path(sys.prefix)


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    """Wheel and source archive, built by `python -m build` from what git knows of the checkout."""
    folder = tmp_path_factory.mktemp("source")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.split("\0")  # fmt: skip
    for name in filter(None, listed):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes((ROOT / name).read_bytes())
    built = subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "."], cwd=folder, capture_output=True, text=True
    )
    assert built.returncode == 0, built.stdout + built.stderr
    (wheel,), (archive,) = (folder / "dist").glob("*.whl"), (folder / "dist").glob("*.tar.gz")
    return wheel, archive


def test_wheel_and_source_archive_hold_all_that_the_package_needs(archives):
    wheel, archive = archives
    inside = {name.split(".data/data/")[-1] for name in zipfile.ZipFile(wheel).namelist()}
    shared = [f"share/am_ros/{p.relative_to(ROOT)}" for f in ("config", "launch", "urdf")
              for p in (ROOT / f).rglob("*") if p.is_file() and p.suffix != ".pyc"]  # fmt: skip
    weights = [f"am_ros/pretrained/{name}/model.safetensors" for name in ("pick_place", "seven_tasks")]
    assert {*shared, *weights, "am_ros/py.typed", "share/am_ros/package.xml"} <= inside
    with tarfile.open(archive) as tar:
        held = {name.partition("/")[2] for name in tar.getnames()}
    assert {"msg/action/ReachGoal.action", "test/conftest.py", "constraints.txt", "docs/workcell.md"} <= held
    assert {"mkdocs.yml", "docs/images/reach.gif", "benchmarks/flaky.py"} <= held  # for `make docs` and `make flaky`


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_the_installed_wheel_brings_up_the_simulated_cell_from_another_folder(archives, ros_env, tmp_path):
    wheel, _ = archives
    home = tmp_path / "venv"
    venv.create(home, symlinks=True)
    # The dependencies are those of this environment: a gigabyte need not be installed again.
    (site,) = home.glob("lib/python*/site-packages")
    (ours,) = PREFIX.glob("lib/python*/site-packages")
    (site / "dependencies.pth").write_text(f"import site; site.addsitedir({str(ours)!r})\n")
    install = [sys.executable, "-m", "pip", "--python", home / "bin" / "python", "install", "-q", "--no-deps", wheel]
    subprocess.run(install, check=True, env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"})
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    env = child_environment({**ros_env, "AMENT_PREFIX_PATH": str(PREFIX), "HOME": str(folder)})
    env.pop("PYTHONPATH", None)
    where = subprocess.run(
        [home / "bin" / "python", "-c", "import am_ros.cell.environment as e; print(e.share_directory())"],
        cwd=folder, env=env, capture_output=True, text=True,
    )  # fmt: skip
    assert where.stdout.strip() == str(home / "share" / "am_ros"), where.stderr
    log = (folder / "up.log").open("w+")
    cell = subprocess.Popen(
        [home / "bin" / "am-ros", "up", "sim", "policy:=pick_place", f"goals:={folder}/goals",
         f"bags:={folder}/bags"], cwd=folder, env=env, stdout=log, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 120
        while "\nup: " not in (text := Path(log.name).read_text()):
            assert cell.poll() is None and time.monotonic() < deadline, text
            time.sleep(0.2)
        recorded = subprocess.run(
            [home / "bin" / "am-ros", "goals", "record", "here"], cwd=folder, env=env, capture_output=True, text=True
        )
        assert recorded.returncode == 0, recorded.stderr
        assert list((folder / "goals").rglob("*.png"))
    finally:
        cell.send_signal(signal.SIGINT)
        assert cell.wait(30) in (0, 130), Path(log.name).read_text()
