"""Trials through the nodes: the same scenes and judgement as evaluation/trials.py, every step over ROS."""

import os
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from am_msgs.action import ReachGoal, RunExpert
from am_msgs.msg import ControllerStatus, EpisodeEvent, Step
from am_msgs.srv import CountImages, DeleteGoal, GetGoal, GetOutcome, LoadCheckpoint, RecordGoal, ResetScene
from sensor_msgs.msg import Image

from am_ros import images, topics
from am_ros.cell.arguments import IDEAL
from am_ros.errors import AmRosError
from am_ros.evaluation.actors import PolicyActor, make_actor
from am_ros.evaluation.statistics import Trial
from am_ros.evaluation.trials import TrialPlan, shrink
from am_ros.pretrained import find_checkpoint
from am_ros.ros.introspection.client import RosClient
from am_ros.ros.node.common import LATCHED_QOS, RELIABLE_QOS, SENSOR_QOS, to_ns
from am_ros.sim.tasks import evaluation_seed, find_task

KEPT_IMAGES = 4000  # received ones, of which the frames of a trial are taken
EVENT_TIMEOUT_S = 2.0  # an action's result and the event that ends its episode come by different ways


class RosTrials:
    """Runs trials on a cell whose nodes are up: goal image by the registry, motion by policy server or expert.

    `client` is connected to the cell's domain. Goals stay in the registry unless `delete_goals`.
    """

    def __init__(self, client: RosClient, delete_goals: bool = False):
        self.client, self.delete_goals = client, delete_goals
        self._images: OrderedDict[int, Image] = OrderedDict()
        self._steps: list[Step] = []
        self._ends: list[EpisodeEvent] = []
        self._news = threading.Condition()
        node = client.node
        self._subscriptions = [
            node.create_subscription(Image, topics.IMAGE, self._on_image, SENSOR_QOS),
            node.create_subscription(Step, topics.STEP, self._on_step, RELIABLE_QOS),
            node.create_subscription(EpisodeEvent, topics.EPISODE_EVENT, self._on_event, RELIABLE_QOS),
        ]

    def record_goal(self, task: str, scene: int, goal_id: str, note: str = "") -> np.ndarray:
        """Put the scene into its goal configuration and record what the camera sees; returns the stored image."""
        self._reset(task, scene, ResetScene.Request.GOAL)
        recorded = self.client.call(RecordGoal, "goal_registry/record", goal_id=goal_id, note=note)
        if not recorded.success:
            raise AmRosError(f"goal_registry/record: {recorded.message}")
        stored = self.client.call(GetGoal, "goal_registry/get", goal_id=goal_id)
        if not stored.success:
            raise AmRosError(f"goal_registry/get: {stored.message}")
        return images.array_from_image(stored.image)

    def run(self, task: str, scene: int, goal_id: str | None = None, image_size: int = 64) -> Trial:
        """One trial of the policy server on scene number `scene` of the evaluation set.

        A task without goal image is given one of zeros, of `image_size`, which the registry would not store.
        """
        if find_task(task).goal_image:
            goal_id = goal_id or f"{task}_{scene}"
            goal: dict[str, Any]
            goal_image, goal = self.record_goal(task, scene, goal_id), {"goal_id": goal_id}
        else:
            goal_image = np.zeros((image_size, image_size, 3), np.uint8)
            goal = {"goal_image": Image()}
            images.fill_image(goal["goal_image"], goal_image)
        self._reset(task, scene, ResetScene.Request.START)
        self._clear()
        max_steps = find_task(task).max_steps
        run = self.client.send_goal(
            ReachGoal, "policy_server/reach_goal", **goal, max_steps=max_steps, task=task, seed=scene
        )
        result = run.result(timeout_s=30.0 + 5.0 * max_steps)
        trial = self._judge(task, scene, goal_image, result.episode_id, result.steps)
        self._delete(goal.get("goal_id"))
        if result.end == result.FAULT:
            return replace(trial, end="fault", reason=result.reason, final_q=result.final_q)
        return replace(trial, final_q=result.final_q)

    def run_expert(self, task: str, scene: int, noise: float = 0.0) -> Trial:
        """One trial of the scripted expert, whose node must run too; the goal image is for the pictures."""
        goal_image = None
        if find_task(task).goal_image:
            goal_image = self.record_goal(task, scene, f"{task}_{scene}")
            self._delete(f"{task}_{scene}")
        self._clear()
        run = self.client.send_goal(
            RunExpert, "scripted_expert/run_expert", timeout_s=30.0, task=task, seed=evaluation_seed(scene), noise=noise
        )
        result = run.result(timeout_s=30.0 + 5.0 * find_task(task).max_steps)
        trial = self._judge(task, scene, goal_image, result.episode_id, result.steps)
        trial = replace(trial, decision_ms=[])
        return trial if result.success else replace(trial, end="fault", reason=result.message)

    def count_images(self) -> tuple[int, int]:
        """Images published by the cell and received by the policy server, over the time both know of."""
        received = self.client.call(CountImages, "policy_server/count_images")
        window = {"first": received.first, "last": received.last} if received.count else {}
        return self.client.call(CountImages, "sim_workcell/count_images", **window).count, received.count

    def _judge(self, task: str, scene: int, goal_image, episode_id: str, steps: int) -> Trial:
        """The trial as it has just ended, from the cell's outcome and the messages of its episode."""
        outcome = self.client.call(GetOutcome, "sim_workcell/outcome")
        with self._news:  # the result, the steps, the END and the images come by different ways
            self._news.wait_for(lambda: self._complete(episode_id, steps), EVENT_TIMEOUT_S)
            mine, ends = self._of(episode_id)
        stamps = [to_ns(seen.observation.image_stamp) for seen in (*mine, *ends)]
        frames = [images.array_from_image(self._images[s]) for s in stamps if s in self._images]
        if goal_image is None and frames:
            goal_image = np.zeros_like(frames[0])
        return Trial(
            task=task, seed=scene, success=outcome.reached, success_once=outcome.reached_once, steps=steps,
            end=ends[0].reason if ends else "fault", distance_m=outcome.distance,
            best_distance_m=outcome.best_distance, decision_ms=[s.decision_ms for s in mine],
            frames=frames, goal_image=goal_image,
        )  # fmt: skip

    def _of(self, episode_id: str) -> tuple[list[Step], list[EpisodeEvent]]:
        """What came of an episode: its steps, and its END, if that came."""
        mine = [s for s in self._steps if s.episode_id == episode_id]
        return mine, [e for e in self._ends if e.episode_id == episode_id]

    def _complete(self, episode_id: str, steps: int) -> bool:
        """Whether all steps of an episode are here, its END, and the images that they name."""
        mine, ends = self._of(episode_id)
        stamps = [to_ns(seen.observation.image_stamp) for seen in (*mine, *ends)]
        return len(mine) == steps and bool(ends) and all(s in self._images for s in stamps)

    def _reset(self, task: str, scene: int, phase: int) -> None:
        answer = self.client.call(
            ResetScene, "sim_workcell/reset", task=task, seed=evaluation_seed(scene), phase=phase, timeout_s=30.0
        )
        if not answer.success:
            raise AmRosError(f"sim_workcell/reset: {answer.message}")

    def _delete(self, goal_id: str | None) -> None:
        if self.delete_goals and goal_id:
            self.client.call(DeleteGoal, "goal_registry/delete", goal_id=goal_id)

    def _clear(self) -> None:
        with self._news:
            self._steps.clear()
            self._ends.clear()

    def _on_image(self, image: Image) -> None:
        with self._news:
            self._images[to_ns(image.header.stamp)] = image
            if len(self._images) > KEPT_IMAGES:
                self._images.popitem(last=False)
            self._news.notify_all()

    def _on_step(self, step: Step) -> None:
        with self._news:
            self._steps.append(step)
            self._news.notify_all()

    def _on_event(self, event: EpisodeEvent) -> None:
        if event.type == EpisodeEvent.END:
            with self._news:
                self._ends.append(event)
                self._news.notify_all()


def run_trials_through_ros(
    plans: Sequence[TrialPlan], real_time_factor: float = 3.0, driver: str = IDEAL
) -> Iterator[Trial]:
    """Run the plans through the nodes of one cell that is started for them and stopped in the end.

    `driver`: the cell's argument, what the simulated arm's driver is like.

    Raises AmRosError before anything starts if an actor cannot be had (random actions have no node) or if one cell
    cannot serve all: it has one camera and one budget for the search.
    """
    cells = []
    for plan in plans:
        if plan.actor.name == "random":
            raise AmRosError("through-ros: random actions have no node; use a checkpoint or expert")
        if set(dict(plan.actor.search)) - {"samples", "iterations"}:
            raise AmRosError("through-ros: the policy server changes samples and iterations of a search, nothing else")
        actor = make_actor(plan.actor)
        cells.append({"image_size": actor.image_size, "variety": plan.variety})
        if isinstance(actor, PolicyActor):
            cem = actor.policy.cem
            cells[-1] |= {"samples": cem.samples, "iterations": cem.iterations}
    cell = {name: value for arguments in cells for name, value in arguments.items()}
    for name, value in cell.items():
        if any(arguments.get(name, value) != value for arguments in cells):
            raise AmRosError(f"through-ros: one cell serves all actors, and they want different {name}; run them apart")
    return _run_in_cell(plans, {**cell, "driver": driver}, real_time_factor)


def _run_in_cell(plans: Sequence[TrialPlan], arguments: dict, real_time_factor: float) -> Iterator[Trial]:
    from am_ros.cell.graph import sim_nodes
    from am_ros.cell.supervisor import Supervisor

    with tempfile.TemporaryDirectory(prefix="am_ros_") as folder:
        nodes = sim_nodes(
            goals=str(Path(folder) / "goals"), bags=str(Path(folder) / "bags"), checkpoints=_common_folder(plans),
            **arguments,
            real_time_factor=real_time_factor, expert=any(plan.actor.name == "expert" for plan in plans),
        )  # fmt: skip
        with Supervisor(nodes, Path(folder) / "log") as cell, RosClient("trials") as client:
            cell.wait_until_up()
            trials = RosTrials(client, delete_goals=True)
            for plan in plans:
                wait_for_free_arm(client)
                if plan.actor.name != "expert":
                    load_checkpoint(client, plan.actor.name)
                for task, scene in plan.scenes:
                    cell.check()
                    if plan.actor.name == "expert":
                        trial = trials.run_expert(task, scene, plan.actor.noise)
                    else:
                        trial = trials.run(task, scene, image_size=arguments["image_size"])
                    pictures = []
                    if trial.frames and trial.goal_image is not None:
                        pictures = shrink([trial.goal_image, *trial.frames], plan.frames_px)
                    yield replace(
                        trial, actor=plan.actor.name, frames=pictures[1:], goal_image=pictures[0] if pictures else None
                    )


def _common_folder(plans: Sequence[TrialPlan]) -> str:
    """The folder that all checkpoints lie in, so that the policy server may load them."""
    folders = [find_checkpoint(p.actor.name).absolute().parent for p in plans if p.actor.name != "expert"]
    return os.path.commonpath(folders) if folders else ""


def wait_for_free_arm(client: RosClient, timeout_s: float = 10.0) -> None:
    """Wait until nobody holds the arm: after its last step a commander does for a while (`lease_s`)."""
    deadline_s = time.monotonic() + timeout_s
    while holder := client.wait_for_message(ControllerStatus, topics.CONTROLLER_STATUS, qos=LATCHED_QOS).commander:
        if time.monotonic() > deadline_s:
            raise AmRosError(f"not_commander: {holder} still holds the arm after {timeout_s:g} s")
        time.sleep(0.1)


def load_checkpoint(client: RosClient, checkpoint: str) -> None:
    """Let the policy server load a checkpoint, wherever it runs; raises AmRosError with its answer if it does not."""
    path = str(find_checkpoint(checkpoint).absolute())
    answer = client.call(LoadCheckpoint, "policy_server/load_checkpoint", path=path, timeout_s=60.0)
    if not answer.success:
        raise AmRosError(f"policy_server/load_checkpoint: {answer.message}")
