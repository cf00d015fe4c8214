"""Teleoperation without ROS: keys and a joystick's axes to steps of the tool, and what becomes of an episode.

Nothing moves by itself: each key typed is one step, and a joystick moves the arm while its dead-man button is held and
its messages keep coming.
"""

import math
import threading
from collections import deque
from dataclasses import dataclass
from enum import Enum

from am_ros.action import ActionSpace, CartesianAction, Gripper
from am_ros.bags.labels import BAD, DISCARDED, GOOD
from am_ros.configuration import parameter
from am_ros.errors import AmRosError

_LIMITS = ActionSpace()


@dataclass(frozen=True)
class TeleopConfig:
    """How far a key or a full deflection goes, and what the joystick's axes and buttons mean."""

    step_m: float = parameter(0.02, "length of one step [m]", range=(0.001, min(_LIMITS.max_translation_m)))
    turn_rad: float = parameter(0.12, "one turn about the vertical axis [rad]", range=(0.01, _LIMITS.max_rotation_rad))
    key_timeout_s: float = parameter(
        0.4, "a key typed while the arm moves counts for so long; a held key stops the arm that late [s]",
        range=(0.05, 5.0),
    )  # fmt: skip
    joy_timeout_s: float = parameter(
        0.3, "joy_stale: without a message for so long the arm is stopped [s]", range=(0.05, 5.0)
    )
    joy_same_s: float = parameter(
        5.0, "joy_frozen: the same message for so long, and the arm is stopped until another one comes [s]",
        range=(0.5, 60.0),
    )  # fmt: skip
    joy_deadzone: float = parameter(0.15, "deflections below count as none", range=(0.0, 0.9))
    joy_axes: tuple[int, ...] = parameter(
        (1, 0, 4, 3), "axes for x (away from the base), y (left), z (up) and turn; -1: none", range=(-1, 63)
    )
    joy_signs: tuple[float, ...] = parameter(
        (1.0, 1.0, 1.0, 1.0), "1, or -1 where an axis runs the other way", range=(-1.0, 1.0)
    )
    joy_deadman: int = parameter(4, "button to be held while the arm moves", range=(0, 63))
    joy_open: int = parameter(1, "button: open the gripper; -1: none, as for those below", range=(-1, 63))
    joy_close: int = parameter(0, "button: close the gripper", range=(-1, 63))
    joy_episode: int = parameter(7, "button: begin an episode, or end it without label", range=(-1, 63))
    joy_terminate: int = parameter(5, "button: end the episode by a step that terminates", range=(-1, 63))
    joy_good: int = parameter(3, "button: good", range=(-1, 63))
    joy_bad: int = parameter(2, "button: bad", range=(-1, 63))
    joy_discard: int = parameter(6, "button: discard", range=(-1, 63))

    def __post_init__(self):
        for name in ("joy_axes", "joy_signs"):
            if len(getattr(self, name)) != 4:
                raise AmRosError(f"parameter {name}: needs four numbers, for x, y, z and turn")


class Control(Enum):
    """What an operator may want beside a step."""

    STOP = "stop"  # brake now
    EPISODE = "episode"  # begin one, or end it
    TERMINATE = "terminate"
    GOOD = GOOD
    BAD = BAD
    DISCARD = DISCARDED
    FASTER = "longer steps"
    SLOWER = "shorter steps"
    HELP = "help"
    QUIT = "quit"


HELP = """\
  w s   away, back        up down arrows too      enter  begin an episode, or end it
  a d   left, right       left right arrows too   t      end it by a step that terminates
  r f   up, down                                  g b    good, bad: the episode, or the last one
  q e   turn left, right                          x      discard it
  o c   open, close the gripper                   + -    longer, shorter steps
  space stop                                      h ctrl-c  this help, quit"""

_MOVES = {
    "w": (1, 0, 0, 0), "s": (-1, 0, 0, 0), "a": (0, 1, 0, 0), "d": (0, -1, 0, 0), "r": (0, 0, 1, 0), "f": (0, 0, -1, 0),
    "q": (0, 0, 0, 1), "e": (0, 0, 0, -1), "up": (1, 0, 0, 0), "down": (-1, 0, 0, 0), "left": (0, 1, 0, 0),
    "right": (0, -1, 0, 0),
}  # fmt: skip
_GRIPPER = {"o": Gripper.OPEN, "c": Gripper.CLOSE}
_CONTROLS = {
    " ": Control.STOP, "\r": Control.EPISODE, "\n": Control.EPISODE, "t": Control.TERMINATE, "g": Control.GOOD,
    "b": Control.BAD, "x": Control.DISCARD, "+": Control.FASTER, "=": Control.FASTER, "-": Control.SLOWER,
    "h": Control.HELP, "?": Control.HELP, "\x03": Control.QUIT, "\x04": Control.QUIT,
}  # fmt: skip
_ARROWS = {"A": "up", "B": "down", "C": "right", "D": "left"}


class KeyDecoder:
    """Bytes of a terminal to keys: characters, and "up", "down", "left", "right" for the arrows."""

    def __init__(self):
        self._rest = ""

    def feed(self, data: bytes) -> list[str]:
        """The keys that are complete now; the beginning of an arrow's sequence waits for its end."""
        text, keys = self._rest + data.decode("utf-8", "ignore"), []
        self._rest = ""
        while text:
            if not text.startswith("\x1b"):
                keys.append(text[0])
                text = text[1:]
            elif len(text) < 3 and text in ("\x1b", "\x1b[", "\x1bO"):
                self._rest, text = text, ""
            elif text[1] in "[O":
                end = next((i for i, c in enumerate(text[2:], 2) if "@" <= c <= "~"), len(text) - 1)
                arrow = _ARROWS.get(text[end]) if end == 2 else None
                keys += [arrow] if arrow else []  # other keys of this kind mean nothing here
                text = text[end + 1 :]
            else:
                text = text[1:]
        return keys


def meaning(key: str, config: TeleopConfig, factor: float = 1.0) -> CartesianAction | Control | None:
    """What a key asks for; steps are `factor` times as long as configured, within the action space."""
    key = key.lower() if len(key) == 1 else key
    if key in _MOVES:
        return step(_MOVES[key], config, factor)
    if key in _GRIPPER:
        return CartesianAction(gripper=_GRIPPER[key])
    return _CONTROLS.get(key)


def step(direction, config: TeleopConfig, factor: float = 1.0) -> CartesianAction:
    """A step along (x, y, z, turn), each -1 ... 1, no longer than the action space allows."""
    lengths = [*(min(config.step_m * factor, limit) for limit in _LIMITS.max_translation_m)]
    turn = min(config.turn_rad * factor, _LIMITS.max_rotation_rad)
    x, y, z, about = (float(d) for d in direction)
    return CartesianAction((x * lengths[0], y * lengths[1], z * lengths[2]), about * turn)


class Joystick:
    """Messages of a joystick: a step while the dead-man button is held, and controls once per press."""

    def __init__(self, config: TeleopConfig):
        self._config = config
        self._buttons: tuple[bool, ...] | None = None
        c = config
        self._controls = {
            c.joy_episode: Control.EPISODE, c.joy_terminate: Control.TERMINATE, c.joy_good: Control.GOOD,
            c.joy_bad: Control.BAD, c.joy_discard: Control.DISCARD,
        }  # fmt: skip

    def read(self, axes, buttons, factor: float = 1.0) -> tuple[CartesianAction | None, list[Control]]:
        """The step wanted now (None: stand still) and what was pressed since the message before.

        Buttons that are down in the first message count once they were up. Axes that are not there or not finite
        count as untouched.
        """
        now = tuple(bool(b) for b in buttons)
        before = now if self._buttons is None else self._buttons
        self._buttons = now

        def held(buttons, number):
            return 0 <= number < len(buttons) and buttons[number]

        pressed = [c for number, c in self._controls.items() if held(now, number) and not held(before, number)]
        if not held(now, self._config.joy_deadman):
            return None, pressed
        for number, gripper in ((self._config.joy_open, Gripper.OPEN), (self._config.joy_close, Gripper.CLOSE)):
            if held(now, number):
                return CartesianAction(gripper=gripper), pressed
        direction = [
            sign * self._deflection(axes[axis]) if 0 <= axis < len(axes) else 0.0
            for axis, sign in zip(self._config.joy_axes, self._config.joy_signs, strict=True)
        ]
        return (step(direction, self._config, factor) if any(direction) else None), pressed

    def _deflection(self, value: float) -> float:
        """-1 ... 1 beyond the dead zone."""
        if not math.isfinite(value) or abs(value) <= self._config.joy_deadzone:
            return 0.0
        beyond = (min(abs(value), 1.0) - self._config.joy_deadzone) / (1 - self._config.joy_deadzone)
        return math.copysign(beyond, value)


class Wishes:
    """What the operator wants now, between the threads that hear it and the one that acts.

    A step waits `key_timeout_s` at most, and only the newest one; controls wait until they are taken, in order. Times
    are those of time.monotonic().
    """

    def __init__(self, config: TeleopConfig):
        self._config = config
        self._news = threading.Condition()
        self._key: tuple[CartesianAction, float] | None = None
        self._joy: tuple[CartesianAction | None, float] | None = None
        self._content: object = None  # of the last message
        self._same_since_s = 0.0
        self._controls: deque[Control] = deque()
        self._driven_by_joy = False

    def key(self, wish: CartesianAction | Control, now_s: float) -> None:
        """A key was typed."""
        with self._news:
            if isinstance(wish, Control):
                self._controls.append(wish)
            else:
                self._key = wish, now_s
            if wish is Control.STOP:
                self._key = None
            self._news.notify_all()

    def joy(self, wish: CartesianAction | None, pressed: list[Control], now_s: float, content=None) -> None:
        """A message of the joystick came; `content`: its axes and buttons, or else the wish tells whether it is new.

        joy_node repeats the last message (autorepeat_rate), also while a radio link is down.
        """
        content = (wish, tuple(pressed)) if content is None else content
        with self._news:
            if content != self._content:
                self._content, self._same_since_s = content, now_s
            self._joy = wish, now_s
            self._controls.extend(pressed)
            self._news.notify_all()

    def next(self, wait_s: float, now_s) -> CartesianAction | Control | None:
        """The next control, else the step wanted now, else None after `wait_s`; `now_s()` tells the time."""
        with self._news:
            if (wish := self._take(now_s())) is None:
                self._news.wait(wait_s)
                wish = self._take(now_s())
            return wish

    def halt(self, now_s: float) -> str:
        """Why the step under way has to be stopped: a sentence, or nothing."""
        with self._news:
            if Control.STOP in self._controls or Control.QUIT in self._controls:
                return "stopped by the operator"
            if not self._driven_by_joy or self._joy is None:
                return ""
            wish, heard_s = self._joy
            if now_s - heard_s > self._config.joy_timeout_s:
                return f"joy_stale: topic joy: nothing came for {now_s - heard_s:.1f} s"
            if self._frozen(now_s):
                return f"joy_frozen: topic joy: the same message for {now_s - self._same_since_s:.1f} s"
            return "" if wish is not None else "the joystick was let go"

    def _frozen(self, now_s: float) -> bool:
        return now_s - self._same_since_s > self._config.joy_same_s

    def _take(self, now_s: float) -> CartesianAction | Control | None:
        if self._controls:
            return self._controls.popleft()
        key, self._key = self._key, None
        if key is not None and now_s - key[1] <= self._config.key_timeout_s:
            self._driven_by_joy = False
            return key[0]
        wish, came_s = self._joy or (None, now_s)
        if wish is not None and now_s - came_s <= self._config.joy_timeout_s and not self._frozen(now_s):
            self._driven_by_joy = True
            return wish
        return None


class Effect(Enum):
    """What a control does to the episode."""

    BEGIN = "begin"
    END = "end"
    LABEL = "label"
    DISCARD = "discard"
    NOTHING = "nothing"


class EpisodeState:
    """Which episode is being recorded, and which one a label means: the running one, else the last."""

    def __init__(self):
        self.running = ""
        self.last = ""  # the one that a label means once it has ended; empty: none, or it was discarded

    def effects(self, control: Control) -> list[Effect]:
        """What to do, in order, if the operator asks for this."""
        if control is Control.EPISODE:
            return [Effect.END] if self.running else [Effect.BEGIN]
        if control is Control.TERMINATE:
            return [Effect.END] if self.running else [Effect.NOTHING]
        if control is Control.DISCARD:
            return [Effect.DISCARD] if self.running or self.last else [Effect.NOTHING]
        if control in (Control.GOOD, Control.BAD):
            if self.running:
                return [Effect.END, Effect.LABEL]
            return [Effect.LABEL] if self.last else [Effect.NOTHING]
        return []

    def begun(self, episode_id: str) -> None:
        """It is being recorded."""
        self.running, self.last = episode_id, ""

    def ended(self) -> None:
        """Its END was published."""
        self.running, self.last = "", self.running

    def discarded(self) -> None:
        """Nothing is left of it."""
        self.running = self.last = ""
