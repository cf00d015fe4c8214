"""Teleoperation without ROS: keys and joysticks to steps, what counts, what becomes of an episode; terminals."""

import math
import os
import pty
import subprocess
import sys
import termios

import pytest

from am_ros.action import CartesianAction, Gripper
from am_ros.errors import AmRosError
from am_ros.ros.commanding.terminal import KeyTerminal
from am_ros.teleop import Control, Effect, EpisodeState, Joystick, KeyDecoder, TeleopConfig, Wishes, meaning, step

CONFIG = TeleopConfig()


def test_keys_are_steps_along_the_axes_of_the_base():
    assert meaning("w", CONFIG).translation_m == (0.02, 0.0, 0.0)
    assert meaning("d", CONFIG).translation_m == meaning("right", CONFIG).translation_m == (0.0, -0.02, 0.0)
    assert meaning("F", CONFIG).translation_m == (0.0, 0.0, -0.02)
    assert meaning("q", CONFIG).rotation_z_rad == CONFIG.turn_rad
    assert meaning("o", CONFIG) == CartesianAction(gripper=Gripper.OPEN)
    assert meaning("\r", CONFIG) is Control.EPISODE and meaning("\x03", CONFIG) is Control.QUIT
    assert meaning("y", CONFIG) is None
    assert meaning("r", CONFIG, 100.0).translation_m == (0.0, 0.0, 0.08)  # never beyond the action space


def test_arrows_arrive_in_pieces_and_other_sequences_mean_nothing():
    decoder = KeyDecoder()
    assert decoder.feed(b"w\x1b[") == ["w"]
    assert decoder.feed(b"A\x1bOB") == ["up", "down"]
    assert decoder.feed(b"\x1b[5~g\x1b[1;5Cx") == ["g", "x"]
    assert decoder.feed(b"\x1bw") == ["w"] and decoder.feed(b"\xff\xc3\xa9") == ["é"]


def test_a_key_that_was_typed_long_ago_moves_nothing_and_only_the_newest_counts():
    wishes = Wishes(CONFIG)
    wishes.key(meaning("w", CONFIG), 10.0)
    wishes.key(meaning("s", CONFIG), 10.1)
    assert wishes.next(0, lambda: 10.2).translation_m[0] < 0
    assert wishes.next(0, lambda: 10.2) is None
    wishes.key(meaning("w", CONFIG), 10.3)
    assert wishes.next(0, lambda: 11.0) is None
    wishes.key(Control.GOOD, 10.3)
    assert wishes.next(0, lambda: 99.0) is Control.GOOD


def test_space_halts_the_step_under_way_and_forgets_the_next():
    wishes = Wishes(CONFIG)
    wishes.key(meaning("w", CONFIG), 0.0)
    assert not wishes.halt(0.0)
    wishes.key(Control.STOP, 0.1)
    assert wishes.halt(0.1) == "stopped by the operator"
    assert wishes.next(0, lambda: 0.1) is Control.STOP and wishes.next(0, lambda: 0.1) is None
    assert not wishes.halt(0.2)


def test_a_joystick_moves_nothing_without_its_button_or_its_messages():
    stick, wishes = Joystick(CONFIG), Wishes(CONFIG)
    axes = [0.0, 1.0, 0.0, 0.0, -0.1, 0.0]

    def hear(buttons, now_s):
        wish, pressed = stick.read(axes, [int(i in buttons) for i in range(8)])
        wishes.joy(wish, pressed, now_s)
        return wishes.next(0, lambda: now_s)

    assert hear([], 0.0) is None
    assert hear([4], 0.1).translation_m == (0.02, 0.0, 0.0)  # the small deflection of z counts as none
    assert not wishes.halt(0.2)
    assert wishes.halt(0.5).startswith("joy_stale: topic joy: nothing came for 0.4 s")
    assert wishes.next(0, lambda: 0.5) is None
    assert hear([4], 0.6) is not None and hear([], 0.7) is None and wishes.halt(0.7) == "the joystick was let go"
    assert hear([4, 0], 0.8) == CartesianAction(gripper=Gripper.CLOSE)


def test_a_joystick_that_repeats_its_last_message_for_ever_ends_after_a_time():
    """joy_node does that with autorepeat_rate, also while the radio link is down."""
    config = TeleopConfig(joy_same_s=5.0)
    wishes, moving = Wishes(config), step((1, 0, 0, 0), config)
    for now_s in (0.05 * k for k in range(100)):
        wishes.joy(moving, [], now_s, "held")
        assert wishes.next(0, lambda now_s=now_s: now_s) is moving and wishes.halt(now_s) == ""
    wishes.joy(moving, [], 5.1, "held")
    assert wishes.halt(5.1).startswith("joy_frozen: topic joy: the same message for 5.1 s")
    assert wishes.next(0, lambda: 5.1) is None
    wishes.joy(moving, [], 5.2, "moved a little")
    assert wishes.next(0, lambda: 5.2) is moving and wishes.halt(5.2) == ""


def test_buttons_count_once_per_press_and_axes_that_are_missing_or_not_numbers_as_untouched():
    stick = Joystick(TeleopConfig(joy_signs=(1.0, -1.0, 1.0, 1.0)))
    assert stick.read([], [0] * 7 + [1]) == (None, [])  # down in the first message
    assert stick.read([], [0] * 8) == (None, [])
    assert stick.read([], [0] * 7 + [1])[1] == [Control.EPISODE]
    assert stick.read([], [0] * 7 + [1])[1] == []
    held = [0, 0, 0, 0, 1]
    assert stick.read([math.nan, math.inf], held) == (None, [])
    assert stick.read([5.0], held)[0].translation_m == (0.0, -0.02, 0.0)
    with pytest.raises(AmRosError, match="parameter joy_axes: needs four numbers"):
        TeleopConfig(joy_axes=(1, 0))


def test_a_label_means_the_running_episode_or_the_last_one_and_no_discarded_one():
    state = EpisodeState()
    assert state.effects(Control.GOOD) == [Effect.NOTHING] and state.effects(Control.DISCARD) == [Effect.NOTHING]
    assert state.effects(Control.EPISODE) == [Effect.BEGIN] and state.effects(Control.TERMINATE) == [Effect.NOTHING]
    state.begun("a")
    assert state.effects(Control.EPISODE) == [Effect.END] and state.effects(Control.BAD) == [Effect.END, Effect.LABEL]
    state.ended()
    assert (state.running, state.last) == ("", "a")
    assert state.effects(Control.GOOD) == [Effect.LABEL] and state.effects(Control.DISCARD) == [Effect.DISCARD]
    state.discarded()
    assert state.effects(Control.GOOD) == [Effect.NOTHING]


def test_a_keyboard_needs_a_terminal_and_leaves_it_as_it_was():
    hand, side = pty.openpty()
    before = termios.tcgetattr(side)
    with pytest.raises(ZeroDivisionError), os.fdopen(os.dup(side), "rb") as stream, KeyTerminal(stream) as terminal:
        assert not termios.tcgetattr(side)[3] & (termios.ECHO | termios.ICANON)
        os.write(hand, b"w\x03")
        assert terminal.read(5.0) == b"w\x03"  # Ctrl-C is a key
        assert terminal.read(0.0) == b""
        _ = 1 / 0
    assert termios.tcgetattr(side) == before
    # Without any unwinding: the interpreter's own exit puts it back.
    code = "import sys; from am_ros.ros.commanding.terminal import KeyTerminal; KeyTerminal().__enter__(); sys.exit(3)"
    assert subprocess.run([sys.executable, "-c", code], stdin=side).returncode == 3
    assert termios.tcgetattr(side) == before
    for end in (hand, side):
        os.close(end)
    with open(os.devnull) as stream, pytest.raises(AmRosError, match="keyboard_without_terminal: standard input"):
        KeyTerminal(stream)
