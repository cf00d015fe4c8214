"""Can a ROS process start in this environment? One sentence in place of what rcl and Fast DDS say in C++, or never say.

Some of it would end the process before any of our code runs again, some would be taken for something else without a
word: ROS_DOMAIN_ID=-1 is domain 0 to rcl, and 5x is 5.
"""

import fcntl
import os
import pwd
import re
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from am_ros.cell.fastdds_profile import PROFILE, read_profile
from am_ros.cell.security import check_security
from am_ros.errors import AmRosError

RMW, DOMAIN, RANGE, LOGS = "RMW_IMPLEMENTATION", "ROS_DOMAIN_ID", "ROS_AUTOMATIC_DISCOVERY_RANGE", "ROS_LOG_DIR"
RANGES = ("LOCALHOST", "SUBNET", "OFF", "SYSTEM_DEFAULT")
LAST_DOMAIN = 232  # its ports are the last ones below 65536
# Ports of a ROS domain, as the DDS specification numbers them.
FIRST_PORT, PORTS_PER_DOMAIN = 7400, 250
SHARED_MEMORY = Path("/dev/shm")
_PORT = re.compile(r"fastrtps_port(\d+)")
_OTHERS_READ_AND_WRITE = 0o006


def check_start(environ: Mapping[str, str] | None = None, shared_memory: Path = SHARED_MEMORY) -> None:
    """Raise AmRosError if a node started in `environ` (default: os.environ) would not run, or not as it says there.

    To be called before rclpy.init.
    """
    environ = os.environ if environ is None else environ
    check_rmw(environ)
    domain = domain_of(environ)
    reach = environ.get(RANGE, "")
    if reach and reach not in RANGES:
        raise AmRosError(f"{RANGE}={reach}: is none of {', '.join(RANGES)}")
    check_security(environ)
    _check_log_folder(environ)
    if is_fastdds(environ):
        profile = environ.get(PROFILE, "")
        if not profile or read_profile(Path(profile), environ).shared_memory:
            _check_other_users(domain, shared_memory)


def check_rmw(environ: Mapping[str, str] | None = None) -> None:
    """Raise AmRosError if RMW_IMPLEMENTATION is not installed. To be called before rclpy loads, which would exit."""
    environ = os.environ if environ is None else environ
    wanted = environ.get(RMW, "")
    prefixes = [p for p in environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if p] + [sys.prefix]
    folders = [Path(prefix) / "share" / "ament_index" / "resource_index" / "rmw_typesupport" for prefix in prefixes]
    there = sorted({file.name for folder in folders if folder.is_dir() for file in folder.iterdir()})
    there = [name for name in there if name != "rmw_implementation"]
    if wanted and there and wanted not in there:
        package = f"ros-jazzy-{wanted.replace('_', '-')}"
        raise AmRosError(
            f"{RMW}={wanted}: is not installed, there is {', '.join(there)}: unset it, or install {package}"
        )


def is_fastdds(environ: Mapping[str, str]) -> bool:
    """Whether nodes speak through Fast DDS, ROS's default."""
    return "fastrtps" in (environ.get(RMW) or "rmw_fastrtps_cpp")


def domain_of(environ: Mapping[str, str]) -> int:
    """ROS_DOMAIN_ID, 0 where it is not set; raises AmRosError if it is none."""
    text = environ.get(DOMAIN, "").strip() or "0"
    if not (text.isascii() and text.isdigit()) or int(text) > LAST_DOMAIN:
        raise AmRosError(f"{DOMAIN}={text}: is not a whole number from 0 to {LAST_DOMAIN}")
    return int(text)


def log_folder(environ: Mapping[str, str]) -> Path:
    """Where rcl writes log files: ROS_LOG_DIR, else log in ROS_HOME, else ~/.ros/log."""
    named = environ.get(LOGS) or os.path.join(environ.get("ROS_HOME") or "~/.ros", "log")
    return Path(named.replace("~", environ.get("HOME", "~"), 1) if named.startswith("~") else named)


def _check_log_folder(environ: Mapping[str, str]) -> None:
    folder = log_folder(environ)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise AmRosError(
            f"log folder {folder}: cannot be written ({error.strerror}): set {LOGS} to one that can"
        ) from None


def _check_other_users(domain: int, shared_memory: Path) -> None:
    """Programs of two users find each other in one domain and hear nothing: neither opens the other's shared memory."""
    for file in sorted(shared_memory.glob("fastrtps_port*")):
        match = _PORT.fullmatch(file.name)
        if not match or (int(match[1]) - FIRST_PORT) // PORTS_PER_DOMAIN != domain:
            continue
        try:
            seen = file.stat()
        except FileNotFoundError:  # its process has just ended
            continue
        shared = seen.st_mode & _OTHERS_READ_AND_WRITE == _OTHERS_READ_AND_WRITE
        if seen.st_uid != os.geteuid() and not shared and _in_use(file):
            raise AmRosError(
                f"shared_memory_of_others: a program of user {_user(seen.st_uid)} runs in ROS domain {domain}, and "
                f"this is {_user(os.geteuid())}: neither can open the other's shared memory ({file}), and nothing "
                f"would be heard; run both as one user, or set another {DOMAIN}"
            )


def _in_use(port: Path) -> bool:
    """Whether a process holds the lock of a port: what a killed one leaves hinders nobody."""
    for ending in ("_el", "_sl"):
        try:
            with open(f"{port}{ending}", "rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            continue
    return False


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
