"""Services that nodes offer to whoever looks after a cell: their episodes, checkpoints, training, pre-flight check.

Each is a class that a node makes in one line. What takes long happens in another thread or process; the node's executor
goes on meanwhile.
"""

import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from am_msgs.msg import Checkpoint, EpisodeSummary, Finding, Observation, Step
from am_msgs.srv import (
    GetEpisode,
    GetTraining,
    ListCheckpoints,
    ListEpisodes,
    RunCheck,
    SalvageEpisode,
    VerifyEpisode,
)
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from sensor_msgs.msg import CompressedImage

from am_ros.action import CartesianAction, Gripper
from am_ros.bags.desk import EpisodeDesk
from am_ros.bags.index import EpisodeRow
from am_ros.bags.playback import Moment
from am_ros.cell.processes import die_with_parent
from am_ros.errors import AmRosError
from am_ros.page.results import read_checkpoint, read_curves, read_success, thinned, walk
from am_ros.page.source import CheckpointCard
from am_ros.pretrained import FOLDER, checkpoint_names
from am_ros.ros.messages.acting import action_message
from am_ros.ros.node.common import completed, from_ns

MAX_ROWS, USUAL_ROWS = 1000, 500
MAX_CHECKPOINTS = 300
CHECK_TIMEOUT_S = 180.0  # it takes 8 s, on a machine that is overrun 40


async def _fill(response, future, take: Callable) -> object:
    """Wait for a result and have `take(result)` fill the response; an AmRosError becomes its message."""
    try:
        await completed(future)
        take(future.result())
        response.success = True
    except AmRosError as error:
        response.message = str(error)
    except OSError as error:
        response.message = f"{error.filename}: {error.strerror}"
    return response


class EpisodeServices:
    """`~/list`, `~/get`, `~/verify`, `~/salvage` of the logger; `noticed` when it has changed a bag."""

    def __init__(self, node, folder: Path):
        self._desk = EpisodeDesk(folder)
        self.noticed, self.close = self._desk.noticed, self._desk.close
        apart = MutuallyExclusiveCallbackGroup()
        node.create_service(ListEpisodes, "~/list", self._list, callback_group=apart)
        node.create_service(GetEpisode, "~/get", self._get, callback_group=apart)
        node.create_service(VerifyEpisode, "~/verify", self._verify, callback_group=apart)
        node.create_service(SalvageEpisode, "~/salvage", self._salvage, callback_group=apart)

    async def _list(self, request, response):
        def take(found) -> None:
            changes, response.scanned, response.message, response.free_bytes = found
            response.revision, response.total, response.gone = changes.revision, changes.total, changes.gone
            response.more = len(changes.rows) == limit
            response.folder = str(self._desk.folder.resolve())
            response.episodes = list(map(_summary, changes.rows))

        limit = min(request.limit or USUAL_ROWS, MAX_ROWS)
        return await self._answer(response, self._desk.changes, (request.since, limit), take)

    async def _get(self, request, response):
        def take(moments: list[Moment]) -> None:
            for index, moment in enumerate(moments):
                seen = _observation(moment)
                picture = CompressedImage(format="png" if moment.picture.startswith(b"\x89PNG") else "jpeg")
                picture.header.stamp = seen.image_stamp
                picture.data.frombytes(moment.picture)
                response.pictures.append(picture)
                response.observations.append(seen)
                if moment.translation_m is not None:
                    response.steps.append(_step(index, moment, seen))

        return await self._answer(response, self._desk.playback, (request.key, request.episode_id), take)

    async def _verify(self, request, response):
        def take(problems: list[str]) -> None:
            response.problems = problems

        return await self._answer(response, self._desk.verify, (request.key, request.episode_id), take)

    async def _salvage(self, request, response):
        def take(found) -> None:
            response.path, response.messages, response.steps = str(found.path), found.messages, found.steps
            response.message = f"{found.messages} messages, {found.steps} complete steps"

        return await self._answer(response, self._desk.salvage, (request.key, request.episode_id), take)

    @staticmethod
    async def _answer(response, ask: Callable, arguments: tuple, take: Callable):
        try:
            return await _fill(response, ask(*arguments), take)
        except AmRosError as error:
            response.message = str(error)
            return response


class CheckpointServices:
    """`~/list_checkpoints` of the policy server: those in `folder()`, and those of the package."""

    def __init__(self, node, folder: Callable[[], str], serving: Callable[[], str]):
        self._folder, self._serving = folder, serving
        self._thread = ThreadPoolExecutor(1, "checkpoints")
        group = MutuallyExclusiveCallbackGroup()
        node.create_service(ListCheckpoints, "~/list_checkpoints", self._list, callback_group=group)

    async def _list(self, _request, response):
        def take(cards: list[CheckpointCard]) -> None:
            serving = self._serving()
            response.checkpoints = [_checkpoint(card, serving) for card in cards]

        return await _fill(response, self._thread.submit(find_checkpoints, self._folder()), take)


def find_checkpoints(folder: str) -> list[CheckpointCard]:
    """Checkpoints in a folder and below by the names that LoadCheckpoint takes, then those of the package."""
    root = Path(folder).expanduser() if folder else None
    found: list[CheckpointCard] = []
    if root and root.is_dir():
        for path, names in walk(root):
            if "checkpoint.json" in names and path != root and len(found) < MAX_CHECKPOINTS:
                found.append(read_checkpoint(path, root))
    if root and root.resolve() == FOLDER:
        return found
    return found + [read_checkpoint(FOLDER / name, FOLDER) for name in checkpoint_names()]


class TrainingServices:
    """`~/history` of the trainer: its figures so far, which ~/metrics tells only as they come.

    Of a training of two parts it tells those of the first, in the folder `first`, until there are some of the second.
    """

    def __init__(self, node, out: Path, first: Path, paused: Callable[[], bool]):
        self._out, self._first, self._paused = out, first, paused
        self._thread = ThreadPoolExecutor(1, "history")
        group = MutuallyExclusiveCallbackGroup()
        node.create_service(GetTraining, "~/history", self._history, callback_group=group)

    async def _history(self, request, response):
        response.paused, response.out = self._paused(), str(self._out.resolve())
        limit = min(request.limit or 400, 2000)
        return await _fill(response, self._thread.submit(self._read, limit), partial(_take_history, response))

    def _read(self, limit: int) -> tuple[dict, dict]:
        paths = [path for folder in (self._out, self._first) if (path := folder / "metrics.csv").exists()]
        curves = read_curves(paths[0], limit) if paths else {}
        return curves, read_success(self._out)


def _take_history(response, found: tuple[dict, dict]) -> None:
    curves, success = found
    rows: dict[int, dict[str, float]] = {}
    for name, points in curves.items():
        for update, value in points:
            rows.setdefault(int(update), {})[name] = value
    response.names, response.updates = list(curves), sorted(rows)
    response.values = [rows[update].get(name, math.nan) for update in response.updates for name in curves]
    flat = [(task, int(update), rate) for task, points in success.items() for update, rate in thinned(points)]
    response.success_tasks = [task for task, _, _ in flat]
    response.success_updates = [update for _, update, _ in flat]
    response.success_rates = [rate for _, _, rate in flat]


class CheckServices:
    """`~/check` of the bring-up: `am-ros check --running` with the arguments that the cell was started with."""

    def __init__(self, node, arguments: Sequence[str]):
        self._arguments = list(arguments)
        self._thread = ThreadPoolExecutor(1, "check")
        self._running, self._made, self._trouble = False, 0.0, ""
        self._findings: list[Finding] = []
        self._process: subprocess.Popen | None = None
        node.create_service(RunCheck, "~/check", self._check, callback_group=MutuallyExclusiveCallbackGroup())

    def close(self) -> None:
        """End the check under way."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _check(self, request, response):
        """Answers at once: what is found comes with a later question."""
        if request.again and not self._running:
            self._running, self._trouble = True, ""
            self._thread.submit(self._run)
        response.running, response.made, response.findings = self._running, self._made, self._findings
        response.message = self._trouble
        response.success = not response.message
        return response

    def _run(self) -> None:
        try:
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder) / "check.json"
                options = ["--running", "--seconds", "2", "--wait", "3", "--json", str(file)]
                command = [sys.executable, "-m", "am_ros.cli", "check", *options, *self._arguments]
                parent = os.getpid()
                self._process = subprocess.Popen(
                    command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                    preexec_fn=partial(die_with_parent, parent),
                )  # fmt: skip
                _, said = self._process.communicate(timeout=CHECK_TIMEOUT_S)
                if not file.is_file():
                    raise AmRosError(said.strip().splitlines()[-1] if said.strip() else "am-ros check said nothing")
                content = json.loads(file.read_text(encoding="utf-8"))
            self._findings = [Finding(**finding) for finding in content["findings"]]
            self._made = float(content["time"])
        except subprocess.TimeoutExpired:
            if self._process is not None:
                self._process.kill()
            self._trouble = f"am-ros check did not end within {CHECK_TIMEOUT_S:g} s"
        except (AmRosError, OSError, ValueError, KeyError) as error:
            self._trouble = str(error)
        finally:
            self._running = False


# -- as messages


def _summary(row: EpisodeRow) -> EpisodeSummary:
    return EpisodeSummary(
        key=row.key, episode_id=row.name, bag=str(row.bag), state=row.state, task=row.task, goal_id=row.goal_id,
        source=row.source, label=row.label, outcome=row.outcome, reason=row.reason, steps=row.steps,
        duration=row.duration_s, began=row.began_s, bytes=row.bytes, flaws=list(row.flaws),
    )  # fmt: skip


def _checkpoint(card: CheckpointCard, serving: str) -> Checkpoint:
    return Checkpoint(
        name=card.name, update=card.update, trained=card.trained_s, episodes=card.episodes,
        transitions=card.transitions, method=card.method, data_hash=card.data_hash, image_size=card.image_px,
        sha256=card.sha256, serving=bool(card.sha256) and card.sha256 == serving, flaw=card.flaw,
    )  # fmt: skip


def _observation(moment: Moment) -> Observation:
    seen = Observation(image_stamp=from_ns(max(0, round(moment.t_s * 1e9))), gripper_opening=moment.gripper_opening)
    p = seen.ee_pose.position
    p.x, p.y, p.z = moment.position_m
    return seen


def _step(index: int, moment: Moment, seen: Observation) -> Step:
    gripper = {"opens": Gripper.OPEN, "closes": Gripper.CLOSE}.get(moment.gripper, Gripper.HOLD)
    action = CartesianAction(moment.translation_m or (0.0, 0.0, 0.0), moment.rotation_rad, gripper, moment.terminate)
    q = math.nan if moment.q_value is None else moment.q_value
    return Step(index=index, observation=seen, action=action_message(action), q_value=q, decision_ms=moment.decision_ms)
