"""What killed processes leave in shared memory: Fast DDS does not take it away, 32 MB for each."""

import fcntl
import re
import time
from pathlib import Path

SHARED_MEMORY = Path("/dev/shm")
# A segment and the file on which its process holds a lock (flock) for as long as it lives.
_LOCK_FILE = re.compile(r"fastrtps_[0-9a-f]{16}_el")
# A process makes the file first and locks it then; one so young may be between the two.
MIN_AGE_S = 2.0


def remove_stale_segments(folder: Path = SHARED_MEMORY) -> int:
    """Remove the Fast DDS segments whose process is gone, those of other programs too; return how many."""
    removed = 0
    for lock_file in folder.glob("fastrtps_*_el"):
        try:
            if not _LOCK_FILE.fullmatch(lock_file.name) or time.time() - lock_file.stat().st_mtime < MIN_AGE_S:
                continue
            with open(lock_file, "rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # held until both files are gone
                lock_file.with_name(lock_file.name.removesuffix("_el")).unlink(missing_ok=True)
                lock_file.unlink(missing_ok=True)
            removed += 1
        except OSError:  # in use, another user's, or just removed by its own process
            continue
    return removed
