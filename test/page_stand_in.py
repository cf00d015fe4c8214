"""A page on a cell that is only said to be there, in a process of its own: for what browsers do to each other."""

import sys
import threading
import time

import numpy as np

from am_ros.images import encode_jpeg
from am_ros.page.config import PageConfig
from am_ros.page.server import Server
from am_ros.page.source import CAMERA, VIEW, CellState, CheckState, Source, TeachState


class StandIn(Source):
    """Everything is well, nothing is known, and the arm may be taught."""

    live = True

    def __init__(self):
        super().__init__()
        self._active, self._lines = False, []
        threading.Thread(target=self._film, daemon=True).start()

    def _film(self) -> None:
        while True:
            picture = encode_jpeg(np.full((32, 32, 3), int(time.monotonic() * 50) % 256, np.uint8), 80)
            for camera in (CAMERA, VIEW):
                self.frames.put(camera, picture)
            time.sleep(0.2)

    def cell(self) -> CellState:
        return CellState("idle", commander="operator_page_hand" if self._active else "")

    def stop(self) -> str:
        return "stopped: nothing was moving"

    def goals(self):
        return []

    def episodes(self):
        return []

    def trainings(self):
        return []

    def check(self) -> CheckState:
        return CheckState()

    def teach(self) -> TeachState:
        return TeachState(self._active, lines=tuple(self._lines))

    def begin_teaching(self, task: str) -> str:
        self._active = True
        return "each key is one step now"

    def end_teaching(self) -> str:
        self._active = False
        return "the arm is let go"

    def teach_key(self, key: str) -> None:
        self._lines.append(f"key {key!r}")


if __name__ == "__main__":
    server = Server(StandIn(), PageConfig(page_port=0))
    print(server.announce(server.start()), flush=True)
    sys.stdin.read()  # until the test ends
    server.close()
