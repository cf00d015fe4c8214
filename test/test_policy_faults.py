"""What ends an episode in mid-motion: a broken camera, a lost controller, another commander, a jumping clock."""

import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import torch
from am_msgs.action import MoveCartesian, ReachGoal
from am_msgs.msg import ControllerStatus, EpisodeEvent, Heartbeat, Step
from am_msgs.srv import CountImages, LoadCheckpoint
from conftest import wait_until
from diagnostic_msgs.msg import DiagnosticArray
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image
from test_policy_server import pursue, save_untrained
from test_transport import TALKER

from am_ros import images
from am_ros.cell.environment import child_environment
from am_ros.nodes.image_relay import IMAGE_IN, set_relay
from am_ros.ros.node.common import LATCHED_QOS, RELIABLE_QOS, from_ns

GOAL = Image()
images.fill_image(GOAL, np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8))
# What the relay does, what the episode ends with, and within how many seconds, on a machine that has other work: to
# the frame it is tested in test_camera_watchdog.py.
BROKEN = (
    ("frozen", "image_frozen: topic image_raw: ", "same pixels, while the arm moved by", 8.0),
    ("stuck", "image_frozen: topic image_raw: ", "have the same stamp", 1.5),
    ("black", "image_black: topic image_raw: ", "black image: mean 0.0 below 4", 1.5),
    ("wrong_size", "image_wrong_size: topic image_raw: ", "64x32 px, but 64x64 is expected", 1.5),
    ("nothing", "image_stale: topic image_raw: ", "no new image for 1.5 s", 3.0),
    ("stamp_back", "image_stamp_jump: topic image_raw: ", "s before the one before it", 1.5),
    ("stamp_ahead", "image_stamp_jump: topic image_raw: ", "s in the future: the clocks differ", 1.5),
)


class PublishedClock:
    """Simulated time on /clock: real time, and `offset_s` that can be set."""

    def __init__(self, ros):
        self.offset_s, self._stop = 0.0, threading.Event()
        self._publisher = ros.node.create_publisher(Clock, "/clock", RELIABLE_QOS)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        while not self._stop.wait(0.02):
            self._publisher.publish(Clock(clock=from_ns(time.time_ns() + round(self.offset_s * 1e9))))

    def close(self):
        self._stop.set()
        self._thread.join()


@pytest.fixture
def relay(start_node):
    """A camera that can be broken, between the simulated one and everybody else."""
    return start_node("image_relay", mode="pass")


def camera_path(reports):
    """What the policy server said last of its images: the status and its numbers."""

    def mine():
        return [r.status[0] for r in reports if r.status[0].name == "/policy_server: camera path"]

    wait_until(mine, what="a report of the camera path")
    status = mine()[-1]
    return status, {v.key: float(v.value) for v in status.values}


def start_episode(ros):
    """Send a goal that is never reached; returns the goal once the arm moves."""
    run = ros.send_goal(ReachGoal, "policy_server/reach_goal", goal_image=GOAL, max_steps=500, timeout_s=20)
    wait_until(lambda: len(run.feedback) > 1 or run.done, 60, "the second step")
    assert not run.done, run.result().reason
    return run


@pytest.fixture
def start_cell(start_node, tmp_path):
    """A function that starts the cell with an untrained policy, which reaches nothing and goes on."""

    def start(sim=None, changed=None, **parameters):
        policy = save_untrained(tmp_path / "checkpoint", changed or (lambda network: None))
        start_node("sim_workcell", **(sim or {}), **parameters)
        controller = start_node("cartesian_controller", velocity_scale=0.3, lease_s=2.0, **parameters)
        server = start_node("policy_server", checkpoint=str(policy), samples=8, image_timeout_s=1.5, lease_wait_s=0.1,
                            goal_check="off", **parameters)
        server.wait_for_line("serving")
        return controller, server

    return start


@pytest.mark.needs_quiet(0.2)
def test_whatever_happens_the_episode_ends_in_time_and_by_name(ros, start_cell, relay, tmp_path):
    # Finite for the input that a checkpoint is tried with, and not for what the arm's state makes of it.
    controller, server = start_cell({"remap": IMAGE_IN}, lambda network: network.state.weight.fill_(3e38))
    events, steps = ros.receive(EpisodeEvent, "episode_event", RELIABLE_QOS), ros.receive(Step, "step", RELIABLE_QOS)
    statuses = ros.receive(ControllerStatus, "controller_status", LATCHED_QOS)
    diagnostics, beats = ros.receive(DiagnosticArray, "/diagnostics", 10), ros.receive(Heartbeat, "commander_heartbeat")
    ros.wait_for_message(Image, "image_raw", 20)

    result, status = pursue(ros, goal_image=GOAL)
    assert status == "aborted" and result.reason.startswith("policy_not_finite: "), result.reason
    assert result.steps == 0 and not steps
    never = save_untrained(tmp_path / "never", lambda network: [p.fill_(torch.nan) for p in network.parameters()])
    refused = ros.call(LoadCheckpoint, "policy_server/load_checkpoint", path=str(never), timeout_s=20)
    assert not refused.success and refused.message.startswith("policy_not_finite: ")
    good = save_untrained(tmp_path / "good")
    assert ros.call(LoadCheckpoint, "policy_server/load_checkpoint", path=str(good), timeout_s=20).success

    for mode, name, sentence, within_s in BROKEN:
        run = start_episode(ros)
        set_relay(ros, mode=mode)
        began_s = time.monotonic()
        result = run.result(20)
        took_s = time.monotonic() - began_s
        assert result.end == result.FAULT, result.reason
        assert result.reason.startswith(name) and sentence in result.reason, result.reason
        assert took_s < within_s, f"{mode}: {took_s:.2f} s"
        wait_until(lambda: statuses[-1].state == ControllerStatus.IDLE, 1, "an arm that stands")
        set_relay(ros, mode="pass")
    wait_until(lambda: events[-1].type == EpisodeEvent.END and events[-1].reason == result.reason, 2, "the last END")

    wait_until(lambda: statuses[-1].commander == "", 5, "the end of the policy's lease")
    operator = ros.send_goal(MoveCartesian, "cartesian_controller/move_cartesian", commander="operator")
    assert operator.result(10).end == MoveCartesian.Result.DONE
    assert {beat.name for beat in beats} == {"policy_server"}
    beats.clear()
    assert statuses[-1].commander == "operator"
    result, _ = pursue(ros, goal_image=GOAL)
    assert result.end == result.FAULT and result.steps == 1
    assert result.reason.startswith("not_commander: operator holds the arm"), result.reason
    wait_until(lambda: statuses[-1].commander == "", 5, "the end of the operator's lease")
    count = len(beats)
    time.sleep(0.5)
    assert len(beats) == count  # nobody commands, no heartbeat

    run = start_episode(ros)
    controller.signal(signal.SIGKILL)
    server.signal(signal.SIGSTOP)  # as on a machine that has something else to do: then no image has come either
    time.sleep(2.0)
    server.signal(signal.SIGCONT)
    began_s = time.monotonic()
    result = run.result(20)
    assert result.reason.startswith("controller_gone: "), result.reason
    assert time.monotonic() - began_s < 2.5

    _, values = camera_path(diagnostics)
    assert 0 < values["latency_p50_ms"] <= values["latency_p99_ms"] <= values["latency_max_ms"] < 2000
    assert values["decisions"] > 10 and values["images_received"] > 50


def test_images_that_never_came_are_counted(ros, start_node, ros_env):
    reports = ros.receive(DiagnosticArray, "/diagnostics", 10)
    server = start_node("policy_server")
    ros.call(CountImages, "policy_server/count_images", timeout_s=20)
    talker = subprocess.Popen([sys.executable, str(TALKER), "60", "30"], env=child_environment(ros_env))
    wait_until(lambda: ros.call(CountImages, "policy_server/count_images").count > 5, what="the first images")
    server.signal(signal.SIGSTOP)
    time.sleep(0.8)
    server.signal(signal.SIGCONT)
    talker.wait()

    def counted():
        _, values = camera_path(reports)
        return values["images_received"] + values["images_missed"]

    wait_until(lambda: counted() > 50, what="the count")  # of those missed at the very end, no later number tells
    _, values = camera_path(reports)
    assert counted() <= 60
    assert 8 <= values["images_missed"] <= 30
    assert any(report.status[0].level == b"\x01" and " images missed since" in report.status[0].message
               for report in reports)


@pytest.mark.needs_quiet(0.2)
def test_a_clock_that_jumps_ends_the_episode_with_the_seconds_and_so_does_the_nodes_own_end(ros, start_cell):
    clock = PublishedClock(ros)
    try:
        _, server = start_cell(use_sim_time=True)
        events = ros.receive(EpisodeEvent, "episode_event", RELIABLE_QOS)
        for jump_s in (-3600.0, 3600.0):
            run = start_episode(ros)
            clock.offset_s += jump_s
            began_s = time.monotonic()
            result = run.result(20)
            assert time.monotonic() - began_s < 2.0
            assert result.reason.startswith("clock_jump: the clock of the stamps jumped by "), result.reason
            assert float(result.reason.split(" by ")[1].split()[0]) == pytest.approx(jump_s, abs=1)
        run = start_episode(ros)
        assert not run.done  # the next one goes by the new time
        server.signal(signal.SIGINT)
        assert server.wait() == 0
        assert (run.status(), run.result().reason) == ("aborted", "cancelled")
        last = events[-1]
        assert (last.type, last.reason, last.steps) == (EpisodeEvent.END, "cancelled", run.result().steps)
    finally:
        clock.close()
