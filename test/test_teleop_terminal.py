"""Teleoperation as an operator has it: `am-ros teleop` in a pseudo-terminal, the simulated cell, the logger's bags."""

import functools
import os
import pty
import re
import signal
import subprocess
import sys
import termios
import threading
import time

import numpy as np
import pytest
from conftest import wait_until
from geometry_msgs.msg import PoseStamped
from sensor_msgs.msg import Joy

from am_ros import cli
from am_ros.action import CLOSE, TERMINATE, ActionSpace
from am_ros.bags.episodes import read_episode
from am_ros.bags.finder import find_bags
from am_ros.bags.verify import verify
from am_ros.cell.environment import child_environment
from am_ros.cell.processes import die_with_parent

SPACE = ActionSpace()


class Terminal:
    """`am-ros teleop` on one side of a pseudo-terminal, a person on the other."""

    def __init__(self, env, *arguments):
        self.hand, self._side = pty.openpty()
        self.before = termios.tcgetattr(self._side)
        command = [sys.executable, "-m", "am_ros.cli", "teleop", *arguments]
        die = functools.partial(die_with_parent, os.getpid())
        sides = {"stdin": self._side, "stdout": self._side, "stderr": self._side}
        self.process = subprocess.Popen(command, env=child_environment(env), preexec_fn=die, **sides)
        self.shown = ""
        threading.Thread(target=self._read, daemon=True).start()
        self.wait("ready: keyboard", 60)

    def _read(self):
        while True:
            try:
                self.shown += os.read(self.hand, 4096).decode("utf-8", "replace")
            except OSError:
                return

    def wait(self, text, timeout_s=20.0, since=0):
        wait_until(lambda: re.search(text, self.shown[since:]), timeout_s, f"{text!r} in {self.shown[-600:]!r}")
        return re.search(text, self.shown[since:])

    def type(self, keys, answer, timeout_s=20.0):
        """Type keys and wait until the terminal shows an answer (a regular expression)."""
        since = len(self.shown)
        os.write(self.hand, keys.encode())
        return self.wait(answer, timeout_s, since)

    def restored(self) -> bool:
        return termios.tcgetattr(self._side) == self.before

    def close(self):
        self.process.kill()
        self.process.wait(10)
        os.close(self._side)
        os.close(self.hand)


@pytest.fixture
def velocity_scale() -> float:
    """The arm's speed; a test that needs another one names it."""
    return 0.3


@pytest.fixture
def cell(ros, start_node, tmp_path, velocity_scale):
    """The simulated cell, its controller and the logger; the poses of the tool gather in what is returned."""
    start_node("sim_workcell", ready="cell is running")
    start_node("cartesian_controller", velocity_scale=velocity_scale)
    start_node("episode_logger", ready="ready", folder=str(tmp_path / "bags"), free_disk_mb=0)
    poses = ros.receive(PoseStamped, "ee_pose")
    poses.wait(1, 30)
    return poses


@pytest.fixture
def terminal(cell, ros_env):
    terminals = []

    def start(*arguments):
        terminals.append(Terminal(ros_env, *arguments))
        return terminals[-1]

    yield start
    for t in terminals:
        t.close()


def position(poses) -> np.ndarray:
    p = poses[-1].pose.position
    return np.array([p.x, p.y, p.z])


def test_episodes_are_played_labelled_and_read_back_and_the_terminal_is_as_before(cell, terminal, tmp_path, capsys):
    operator = terminal("--task", "play", "--step-m", "0.03")
    start = position(cell)
    operator.type("w", "not recording")
    assert position(cell)[0] - start[0] == pytest.approx(0.03, abs=5e-3)
    time.sleep(0.5)
    assert len(find_bags(tmp_path / "bags")) == 0  # an arm that is only moved is not recorded

    name = operator.type("\n", r"episode (teleop_\d+): recording").group(1)
    for count, key in enumerate(("s", "\x1b[A", "f", "e", "c"), 1):
        operator.type(key, f"{count} steps recorded")
    operator.type("t", f"episode {name}: 6 steps, terminated")
    operator.type("g", f"episode {name}: good")
    bag = tmp_path / "bags" / name
    wait_until(bag.is_dir, 60, "the bag")

    episode = read_episode(bag, SPACE)
    assert (episode.info.source, episode.info.task, episode.info.reason) == ("teleoperation", "play", "terminated")
    assert episode.info.extra["label"] == "good" and len(episode) == 6
    moved = episode.actions[:, :4] * SPACE.scale
    np.testing.assert_allclose(moved[:3, :3], [[-0.03, 0, 0], [0.03, 0, 0], [0, 0, -0.03]], atol=4e-3)
    assert moved[3, 3] == pytest.approx(-0.12, abs=0.02)
    assert episode.actions[4, CLOSE] == 1 and episode.actions[5, TERMINATE] == 1
    # What is recorded as done is what the states say.
    np.testing.assert_allclose(np.diff(episode.states[:4, 2]), moved[:3, 0], atol=2e-3)
    assert verify(bag, SPACE).problems == []

    second = operator.type("\r", r"episode (teleop_\d+): recording").group(1)
    operator.type("w", "1 steps recorded")
    operator.type("x", f"episode {second}: discarded")
    third = operator.type("\r", r"episode (teleop_\d+): recording").group(1)
    operator.type("s", "1 steps recorded")
    operator.type("\r", f"episode {third}: 1 steps, stopped")
    wait_until((tmp_path / "bags" / third).is_dir, 60, "the third bag")
    operator.type("b", f"episode {third}: bad")  # of a bag that is closed
    assert read_episode(tmp_path / "bags" / third, SPACE).info.extra["label"] == "bad"
    operator.type("x", f"episode {third}: discarded")
    assert [b.name for b in find_bags(tmp_path / "bags")] == [name]
    operator.type("g", "no episode to be good")

    fourth = operator.type("\r", r"episode (teleop_\d+): recording").group(1)
    operator.type("s", "1 steps recorded")
    os.write(operator.hand, b"\x03")
    assert operator.process.wait(60) == 0 and operator.restored()
    wait_until((tmp_path / "bags" / fourth).is_dir, 60, "the bag of the episode that was ended by Ctrl-C")
    assert read_episode(tmp_path / "bags" / fourth, SPACE).info.reason == "stopped"

    assert cli.main(["bags", "label", str(bag), "bad"]) == 0
    assert cli.main(["bags", "info", str(tmp_path / "bags")]) == 0
    assert re.search(rf"{name} .* bad +teleoperation", capsys.readouterr().out)


@pytest.mark.parametrize("velocity_scale", [0.04])  # so slow that two seconds are left after the motion is seen
def test_a_terminal_that_is_ended_stops_the_arm_and_is_as_before(cell, terminal):
    operator = terminal("--step-m", "0.08")
    assert not operator.restored()
    start = position(cell)
    os.write(operator.hand, b"d" if start[1] > 0 else b"a")
    wait_until(lambda: np.abs(position(cell) - start).max() > 0.004, 60, "motion")
    operator.process.send_signal(signal.SIGTERM)
    assert operator.process.wait(60) == 0 and operator.restored()
    assert np.abs(position(cell) - start).max() < 0.075 and stands_still(cell)  # not to the end of the step


class Stick:
    """A joystick: its messages go out at 25 Hz until it is unplugged."""

    def __init__(self, ros):
        self.axes, self.buttons = [0.0] * 6, [0] * 8
        self._publisher, self._stop = ros.publisher(Joy, "joy"), threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        while not self._stop.wait(0.04):
            self._publisher.publish(Joy(axes=self.axes, buttons=self.buttons))

    def hold(self, *buttons):
        self.buttons = [int(i in buttons) for i in range(8)]

    def unplug(self):
        self._stop.set()
        self._thread.join(5)


def stands_still(poses, seconds=0.4) -> bool:
    before = position(poses)
    time.sleep(seconds)
    return np.abs(position(poses) - before).max() < 1e-3


@pytest.mark.slow
def test_a_joystick_moves_the_arm_while_its_button_is_held_and_its_messages_come(cell, start_node, ros):
    node = start_node("teleop", source="joy", step_m=0.08, ready="ready: topic /joy")
    stick, start = Stick(ros), position(cell)
    stick.axes[0] = -1.0 if start[1] > 0 else 1.0  # towards the middle
    assert stands_still(cell)  # deflected, but nobody holds the button
    stick.hold(4)
    wait_until(lambda: np.abs(position(cell) - start).max() > 0.03, 60, "motion")
    stick.hold()
    node.wait_for_line("the joystick was let go")
    wait_until(lambda: stands_still(cell), 5, "standstill")
    stick.axes[0] *= -1
    stick.hold(4)
    begun = position(cell)
    wait_until(lambda: np.abs(position(cell) - begun).max() > 0.01, 60, "motion the other way")
    stick.unplug()
    node.wait_for_line("joy_stale: topic joy: nothing came for")
    wait_until(lambda: stands_still(cell), 5, "standstill without messages")
