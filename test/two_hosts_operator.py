"""The operator's program beside the arm, for test_two_hosts.py: a goal, a link that is cut meanwhile, another goal.

Says a line of JSON after each: what came of it. `moving` asks for the cut.
"""

import json
import sys
import time

import numpy as np
from am_msgs.action import ReachGoal
from am_msgs.msg import ControllerStatus
from sensor_msgs.msg import Image, JointState

from am_ros import images
from am_ros.errors import AmRosError
from am_ros.ros.introspection.client import RosClient
from am_ros.ros.node.common import LATCHED_QOS

PATIENCE_S = 120.0


def say(what: str, **values) -> None:
    print(json.dumps({"what": what, **values}), flush=True)


def wait_for(condition, timeout_s: float = PATIENCE_S) -> float:
    """Seconds until it holds; raises TimeoutError."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > timeout_s:
            raise TimeoutError("it did not come about")
        time.sleep(0.01)
    return time.monotonic() - began


def until_done(pursue):
    """The result of three whole steps. Asked for again while it is refused or cut short: the cell may be coming up, the
    link may just have done so, and on a busy machine the controller's second of silence is soon over.
    """
    began = time.monotonic()
    while True:
        try:
            result = pursue(3).result(PATIENCE_S)
            if result.steps == 3:
                return result
            say("cut_short", reason=result.reason, after_s=time.monotonic() - began)
        except AmRosError as error:
            say("refused", reason=str(error), after_s=time.monotonic() - began)
        if time.monotonic() - began > PATIENCE_S:
            raise TimeoutError("no goal was pursued to its third step")
        time.sleep(0.5)


def until_moving(pursue, statuses):
    """A goal of many steps, once the arm moves for it."""
    while True:
        run = pursue(500)
        began = time.monotonic()
        while not run.done and (len(run.feedback) < 2 or statuses[-1].state != ControllerStatus.MOVING):
            if time.monotonic() - began > PATIENCE_S:
                raise TimeoutError("the arm did not move")
            time.sleep(0.01)
        if not run.done:
            return run
        say("cut_short", reason=run.result().reason)


def main() -> None:
    goal = Image()
    images.fill_image(goal, np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8))
    with RosClient("operator") as ros:
        statuses = ros.receive(ControllerStatus, "controller_status", LATCHED_QOS)
        joints = ros.receive(JointState, "joint_states")
        began = time.monotonic()

        def pursue(steps: int):
            return ros.send_goal(ReachGoal, "policy_server/reach_goal", goal_image=goal, max_steps=steps, timeout_s=60)

        first = until_done(pursue)
        say("reached", reason=first.reason, end=first.end, steps=first.steps, up_s=time.monotonic() - began,
            decision_ms=first.decision_ms_p50)  # fmt: skip

        run = until_moving(pursue, statuses)
        say("moving")
        sys.stdin.readline()  # the link is down
        cut = time.monotonic()
        wait_for(lambda: statuses[-1].state != ControllerStatus.MOVING)
        wait_for(lambda: max(map(abs, joints[-1].velocity)) < 1e-3)
        say("still", after_s=time.monotonic() - cut, reason=statuses[-1].reason)
        sys.stdin.readline()  # the link is up again
        up = time.monotonic()
        try:
            ended = run.result(PATIENCE_S)
            say("ended", reason=ended.reason, end=ended.end, after_s=time.monotonic() - up)
        except AmRosError as error:
            say("ended", reason=f"unknown: {error}", end=-1, after_s=time.monotonic() - up)

        again = until_done(pursue)
        say("again", reason=again.reason, end=again.end, steps=again.steps, after_s=time.monotonic() - up)


if __name__ == "__main__":
    main()
