"""What the controller and the planner's process say to each other: one JSON object per line, on stdin and stdout.

controller:  the controller's configuration (ControllerConfig), once
planner:     {"ready": "who answers"}, or {"fatal": "why it cannot"}, once
controller:  {"id": 1, "q": [7], "position_m": [3], "quaternion": [4], "velocity_scale": 0.3, ...}
planner:     {"id": 1, "times_s": [K], "positions": [K, 7], "velocities": [K, 7]}, or {"id": 1, "refused": "why"}
"""

import dataclasses
import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from am_ros.configuration import from_dict
from am_ros.control.trajectory import JointTrajectory
from am_ros.errors import AmRosError

MAX_LINE = 4_000_000  # characters; a plan of a step has some thousand
ARRAYS = ("times_s", "positions", "velocities")  # of a JointTrajectory
MAX_KNOTS = 10_000


@dataclass(frozen=True)
class PlanRequest:
    """Plan from rest at `q` to a pose of the planner's tip in the base frame; the displacement on the way is a line."""

    id: int
    q: tuple[float, ...]  # [joints] rad
    position_m: tuple[float, ...]  # [3] of the tip
    quaternion: tuple[float, ...]  # x, y, z, w of the tip
    velocity_scale: float  # share of the joint velocity limits
    timeout_s: float

    def line(self) -> str:
        """As it is sent."""
        return json.dumps(dataclasses.asdict(self))


@dataclass(frozen=True)
class Answer:
    """One line of the planner: a trajectory, or the sentence that says why there is none."""

    id: int
    trajectory: JointTrajectory | None = None
    refused: str = ""


def trajectory_line(number: int, trajectory: JointTrajectory) -> str:
    """A plan as it is sent."""
    arrays = {name: getattr(trajectory, name).tolist() for name in ARRAYS}
    return json.dumps({"id": number, **arrays})


def parse_request(line: str) -> PlanRequest:
    """Raises AmRosError, KeyError or ValueError if the line is no request."""
    return from_dict(PlanRequest, json.loads(line))


def parse_answer(line: str) -> Answer:
    """Raises AmRosError "planner_malformed: ..." if the line is no answer; values are the guard's question."""
    try:
        if len(line) > MAX_LINE:
            raise ValueError
        message = json.loads(line)
        if "refused" in message:
            return Answer(int(message["id"]), refused=str(message["refused"])[:500])
        times, positions, velocities = (np.array(message[name], float) for name in ARRAYS)
        if times.ndim != 1 or positions.ndim != 2 or velocities.ndim != 2 or len(times) > MAX_KNOTS:
            raise ValueError
        return Answer(int(message["id"]), JointTrajectory(times, positions, velocities))
    except (ValueError, KeyError, TypeError):
        raise AmRosError(f"planner_malformed: the planner answered {line[:80]!r}") from None


Plans: TypeAlias = Callable[[PlanRequest], JointTrajectory]


def serve(make_planner: Callable[[dict[str, Any]], tuple[str, Plans]]) -> int:
    """Answer requests until stdin ends; the exit code: 0 then, 2 if the planner cannot be made.

    `make_planner` is called with the configuration and returns who answers, and the function that plans. Libraries
    that write to stdout do not disturb: it is stderr for everybody else.
    """
    wire = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    try:
        name, plan = make_planner(json.loads(sys.stdin.readline()))
    except AmRosError as error:
        wire.write(json.dumps({"fatal": str(error)}) + "\n")
        return 2
    wire.write(json.dumps({"ready": name}) + "\n")
    for line in sys.stdin:
        request = parse_request(line)
        try:
            answer = trajectory_line(request.id, plan(request))
        except AmRosError as error:
            answer = json.dumps({"id": request.id, "refused": str(error)})
        wire.write(answer + "\n")
    return 0
