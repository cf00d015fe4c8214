"""Disks that are full, read-only or gone: the logger names them, lives on, and records again when they are back."""

import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from am_msgs.srv import StartEpisode

from am_ros.action import ActionSpace
from am_ros.bags.finder import find_bags
from am_ros.bags.verify import verify
from am_ros.cell.processes import NodeProcess
from am_ros.faults.bench import Bench, wait_until
from am_ros.faults.stream import EpisodeStream
from am_ros.faults.suite import Result

SPACE = ActionSpace()
DISK_MB = 4
PAUSE_S = 0.004


def disk_full(bench: Bench) -> Iterator[Result]:
    """Named, the node lives, closed episodes readable, the next episode recorded once there is room"""
    disk = mount_small(bench, DISK_MB)
    folder = disk or bench.folder / "disk"
    logger = bench.start("episode_logger", ready="ready", folder=str(folder / "bags"), free_disk_mb=0)
    stream = EpisodeStream(bench)
    stream.wait_until_heard()
    stream.publish(stream.messages("before", 10, 1), PAUSE_S)
    wait_until(lambda: (folder / "bags" / "before").is_dir(), 10, "a bag before the disk is full")
    give_room = _fill(disk, logger)
    stream.publish(stream.messages("during", 120, 2, size=160), PAUSE_S)
    wait_until(lambda: "during.unfinished: given up" in logger.output, 10, "logger: a sentence about the full disk")
    said = next(line for line in logger.output.splitlines() if "given up" in line)
    again = bench.client.call(StartEpisode, "episode_logger/start", episode_id="refused")
    give_room()
    stream.publish(stream.messages("after", 10, 3), PAUSE_S)
    wait_until(lambda: (folder / "bags" / "after").is_dir(), 10, "a bag after the disk was full")
    bags = [bag for bag in find_bags(folder / "bags") if bag.name in ("before", "after")]
    problems = [problem for bag in bags for problem in verify(bag, SPACE).problems]
    place = f"tmpfs of {DISK_MB} MB" if disk else "file-size limit, for mounting is not allowed here"
    refusal = "No space left" if disk else ""  # a new file is small enough for the limit
    yield Result(
        f"disk full ({place})",
        "named, the logger lives, closed episodes readable, the next one recorded once there is room",
        f"'{said.rsplit(': ', 1)[-1].strip()}', {'lives' if logger.returncode is None else 'DIED'}, "
        f"{len(bags)} of 2 bags readable ({len(problems)} problems)",
        logger.returncode is None and len(bags) == 2 and not problems and refusal in again.message,
    )


def folder_unwritable(bench: Bench) -> Iterator[Result]:
    """Named at the start and in flight, and the next episode recorded when it is back"""
    (bench.folder / "file").touch()
    refused = bench.start("episode_logger", name="below_a_file", folder=str(bench.folder / "file" / "bags"))
    code = refused.wait(20.0)
    named = "parameter folder" in refused.output
    disk = mount_small(bench, DISK_MB)
    cases = [f"below a file: exit code {code}, {'named' if named else 'NOT named'}"]
    ok = code == 2 and named
    if disk:
        _run("mount", "-o", "remount,ro", str(disk))
        refused = bench.start("episode_logger", name="read_only", folder=str(disk))
        code = refused.wait(20.0)
        named = "parameter folder" in refused.output and "Read-only" in refused.output
        cases.append(f"read-only: exit code {code}, {'named' if named else 'NOT named'}")
        ok &= code == 2 and named
        _run("mount", "-o", "remount,rw", str(disk))
    folder = bench.folder / "bags"
    logger = bench.start("episode_logger", ready="ready", folder=str(folder), free_disk_mb=0)
    stream = EpisodeStream(bench)
    stream.wait_until_heard()
    shutil.rmtree(folder)
    folder.touch()
    stream.publish(stream.messages("lost", 6, 1), PAUSE_S)
    wait_until(lambda: "cannot be" in logger.output, 10, "logger: a sentence about the folder that is gone")
    folder.unlink()
    folder.mkdir()
    stream.publish(stream.messages("back", 6, 2), PAUSE_S)
    wait_until(lambda: (folder / "back").is_dir(), 10, "a bag when the folder is back")
    sound = verify(folder / "back", SPACE).ok
    cases.append(f"gone in flight: named, the next episode {'recorded' if sound else 'NOT sound'}")
    yield Result(
        "unwritable folder", "named at the start and in flight; recording goes on when it is back",
        "; ".join(cases), ok and sound and logger.returncode is None,
    )  # fmt: skip


def mount_small(bench: Bench, size_mb: int) -> Path | None:
    """A file system of its own of that size; None where mounting is not allowed."""
    place = bench.folder / "mounted"
    place.mkdir()
    try:
        _run("mount", "-t", "tmpfs", "-o", f"size={size_mb}m", "tmpfs", str(place))
    except (OSError, subprocess.CalledProcessError):
        return None
    bench.at_end(lambda: _run("umount", "-l", str(place)))
    return place


def _fill(disk: Path | None, logger: NodeProcess) -> Callable[[], object]:
    """Leave little room to write in; what is returned takes that back."""
    if disk is None:  # Python ignores SIGXFSZ, so a write beyond the limit is an error like that of a full disk
        limits = resource.prlimit(logger.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(logger.pid, resource.RLIMIT_FSIZE, (100_000, limits[1]))
        return lambda: resource.prlimit(logger.pid, resource.RLIMIT_FSIZE, limits)
    filler = disk / "filler"
    filler.write_bytes(bytes(max(0, shutil.disk_usage(disk).free - 200_000)))

    def give_room():
        filler.unlink()
        for given_up in (disk / "bags").glob("during*"):
            shutil.rmtree(given_up)

    return give_room


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


