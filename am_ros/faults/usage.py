"""What a process holds: memory, file handles, threads (Linux)."""

import os
from pathlib import Path
from typing import NamedTuple


class Usage(NamedTuple):
    """Of one process at one time."""

    memory_mb: float  # resident
    handles: int
    threads: int


def memory_mb(pid: int) -> float:
    """Resident memory of a process [MB]; 0 if it is gone."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except OSError:
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def usage(pid: int) -> Usage:
    """What the process holds now; zeros if it is gone."""
    try:
        return Usage(memory_mb(pid), len(os.listdir(f"/proc/{pid}/fd")), len(os.listdir(f"/proc/{pid}/task")))
    except OSError:
        return Usage(0.0, 0, 0)
