"""An episode that is begun by hand while the node has not found the controller yet."""

import threading
import time
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from am_ros.errors import AmRosError
from am_ros.ros.commanding import manual_episodes
from am_ros.ros.commanding.manual_episodes import ManualEpisodes
from am_ros.ros.messages.acting import Label

GONE = "controller_gone: no node offers the action cartesian_controller/move_cartesian any more"


class Episodes(ManualEpisodes):
    """The first `unseen` looks do not find the controller; an observation needs it, as that of the runner does."""

    def __init__(self, unseen: int):
        self._left, self.began, self.label = unseen, [], None
        self._commander = SimpleNamespace(fault=self._fault)
        self._until_end = manual_episodes.ExitStack()

    def _fault(self, _now_s: float) -> str | None:
        self._left -= 1
        return GONE if self._left >= 0 else None

    @contextmanager
    def _watching(self, _cancelled):
        yield

    def _now(self) -> int:
        return 0

    def _observe(self, _after_ns: int) -> str:
        if fault := self._commander.fault(time.monotonic()):
            raise AmRosError(fault)
        return "seen"

    def _begin(self, label, _seen) -> None:
        self.began.append(label)


def test_an_episode_waits_for_a_controller_that_is_not_found_yet():
    episodes, label = Episodes(unseen=5), Label("first", "teleop", "")
    episodes.begin(label, threading.Event())
    assert episodes.began == [label]


@pytest.mark.parametrize("halts", [False, True])
def test_it_waits_no_longer_than_is_patient_or_until_it_is_halted(monkeypatch, halts):
    monkeypatch.setattr(manual_episodes, "CONTROLLER_WAIT_S", 60.0 if halts else 0.1)
    halted, episodes = threading.Event(), Episodes(unseen=10**6)
    if halts:
        halted.set()
    with pytest.raises(AmRosError, match="controller_gone: no node offers the action"):
        episodes.begin(Label("first", "teleop", ""), halted)
    assert not episodes.began and episodes.label is None
