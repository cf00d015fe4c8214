"""How much memory this process may have, so that what does not fit is read in another way than what does."""

import os
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
_FILES = ("memory.max", "memory.limit_in_bytes")  # of version 2 and 1


def memory_bytes(of_process: Path = Path("/proc/self/cgroup"), root: Path = CGROUPS) -> int:
    """Bytes of the machine, or of the smallest limit of the process's groups (a container's, a batch system's)."""
    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    try:
        lines = of_process.read_text().splitlines()
    except OSError:
        return limits[0]
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        base = root / "memory" if controllers else root
        group = base / path.lstrip("/")
        for folder in (group, *group.parents):
            if not folder.is_relative_to(base):
                break
            limits += [limit for name in _FILES if (limit := _number(folder / name))]
    return min(limits)


def _number(file: Path) -> int:
    """That of a file; 0 if there is none (`max`)."""
    try:
        text = file.read_text().strip()
    except OSError:
        return 0
    return int(text) if text.isdecimal() else 0
