"""One goal given to the policy server of a running cell, as an operator sees it: each step, the end, the pictures."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from am_msgs.action import ReachGoal
from am_msgs.msg import EpisodeEvent, Step
from am_msgs.srv import GetGoal
from sensor_msgs.msg import Image

from am_ros import images, topics
from am_ros.errors import AmRosError
from am_ros.evaluation.drawing import GREY, goal_tile, grid, tile, write_png
from am_ros.ros.commanding.goal_requests import GET, READY_S
from am_ros.ros.introspection.client import GoalRun, RosClient
from am_ros.ros.node.common import RELIABLE_QOS, SENSOR_QOS, to_ns

POLL_S = 0.05
# A step lasts some seconds at most; a server that says nothing for so long is not waited for.
SILENT_S = 60.0
FIRST_IMAGE_S = 5.0
EVENT_TIMEOUT_S = 2.0  # the action's result and the event that ends its episode come by different ways
KEPT_IMAGES = 100  # until the step that names one of them has come


class Pursuit:
    """A goal of the registry by name, or a picture by its file."""

    def __init__(self, client: RosClient, goal: str, task: str = ""):
        self._client = client
        self._run: GoalRun | None = None
        self.fault = ""
        self._stamps: list[int] = []  # of the images that the policy says it saw
        self._images: dict[int, np.ndarray] = {}  # those, and the newest ones: a step may come before its image
        self._goal: dict[str, Any] = {"task": task, "seed": -1}
        path = Path(goal)
        if path.suffix.lower() in (".png", ".jpg", ".jpeg"):
            self._goal["goal_image"] = _read(path)
            self.goal_image = images.array_from_image(self._goal["goal_image"])
        else:
            answer = client.call(GetGoal, GET, ready_s=READY_S, goal_id=goal)
            if not answer.success:
                raise AmRosError(f"{GET}: {answer.message}")
            self._goal["goal_id"] = goal
            self.goal_image = images.array_from_image(answer.image)
        self._ended = ""
        client.node.create_subscription(Image, topics.IMAGE, self._on_image, SENSOR_QOS)
        client.node.create_subscription(Step, topics.STEP, self._on_step, RELIABLE_QOS)
        client.node.create_subscription(EpisodeEvent, topics.EPISODE_EVENT, self._on_event, RELIABLE_QOS)

    @property
    def frames(self) -> list[np.ndarray]:
        """What the policy saw at the start and after each step, [height, width, 3] each; what was lost is left out."""
        return [self._images[stamp] for stamp in self._stamps if stamp in self._images]

    def run(self, max_steps: int = 0) -> Iterator[str]:
        """Send the goal; yield a line for each warning, each step, and the end. `fault` says why, if one ended it."""
        self._client.log.news()  # from now on
        self._wait_until_connected()
        asked = {**self._goal, "max_steps": max_steps}
        self._run = run = self._client.send_goal(ReachGoal, "policy_server/reach_goal", **asked)
        told, news_s = 0, time.monotonic()
        while not run.done:
            time.sleep(POLL_S)
            yield from self._others()
            for feedback in run.feedback[told:]:
                yield _line(feedback)
                told, news_s = told + 1, time.monotonic()
            if time.monotonic() - news_s > SILENT_S:
                raise AmRosError(f"action policy_server/reach_goal: nothing came for {SILENT_S:g} s")
        yield from map(_line, run.feedback[told:])
        yield self._end(run, EVENT_TIMEOUT_S)
        yield from self._others()

    def cancel(self, timeout_s: float) -> str:
        """Stop the arm; returns a sentence that says how it ended."""
        if self._run is None:
            return "nothing was begun"
        if not self._run.done:
            self._run.cancel(timeout_s)
        return self._end(self._run, timeout_s)

    def draw(self, path: Path) -> Path:
        """Start, steps, end and goal as one picture."""
        frames = self.frames
        last = len(frames) - 1
        words = ["start", *(f"step {i}" for i in range(1, last)), *(["end"] if last else [])]
        tiles = [tile(frame, word, GREY) for frame, word in zip(frames, words, strict=True)]
        return write_png(path, grid([*tiles, goal_tile(self.goal_image)], 8))

    def _wait_until_connected(self) -> None:
        """Or the pictures would lack the start. Where nothing comes, the policy server says so by name."""
        deadline_s, node = time.monotonic() + FIRST_IMAGE_S, self._client.node
        while time.monotonic() < deadline_s:
            if self._images and all(node.count_publishers(name) for name in (topics.STEP, topics.EPISODE_EVENT)):
                break
            time.sleep(POLL_S)
        self._client.meet("policy_server")

    def _others(self) -> list[str]:
        """What the other nodes warn of meanwhile; of the goal itself the policy server's feedback tells."""
        return [f"warning: {line}" for line in self._client.log.news("policy_server", "goal_registry")]

    def _end(self, run: GoalRun, timeout_s: float) -> str:
        result = run.result(timeout_s)
        deadline_s = time.monotonic() + EVENT_TIMEOUT_S
        while time.monotonic() < deadline_s:
            if self._ended == result.episode_id and len(self.frames) == len(self._stamps):
                break
            time.sleep(POLL_S)
        self.fault = result.reason if result.end == ReachGoal.Result.FAULT else ""
        how = {
            ReachGoal.Result.TERMINATED: "the policy says that the goal is reached",
            ReachGoal.Result.STEP_LIMIT: "all steps made",
            ReachGoal.Result.CANCELLED: "cancelled, the arm was stopped",
        }.get(result.end, result.reason)
        return (
            f"{how}: {result.steps} steps, Q {result.final_q:.2f} at the end, decisions of "
            f"{result.decision_ms_p50:.1f} ms; episode {result.episode_id}"
        )

    def _on_image(self, image: Image) -> None:
        self._images[to_ns(image.header.stamp)] = images.array_from_image(image)
        idle = [stamp for stamp in self._images if stamp not in self._stamps]
        for stamp in idle[:-KEPT_IMAGES]:
            del self._images[stamp]

    def _on_step(self, step: Step) -> None:
        self._see(step.observation)

    def _see(self, observation) -> None:
        self._stamps.append(to_ns(observation.image_stamp))

    def _on_event(self, event: EpisodeEvent) -> None:
        if event.type == EpisodeEvent.END:
            self._see(event.observation)
            self._ended = event.episode_id


def _line(feedback) -> str:
    """One step in one line, or what there is to know before the first one."""
    if feedback.warnings:
        return "\n".join(f"warning: {sentence}" for sentence in feedback.warnings)
    action, way = feedback.action, feedback.action.translation
    gripper = {action.GRIPPER_OPEN: ", opens", action.GRIPPER_CLOSE: ", closes"}.get(action.gripper, "")
    centimetres = ", ".join(f"{100 * along:+.1f}" for along in (way.x, way.y, way.z))
    move = f"({centimetres}) cm, {np.degrees(action.rotation_z):+.0f} deg{gripper}"
    if action.terminate:
        move = "terminate"
    return f"step {feedback.step + 1:3}  Q {feedback.q_value:.2f}  {feedback.decision_ms:5.1f} ms  {move}"


def _read(path: Path) -> Image:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise AmRosError(f"{path}: cannot be read: {error.strerror}") from None
    message = Image()
    images.fill_image(message, images.decode(data, str(path)))
    return message
