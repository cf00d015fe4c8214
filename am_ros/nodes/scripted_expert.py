"""The scripted expert as a node: plays one episode in the simulated cell through the controller (~/run_expert)."""

import threading
from collections import OrderedDict
from dataclasses import dataclass

from am_msgs.action import RunExpert
from am_msgs.msg import SceneState as SceneStateMsg
from am_msgs.srv import GetOutcome, ResetScene
from rclpy.node import Node

from am_ros import topics
from am_ros.configuration import parameter
from am_ros.episode import Outcome
from am_ros.errors import AmRosError
from am_ros.ros.commanding.episode_runner import EpisodeRunner
from am_ros.ros.messages.acting import ActingConfig, Choice, Label, Seen, action_message
from am_ros.ros.messages.scene import scene_from_message
from am_ros.ros.node.common import RELIABLE_QOS, declare, run, to_ns
from am_ros.ros.node.service import RemoteService
from am_ros.ros.node.single_goal import SingleGoalServer
from am_ros.sim.episodes import SOURCE, demonstrator_rng, episode_id, fixed_noise
from am_ros.sim.scene import SceneState
from am_ros.sim.tasks import find_task

KEPT_SCENES = 50  # a few seconds of scene_state; the one of the last image is among them


@dataclass(frozen=True)
class ScriptedExpertConfig:
    """How long to wait for the cell."""

    service_timeout_s: float = parameter(10.0, "wait so long for the simulated cell's answer [s]", range=(0.1, 300.0))


class ScriptedExpert(Node):
    """One episode at a time, in a thread of its own."""

    def __init__(self):
        super().__init__("scripted_expert")
        self.config = declare(self, ScriptedExpertConfig)
        self._runner = EpisodeRunner(self, declare(self, ActingConfig))
        self._scenes: OrderedDict[int, SceneStateMsg] = OrderedDict()
        self._news = threading.Condition()
        self._reset = RemoteService(self, ResetScene, "sim_workcell/reset")
        self._outcome = RemoteService(self, GetOutcome, "sim_workcell/outcome")
        self.create_subscription(SceneStateMsg, topics.SCENE_STATE, self._on_scene, RELIABLE_QOS)
        self._server = SingleGoalServer(self, RunExpert, "~/run_expert", self._play, self._describe)

    def close(self) -> None:
        """Stop what moves."""
        self._server.close()
        self._runner.close("cancelled")

    @staticmethod
    def _describe(result, sentence: str) -> None:
        result.message = sentence

    def _on_scene(self, msg: SceneStateMsg) -> None:
        with self._news:
            self._scenes[to_ns(msg.header.stamp)] = msg
            while len(self._scenes) > KEPT_SCENES:
                self._scenes.popitem(last=False)
            self._news.notify_all()

    def _play(self, goal, result, cancelled) -> bool:
        request = goal.request
        task = find_task(request.task)
        # The same behaviour as `am-ros collect --noise` with this scene.
        mixture = fixed_noise(request.noise)
        if request.seed < 0:
            raise AmRosError(f"scene seed {request.seed}: must not be negative")
        expert = mixture.draw(task, demonstrator_rng(task, request.seed))
        reset = ResetScene.Request(task=task.name, seed=request.seed, phase=ResetScene.Request.START)
        answer = self._reset.call(reset, self.config.service_timeout_s)
        if not answer.success:
            raise AmRosError(f"sim_workcell/reset: {answer.message}")
        with self._news:  # until the first scene has come, those of earlier images may never come
            if not self._news.wait_for(lambda: self._scenes, self.config.service_timeout_s):
                raise AmRosError(f"topic {topics.SCENE_STATE}: nothing came for {self.config.service_timeout_s} s")
        # The stamp keeps apart two episodes of the same scene.
        name = f"{episode_id(task.name, request.seed)}_{self.get_clock().now().nanoseconds}"
        label = Label(name, SOURCE, task.name, seed=request.seed)

        def judge() -> Outcome:
            result.reached = self._outcome.call(GetOutcome.Request(), self.config.service_timeout_s).reached
            return Outcome.SUCCESS if result.reached else Outcome.FAILURE

        def on_step(index: int, choice: Choice) -> None:
            goal.publish_feedback(RunExpert.Feedback(step=index, action=action_message(choice.action)))

        ended = self._runner.run(
            label,
            lambda seen, _index: Choice(expert.act(self._scene_of(seen))),
            request.max_steps or task.max_steps,
            cancelled,
            judge,
            on_step,
        )
        result.episode_id, result.steps = name, ended.steps
        if ended.fault:
            raise AmRosError(ended.reason)
        result.success = True
        return True

    def _scene_of(self, seen: Seen) -> SceneState:
        """The truth of the very moment the image was taken."""
        stamp = to_ns(seen.message.image_stamp)
        with self._news:
            if not self._news.wait_for(lambda: stamp in self._scenes, self.config.service_timeout_s):
                raise AmRosError(f"topic {topics.SCENE_STATE}: none has the stamp of the image")
            return scene_from_message(self._scenes[stamp])


def main(args=None) -> int:
    """Console script."""
    return run(ScriptedExpert, "scripted_expert", args)


if __name__ == "__main__":
    raise SystemExit(main())
