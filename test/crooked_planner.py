"""A planner on the wire that can be made to fail: our own, until the file named by CROOKED_PLANNER says otherwise."""

import os
import signal
import sys
import time
from pathlib import Path

import numpy as np

from am_ros.control.backends import pinocchio_planner, wire
from am_ros.control.trajectory import JointTrajectory

FAULT = Path(os.environ["CROOKED_PLANNER"])


def make(values: dict) -> tuple:
    """The planner for `wire.serve`; the fault is looked at with each request."""
    if fault() == "silent":
        time.sleep(60)
    name, plan = pinocchio_planner.make(values)

    def crooked(request):
        planned, kind = plan(request), fault()
        if kind == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        if kind == "hangs":
            time.sleep(60)
        if kind == "late":  # the answer to a question that nobody waits for any more comes first
            stale = JointTrajectory(np.arange(2.0), np.zeros((2, 7)), np.zeros((2, 7)))
            os.write(WIRE, (wire.trajectory_line(request.id - 1, stale) + "\n").encode())
        if kind == "babbles":
            os.write(WIRE, b"here is your plan\n")
        if kind == "nan":
            return JointTrajectory(planned.times_s, planned.positions * np.nan, planned.velocities)
        if kind == "fast":
            return JointTrajectory(planned.times_s / 4, planned.positions, planned.velocities * 4)
        if kind == "short":
            half = len(planned.times_s) // 2 + 1
            velocities = planned.velocities[:half].copy()
            velocities[-1] = 0
            return JointTrajectory(planned.times_s[:half], planned.positions[:half], velocities)
        return planned

    return name, crooked


def fault() -> str:
    return FAULT.read_text() if FAULT.exists() else ""


if __name__ == "__main__":
    WIRE = os.dup(1)  # before `serve` gives stdout to those who write into it by mistake
    sys.exit(wire.serve(make))
