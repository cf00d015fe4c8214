"""This machine: folders that are written to, room on the disk, what Fast DDS is told, and who can hear us."""

import ipaddress
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from am_ros.bags.recorder import RecorderConfig
from am_ros.cell.fastdds_profile import PROFILE, Profile, read_profile
from am_ros.cell.start_check import RANGE, domain_of
from am_ros.errors import AmRosError
from am_ros.preflight.cell import GOALS, LOGGER, Cell, configured
from am_ros.preflight.findings import WRONG, Finding, ok, warning, wrong

HEADER_BYTES = 10_000  # of a message beside its pixels; what is said of the image is far below it
IMAGES_IN_SEGMENT = 3  # one being read, one written, one between
HIGHEST_DOMAIN = 101  # above it, ports of a ROS domain run into those that Linux hands out by itself
SHARED_MEMORY = Path("/dev/shm")
SOCKET_BUFFER, SOCKET_BUFFER_BYTES = Path("/proc/sys/net/core/rmem_max"), 4_194_304  # as config/fastdds.xml asks for


def check_folders(cell: Cell) -> list[Finding]:
    """Can goals and bags be written, and is there room for them?"""
    recorder = configured(RecorderConfig, cell.parameters(LOGGER)) if cell.spec(LOGGER) else None
    folders = {"goals": cell.parameters(GOALS).get("folder"), "bags": recorder and recorder.folder}
    findings = []
    for name, folder in folders.items():
        if folder:
            findings.append(_writable(name, Path(folder).expanduser()))
    if recorder and findings[-1].level != WRONG:
        least, wanted = recorder.free_disk_mb * 1e6, cell.check.free_disk_gb * 1e9
        findings += _room(Path(recorder.folder).expanduser(), least, wanted)
    return findings


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    return next(p for p in (folder.absolute(), *folder.absolute().parents) if p.exists())


def _writable(name: str, folder: Path) -> Finding:
    """Tried, not asked: permission bits do not tell of a read-only mount or a full quota."""
    there = _existing(folder)
    try:
        with tempfile.TemporaryFile(dir=there) as file:
            file.write(b"?")
    except OSError as error:
        where = f"{folder}" if there == folder.absolute() else f"{folder} cannot be made: {there}"
        mend = f"give another {name}:=, or let this user write there"
        return wrong(f"{name}_folder", f"{where} cannot be written ({error.strerror})", mend)
    new = "" if there == folder.absolute() else " (will be made)"
    return ok(f"{name}_folder", f"{folder} can be written{new}")


def _room(folder: Path, least: float, wanted: float) -> list[Finding]:
    free = shutil.disk_usage(_existing(folder)).free
    what = f"{free / 1e9:.1f} GB free for bags in {folder}"
    if free < least:
        mend = "make room: the logger records nothing with less than free_disk_mb"
        return [wrong("disk_space", f"{what}, {least / 1e9:.1f} GB are needed", mend)]
    if free < wanted:
        return [warning("disk_space", what, "make room, or lower free_disk_gb under /**/check")]
    return [ok("disk_space", what)]


def check_transport(
    environ: Mapping[str, str], image_bytes: int, processes: int, shared_memory: Path = SHARED_MEMORY
) -> list[Finding]:
    """Does an image of so many bytes fit the Fast DDS profile in force, and the profile this machine?"""
    mend = "leave FASTRTPS_DEFAULT_PROFILES_FILE unset, so that config/fastdds.xml of am_ros is used"
    path = environ.get(PROFILE, "")
    rmw = environ.get("RMW_IMPLEMENTATION", "")
    if rmw and "fastrtps" not in rmw:
        other = f"RMW_IMPLEMENTATION={rmw}: am_ros was measured with rmw_fastrtps_cpp only"
        return [warning("fastdds_profile", other, "unset it, or count your images (policy_server/count_images)")]
    if not path:
        return [wrong("fastdds_profile", "no Fast DDS profile: most images of 472x472 px are lost", mend)]
    try:
        profile = read_profile(Path(path))
    except AmRosError as error:
        return [wrong("fastdds_profile", str(error), mend)]
    message = image_bytes + HEADER_BYTES
    if profile.message_bytes < message or profile.segment_bytes < IMAGES_IN_SEGMENT * message:
        what = (
            f"{path} gives shared memory {profile.segment_bytes} bytes and a message {profile.message_bytes}, "
            f"an image needs {message}"
        )
        larger = f"raise maxMessageSize above {message} and segment_size above {IMAGES_IN_SEGMENT * message} there"
        return [warning("fastdds_profile", what, larger)]
    fits = f"{path}: an image of {image_bytes} bytes is one message"
    return [ok("fastdds_profile", fits), *_shared_memory(profile, processes, shared_memory)]


def _shared_memory(profile: Profile, processes: int, folder: Path) -> list[Finding]:
    """Every process takes a segment; those that run already have theirs."""
    needed = profile.segment_bytes * processes
    try:
        usage = shutil.disk_usage(folder)
    except OSError:
        return [warning("shared_memory", f"{folder} is not there: images go through UDP", "mount a tmpfs there")]
    free = f"{folder} has {usage.free / 1e6:.0f} of {usage.total / 1e6:.0f} MB free"
    what = f"{free}, {processes} nodes take {needed / 1e6:.0f}"
    if usage.total < needed:
        return [wrong("shared_memory", what, "enlarge it (docker run --shm-size=256m), or lower segment_size")]
    if usage.free < needed / 2:
        mend = "stop what is not needed; what killed programs left goes with the next am-ros up"
        return [warning("shared_memory", what, mend)]
    return [ok("shared_memory", what)]


def check_discovery(environ: Mapping[str, str], socket_buffer: Path = SOCKET_BUFFER) -> list[Finding]:
    """Who can find the nodes, and so command the arm? And if others can: do images get through to them?"""
    reach = environ.get(RANGE, "").upper() or "SUBNET"
    peers = [peer for peer in environ.get("ROS_STATIC_PEERS", "").split(";") if peer and not _is_local(peer)]
    findings = []
    try:
        domain = domain_of(environ)
    except AmRosError as error:
        return [wrong("ros_domain", str(error), f"set 0 ... {HIGHEST_DOMAIN}")]
    if domain > HIGHEST_DOMAIN:
        what = f"ROS_DOMAIN_ID={domain}: its ports may be taken by other programs"
        findings.append(warning("ros_domain", what, f"use 0 ... {HIGHEST_DOMAIN}"))
    if reach == "OFF":
        return [*findings, wrong("discovery_range", f"{RANGE}=OFF: no node finds another", f"set {RANGE}=LOCALHOST")]
    if reach == "LOCALHOST" and not peers:
        return [*findings, ok("discovery_range", f"nodes are found on this host only, domain {domain}")]
    who = ", ".join(peers) if reach == "LOCALHOST" else "everybody on the network"
    mend = f"set {RANGE}=LOCALHOST if driver and camera run here, else separate the network (docs/security.md)"
    findings.append(warning("discovery_range", f"{who} can find the nodes and command the arm", mend))
    return [*findings, *_socket_buffer(socket_buffer)]


def _socket_buffer(file: Path) -> list[Finding]:
    """An image between machines is dozens of UDP fragments at once: Linux drops what does not fit its buffer."""
    try:
        allowed = int(file.read_text())
    except (OSError, ValueError):
        return []
    if allowed >= SOCKET_BUFFER_BYTES:
        return []
    what = f"{file} is {allowed}: images of {allowed / 1e3:.0f} kB and more are lost between machines"
    return [warning("socket_buffer", what, f"sudo sysctl -w net.core.rmem_max={SOCKET_BUFFER_BYTES}")]


def _is_local(peer: str) -> bool:
    try:
        return peer == "localhost" or ipaddress.ip_address(peer).is_loopback
    except ValueError:
        return False


def environment() -> Mapping[str, str]:
    """What nodes started from here would be given."""
    return os.environ
