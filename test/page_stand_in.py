"""A page on a cell that is only said to be there, in a process of its own: for what browsers do to each other.

With the argument `full` it shows something in every view: for how they look.
"""

import math
import sys
import threading
import time
from pathlib import Path

import numpy as np

from am_ros.bags.index import BROKEN, RECORDING, EpisodeRow
from am_ros.bags.playback import Moment
from am_ros.errors import AmRosError
from am_ros.images import encode_jpeg, encode_png
from am_ros.page.config import PageConfig
from am_ros.page.projection import Projection
from am_ros.page.server import Server
from am_ros.page.source import (
    CAMERA,
    ERROR,
    OK,
    STALE,
    VIEW,
    WARN,
    Candidate,
    CellState,
    CheckpointCard,
    CheckState,
    Comparison,
    GoalCard,
    Light,
    NodeState,
    PursuitState,
    PursuitStep,
    Source,
    TeachState,
    TrainingState,
)


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

    def record_goal(self, goal_id: str, note: str) -> str:
        if goal_id == "full":
            raise AmRosError("goals/full.png: cannot be written: No space left on device")
        return f"recorded {goal_id!r}, {note!r}"

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


LIGHTS = (
    Light("/camera: stream", OK, "20 images per second, 64x64 px"),
    Light("/cartesian_controller: arm", ERROR, "joint joint_a3 is beyond its limit by 0.02 rad; move it back by hand"),
    Light("/policy_server: camera path", WARN, "3 images missed since the last report; from exposure to command 41 ms"),
    Light("/trainer: progress", STALE, "12 updates per second", age_s=31.0),
)
FINDINGS = (
    ("wrong", "camera_rate", "5.1 images per second on image_raw, at least 10 are needed",
     "set rate_hz of the camera, or use a USB 3 port"),
    ("warning", "security", "SROS2 is off: everybody in this network can move the arm", "am-ros keystore, security.md"),
    ("ok", "clock", "all stamps within 4 ms of this machine's clock", ""),
)  # fmt: skip


class Full(StandIn):
    """A cell in which everything has happened already: each view has something of each kind to show."""

    title = "cell_2"

    def __init__(self):
        super().__init__()
        self._pictures = [scene(64, x) for x in (0.3, 0.5, 0.7, 0.6)]
        self._goals = [
            GoalCard("block_left", "the block left of the plate, gripper open", time.time(), 64, 64, 1.0, "a"),
            GoalCard("a_goal_with_a_very_long_name_that_has_to_be_cut_somewhere", "", time.time(), 472, 472, 0.0, "b"),
            *(GoalCard(f"goal_{number:04d}", "", 0.0, 64, 64, None, str(number)) for number in range(6)),
        ]

    def cell(self) -> CellState:
        nodes = (NodeState("/camera"), NodeState("/policy_server", "active"), NodeState("/trainer", "inactive"))
        return CellState(
            "protective stop", "the arm met something: torque of joint_a2 is 14 Nm above its model", "policy_server",
            True, (0.412, -0.083, 0.215), 0.3, 0.87, 0.04, 20.0, nodes, LIGHTS, "policy_1764471123",
            "pick_place, update 7000",
        )  # fmt: skip

    def goals(self):
        return self._goals

    def goal_picture(self, goal_id: str) -> bytes:
        return encode_png(scene(472, 0.7) if goal_id.startswith("a_goal") else self._pictures[len(goal_id) % 3])

    def compare_goal(self, goal_id: str) -> Comparison:
        three = np.concatenate([scene(240, x) for x in (0.3, 0.6, 0.45)], axis=1)
        return Comparison(
            goal_id, "moved: the camera looks 5.0° further right than for the goal; mend its mount, or record anew",
            "moved", 9.9, 5.0, encode_png(three),
        )  # fmt: skip

    def pursuit(self) -> PursuitState:
        steps = [
            PursuitStep(
                i, 0.3 + 0.05 * i, 3.5 + math.sin(i), (0.03, 0.04 * math.cos(i), -0.02), 0.2,
                ("opens", "", "closes")[i % 3], False, i + 1, (0.45, 0.02 * i, 0.2),
            )
            for i in range(9)
        ]  # fmt: skip
        warnings = ["the camera has moved by 1.2° since the goal was recorded"]
        return PursuitState("block_left", True, time.monotonic(), steps, warnings=warnings)

    def step_picture(self, number: int) -> bytes:
        return encode_jpeg(self._pictures[number % 4], 90)

    def candidates(self):
        turns = np.linspace(0, 2 * math.pi, 40)
        return [
            Candidate((0.48 + 0.04 * math.sin(a), 0.16 + 0.06 * math.cos(3 * a), 0.18), (1 + math.sin(a)) / 2)
            for a in turns
        ]

    def projection(self) -> Projection:
        pose = np.array([[0, -1, 0, 0.45], [-1, 0, 0, 0.0], [0, 0, -1, 1.0], [0, 0, 0, 1.0]])
        return Projection(np.array([[80.0, 0, 32], [0, 80.0, 32], [0, 0, 1]]), pose, 64, 64)

    def episodes(self):
        now_s = time.time()
        states = {0: RECORDING, 3: BROKEN}
        return [
            EpisodeRow(
                i, Path(f"/data/bags/policy_{1764470000 + i}"), f"policy_{1764470000000000000 + 10**9 * i}",
                states.get(i, "closed"), ("pick_place", "reach", "")[i % 3], "block_left", ("policy", "expert")[i % 2],
                ("none", "good", "bad")[i % 3], ("unknown", "success", "failure")[i % 3], "step_limit", 17 + i, 21.0,
                now_s - 3600 * i, 1_234_567 * (i + 1), ("12 images were lost",) if i % 5 == 1 else (),
            )
            for i in range(130)
        ]  # fmt: skip

    def free_bytes(self) -> int:
        return 118 * 10**9

    def verify(self, key: int) -> list[str]:
        return ["camera_info: 3 of 120 messages are missing", "step 4: its image is not in the bag"]

    def playback(self, key: int) -> list[Moment]:
        return [
            Moment(
                encode_jpeg(self._pictures[i % 4], 90), 0.8 * i, (0.4, 0.05 * i, 0.2), i % 2 * 1.0,
                (0.01, 0.02, -0.03), 0.1, "closes", False, 0.3 + 0.04 * i, 3.4,
            )
            for i in range(12)
        ]  # fmt: skip

    def trainings(self):
        def curve(*values):
            return [(100.0 * i, value) for i, value in enumerate(values)]

        falling, rising = [3 / (1 + i / 8) for i in range(80)], [1 - 1 / (1 + i / 9) for i in range(80)]
        curves = {
            "loss": curve(*falling), "loss_positive": curve(*(0.4 * v for v in falling)), "q_seen": curve(*rising),
            "held_out_loss": curve(*(1.1 * v for v in falling)), "gradient_norm": curve(*falling),
        }  # fmt: skip
        success = {"reach": curve(0.1, 0.4, 0.8), "pick_place": curve(0.0, 0.2, 0.6)}
        return [
            TrainingState("/data/training", True, False, 7900, 20_000, 12.3, 0.04, 983.0, 130, 2600, curves, success)
        ]

    def checkpoints(self):
        return [
            CheckpointCard("pick_place", 7000, 1800.0, 1200, 24_000, "her", "ab12cd34ef", 64, "1f2e3d4c5b", True),
            CheckpointCard("seven_tasks", 60_000, 23_000.0, 7000, 140_000, "her", "99aa88bb77", 64, "5b4c3d2e1f"),
            CheckpointCard("torn", flaw="torn/checkpoint.json: cannot be read (no JSON)"),
        ]  # fmt: skip

    def check(self) -> CheckState:
        return CheckState(False, time.time(), FINDINGS)

    def teach(self) -> TeachState:
        lines = ("each key is one step now", "recording to /data/bags/teleop_17", "2 steps recorded")
        return TeachState(self._active, "teleop_17" if self._active else "", "teleop_16", 2, 0.02, lines)


def scene(size: int, at: float) -> np.ndarray:
    """A table, an arm, a block at a share of the width."""
    picture = np.full((size, size, 3), (222, 214, 198), np.uint8)
    arm, block = int(at * size), size // 12
    picture[: int(0.6 * size), arm - block : arm + block] = (105, 110, 118)
    picture[int(0.62 * size) : int(0.62 * size) + 2 * block, arm - block : arm + block] = (20, 60, 230)
    return picture


if __name__ == "__main__":
    server = Server(Full() if "full" in sys.argv[1:] else StandIn(), PageConfig(page_port=0))
    print(server.announce(server.start()), flush=True)
    sys.stdin.read()  # until the test ends
    server.close()
