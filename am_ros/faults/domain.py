"""A ROS domain that nobody else on this machine uses meanwhile, be it a test or a fault."""

import fcntl
import random
import tempfile
from pathlib import Path

from am_ros.errors import AmRosError

HIGHEST_DOMAIN = 101  # above it, the ports of a ROS domain run into those that Linux hands out by itself


def claim_domain():
    """A domain id, and the open file that reserves it until it is closed."""
    start = random.randrange(HIGHEST_DOMAIN)
    for i in range(HIGHEST_DOMAIN):
        domain = 1 + (start + i) % HIGHEST_DOMAIN
        lock = open(Path(tempfile.gettempdir()) / f"am_ros_test_domain_{domain}", "w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            continue
        return domain, lock
    raise AmRosError("every ROS domain is in use on this machine")
