"""The environment that every process of am_ros needs, set in one place so that nobody has to source anything."""

import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from am_ros.errors import AmRosError

# Set by the PyPI wheels of ROS 2 once they have put their libraries on LD_LIBRARY_PATH and restarted Python.
_WHEELS_GUARD = "_ROS_WHEELS_BOOTSTRAP_COMPLETE"


def share_directory() -> Path:
    """The folder that holds config/, launch/, urdf/ and package.xml: the checkout, else share/am_ros as installed.

    Raises AmRosError if neither is there.
    """
    checkout = Path(__file__).resolve().parents[2]
    if (checkout / "package.xml").is_file() and (checkout / "config").is_dir():
        return checkout
    prefixes = [p for p in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if p] + [sys.prefix]
    # Of two installations the files are those of the one whose Python runs.
    prefixes.sort(key=lambda prefix: not Path(__file__).resolve().is_relative_to(Path(prefix).resolve()))
    for prefix in prefixes:
        installed = Path(prefix) / "share" / "am_ros"
        if (installed / "package.xml").is_file():
            return installed
    raise AmRosError("share/am_ros is in no folder of AMENT_PREFIX_PATH: run `make setup` or source install/setup.bash")


def ros_environment(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """A copy of `environ` (default: os.environ) in which a process of am_ros can start; what is set stays as it is.

    Adds this Python's prefix to AMENT_PREFIX_PATH if interface packages lie there, the Fast DDS profile (without it
    large images are lost), discovery on this host only, and a log folder where there is no HOME.
    """
    env = dict(os.environ if environ is None else environ)
    prefixes = [p for p in env.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if p]
    if sys.prefix not in prefixes and (Path(sys.prefix) / "share" / "ament_index").is_dir():
        prefixes.append(sys.prefix)
    if prefixes:
        env["AMENT_PREFIX_PATH"] = os.pathsep.join(prefixes)
    env.setdefault("FASTRTPS_DEFAULT_PROFILES_FILE", str(share_directory() / "config" / "fastdds.xml"))
    env.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    if not env.get("HOME"):
        env.setdefault("ROS_LOG_DIR", str(Path(tempfile.gettempdir()) / "ros_log"))
    return env


def child_environment(environ: Mapping[str, str] | None = None, **changes: str) -> dict[str, str]:
    """`ros_environment` for a process to be started: unbuffered output, and the wheels find their libraries anew."""
    env = {**ros_environment(environ), "PYTHONUNBUFFERED": "1", **changes}
    env.pop(_WHEELS_GUARD, None)
    return env


def enter_ros_environment() -> None:
    """Complete os.environ by what `ros_environment` adds. To be called before rclpy is imported."""
    os.environ.update(ros_environment())
