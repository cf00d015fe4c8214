"""Interfaces of packages that come with ROS from apt only, generated for tests, field by field as they are there."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from am_ros.cell.environment import child_environment

ROOT = Path(__file__).parents[1]


def generate(package: str, files: dict[str, str], folder: Path, dependencies: str = "") -> dict[str, str]:
    """Build `package` of these files ("msg/Name.msg": text); what the environment of a process needs to find it."""
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    cmake = (ROOT / "msg" / "CMakeLists.txt").read_text().replace("project(am_msgs", f"project({package}")
    needed = f"set(dependencies action_msgs builtin_interfaces {dependencies})"
    (folder / "CMakeLists.txt").write_text(re.sub(r"set\(dependencies .*\)", needed, cmake))
    shutil.copy(ROOT / "msg" / "package.xml", folder)
    (folder / "package.xml").write_text((folder / "package.xml").read_text().replace("am_msgs", package))
    env = child_environment(AMENT_PREFIX_PATH=sys.prefix, CMAKE_PREFIX_PATH=sys.prefix)
    env["PATH"] = f"{sys.prefix}/bin:{env['PATH']}"
    configure = ["cmake", "-G", "Ninja", "-S", ".", "-B", "build", f"-DPython3_EXECUTABLE={sys.executable}"]
    configure += [f"-DCMAKE_INSTALL_PREFIX={folder}/install", "-DAM_MSGS_UNITY_BUILD=ON"]
    for command in (configure, ["ninja", "-C", "build", "install"]):
        built = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
        assert built.returncode == 0, built.stdout[-3000:] + built.stderr[-3000:]
    packages = next((folder / "install").glob("**/site-packages"))
    changes = {"AMENT_PREFIX_PATH": f"{folder}/install", "LD_LIBRARY_PATH": f"{folder}/install/lib"}
    changes |= {"PYTHONPATH": f"{packages}{os.pathsep}{ROOT / 'test'}"}
    return {name: os.pathsep.join([value, os.environ.get(name, "")]).rstrip(":") for name, value in changes.items()}
