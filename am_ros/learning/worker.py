"""Training in a process of its own, so that whoever started it (the trainer node) always answers."""

import multiprocessing
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

from am_ros.action import ActionSpace
from am_ros.errors import AmRosError
from am_ros.learning.progress import Progress
from am_ros.learning.trainer_config import LearnerConfig
from am_ros.signals import leave_to_parent, spare_resource_tracker
from am_ros.workers import come_second

if TYPE_CHECKING:
    from am_ros.learning.trainer import Trainer


class TrainingWorker:
    """A child process that trains on a store on disk.

    `on_event(kind, content)` is called in a thread: ("progress", Progress), then one of ("done", Progress) and
    ("failed", sentence). If this process dies, the child sees the closed pipe, saves and ends.
    """

    def __init__(
        self,
        config: LearnerConfig,
        store: Path,
        out: Path,
        action_space: ActionSpace,
        on_event: Callable[[str, object], None],
    ):
        spare_resource_tracker()
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_train, args=(theirs, config, store, out, action_space), name="training")
        self._process.start()
        theirs.close()
        self._on_event = on_event
        self._thread = threading.Thread(target=self._listen, daemon=True, name="training events")
        self._thread.start()

    @property
    def alive(self) -> bool:
        return self._process.is_alive()

    def send(self, command: str) -> None:
        """One of stop, save, pause, resume; ignored after the end."""
        try:
            self._pipe.send(command)
        except (BrokenPipeError, OSError):
            pass

    def close(self, timeout_s: float = 10.0) -> None:
        """Stop, with a checkpoint, and wait; a child that does not end in time is killed."""
        self.send("stop")
        self._process.join(timeout_s)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def _listen(self) -> None:
        ended = False
        while not ended:
            try:
                kind, content = self._pipe.recv()
            except (EOFError, OSError):
                self._process.join(5.0)
                kind, content = "failed", f"the training process died (exit code {self._process.exitcode})"
            ended = kind in ("done", "failed")
            self._on_event(kind, content)


def _train(
    pipe: Connection, config: LearnerConfig, store_folder: Path, out: Path, action_space: ActionSpace
) -> None:
    """The child: trains and obeys commands until it is done."""
    from am_ros.learning.parallel import train  # and torch: the parent, who only gives orders, does without

    leave_to_parent()  # who says when to stop, so that the last checkpoint is written
    come_second()

    obedient = _Obedient(pipe)
    try:
        progress = train(
            config, store_folder, out, action_space, lambda p: pipe.send(("progress", p)), obedient.takes
        )
        pipe.send(("done", progress))
    except AmRosError as error:
        pipe.send(("failed", str(error)))
    except BrokenPipeError:
        pass  # the parent is gone; the trainer has saved on its way out


class _Obedient:
    """Passes commands on to the trainer at work; a stop or a pause holds for the next one, too."""

    def __init__(self, pipe: Connection):
        self._pipe, self._stopped, self._paused = pipe, False, False
        self._trainer: Trainer | None = None

    def takes(self, trainer: "Trainer") -> None:
        """From now on this one is at work."""
        first, self._trainer = self._trainer is None, trainer
        if first:
            threading.Thread(target=self._listen, daemon=True, name="commands").start()
        if self._paused:
            trainer.pause()
        if self._stopped:
            trainer.stop()

    def _listen(self) -> None:
        command = ""
        while command != "gone":
            try:
                command = self._pipe.recv()
            except (EOFError, OSError):
                command = "gone"
            self._stopped = self._stopped or command in ("stop", "gone")
            self._paused = command == "pause" or (self._paused and command != "resume")
            trainer = self._trainer
            assert trainer is not None
            commands = {"stop": trainer.stop, "gone": trainer.stop, "save": trainer.save_soon}
            commands |= {"pause": trainer.pause, "resume": trainer.resume}
            commands[command]()


__all__ = ["Progress", "TrainingWorker"]
