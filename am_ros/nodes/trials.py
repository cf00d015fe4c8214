"""Trials through the nodes: the same scenes and judgement as evaluation/trials.py, every step over ROS."""

import tempfile
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from am_msgs.action import ReachGoal
from am_msgs.msg import EpisodeEvent, Step
from am_msgs.srv import CountImages, DeleteGoal, GetGoal, GetOutcome, RecordGoal, ResetScene
from sensor_msgs.msg import Image

from am_ros import images, topics
from am_ros.errors import AmRosError
from am_ros.evaluation.statistics import Trial
from am_ros.evaluation.trials import TrialPlan
from am_ros.nodes.client import RosClient
from am_ros.nodes.common import RELIABLE_QOS, SENSOR_QOS, to_ns
from am_ros.sim.tasks import evaluation_seed, find_task

_ENDS = {0: "terminated", 1: "step_limit", 2: "cancelled"}


class RosTrials:
    """Runs trials on a cell whose nodes are up: goal image by the registry, motion by the policy server.

    `client` is connected to the cell's domain. Goals stay in the registry unless `delete_goals`.
    """

    def __init__(self, client: RosClient, delete_goals: bool = False):
        self.client, self.delete_goals = client, delete_goals
        self._images: OrderedDict[int, Image] = OrderedDict()
        self._steps: list[Step] = []
        self._ends: list[EpisodeEvent] = []
        node = client.node
        self._subscriptions = [
            node.create_subscription(Image, topics.IMAGE, self._on_image, SENSOR_QOS),
            node.create_subscription(Step, topics.STEP, self._steps.append, RELIABLE_QOS),
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

    def run(self, task: str, scene: int, goal_id: str | None = None) -> Trial:
        """One trial on scene number `scene` of the evaluation set."""
        goal_id = goal_id or f"{task}_{scene}"
        goal_image = self.record_goal(task, scene, goal_id)
        self._reset(task, scene, ResetScene.Request.START)
        self._steps.clear()
        self._ends.clear()
        max_steps = find_task(task).max_steps
        goal = self.client.send_goal(
            ReachGoal, "policy_server/reach_goal", goal_id=goal_id, max_steps=max_steps, task=task, seed=scene
        )
        result = goal.result(timeout_s=30.0 + 5.0 * max_steps)
        outcome = self.client.call(GetOutcome, "sim_workcell/outcome")
        if self.delete_goals:
            self.client.call(DeleteGoal, "goal_registry/delete", goal_id=goal_id)
        mine = [s for s in self._steps if s.episode_id == result.episode_id]
        stamps = [to_ns(s.observation.image_stamp) for s in mine]
        stamps += [to_ns(e.observation.image_stamp) for e in self._ends if e.episode_id == result.episode_id]
        return Trial(
            task=task, seed=scene, success=outcome.reached, success_once=outcome.reached_once, steps=result.steps,
            end=_ENDS.get(result.end, result.reason), distance_m=outcome.distance,
            best_distance_m=outcome.best_distance, final_q=result.final_q,
            decision_ms=[s.decision_ms for s in mine],
            frames=[images.array_from_image(self._images[s]) for s in stamps if s in self._images],
            goal_image=goal_image,
        )  # fmt: skip

    def count_images(self) -> tuple[int, int]:
        """Images published by the cell and received by the policy server, over the time both know of."""
        received = self.client.call(CountImages, "policy_server/count_images")
        window = {"first": received.first, "last": received.last} if received.count else {}
        return self.client.call(CountImages, "sim_workcell/count_images", **window).count, received.count

    def _reset(self, task: str, scene: int, phase: int) -> None:
        answer = self.client.call(
            ResetScene, "sim_workcell/reset", task=task, seed=evaluation_seed(scene), phase=phase, timeout_s=30.0
        )
        if not answer.success:
            raise AmRosError(f"sim_workcell/reset: {answer.message}")

    def _on_image(self, image: Image) -> None:
        self._images[to_ns(image.header.stamp)] = image
        if len(self._images) > 4000:
            self._images.popitem(last=False)

    def _on_event(self, event: EpisodeEvent) -> None:
        if event.type == EpisodeEvent.END:
            self._ends.append(event)


def run_trials_through_ros(plan: TrialPlan) -> Iterator[Trial]:
    """Start a cell of its own for the plan's checkpoint, run the trials, stop it."""
    from am_ros.graph import sim_nodes
    from am_ros.supervisor import Supervisor

    if not Path(plan.actor).exists():
        raise AmRosError(f"{plan.actor}: is not a checkpoint folder, which --through-ros needs")
    with tempfile.TemporaryDirectory(prefix="am_ros_") as folder:
        nodes = sim_nodes(checkpoint=plan.actor, goals=str(Path(folder) / "goals"), bags=str(Path(folder) / "bags"))
        with Supervisor(nodes, Path(folder) / "log") as cell, RosClient("trials") as client:
            trials = RosTrials(client)
            for scene in range(plan.seed, plan.seed + plan.trials):
                cell.check()
                yield trials.run(plan.task, scene)
