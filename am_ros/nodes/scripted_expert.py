"""The scripted expert as a node: plays one episode in the simulated cell through the controller (~/run_expert)."""

import queue
import threading
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
from am_msgs.action import RunExpert
from am_msgs.msg import SceneState as SceneStateMsg
from am_msgs.srv import GetOutcome, ResetScene
from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.node import Node

from am_ros import topics
from am_ros.configuration import parameter
from am_ros.episode import Outcome
from am_ros.errors import AmRosError
from am_ros.nodes.common import RELIABLE_QOS, declare, run, to_ns
from am_ros.nodes.episode_runner import ActingConfig, Choice, EpisodeRunner, Label, Seen, action_message
from am_ros.nodes.scene_messages import scene_from_message
from am_ros.sim.episodes import SOURCE, episode_id, fixed_noise
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
        self._busy = threading.Lock()
        self._cancelled = threading.Event()
        self._result = RunExpert.Result()
        self._reset = self.create_client(ResetScene, "sim_workcell/reset")
        self._outcome = self.create_client(GetOutcome, "sim_workcell/outcome")
        self.create_subscription(SceneStateMsg, topics.SCENE_STATE, self._on_scene, RELIABLE_QOS)
        self._work: queue.SimpleQueue = queue.SimpleQueue()
        self._server = ActionServer(
            self,
            RunExpert,
            "~/run_expert",
            execute_callback=self._conclude,
            goal_callback=self._on_goal,
            cancel_callback=self._on_cancel,
            handle_accepted_callback=self._work.put,
        )
        self._thread = threading.Thread(target=self._worker, daemon=True, name="expert")
        self._thread.start()

    def close(self) -> None:
        """Stop what moves and end the worker."""
        self._cancelled.set()
        self._work.put(None)
        self._thread.join(timeout=2.0)

    def _on_goal(self, _request) -> GoalResponse:
        if not self._busy.acquire(blocking=False):
            self.get_logger().warning("run_expert rejected: another episode is being played")
            return GoalResponse.REJECT
        self._cancelled.clear()
        return GoalResponse.ACCEPT

    def _on_cancel(self, _goal) -> CancelResponse:
        self._cancelled.set()
        return CancelResponse.ACCEPT

    def _on_scene(self, msg: SceneStateMsg) -> None:
        with self._news:
            self._scenes[to_ns(msg.header.stamp)] = msg
            while len(self._scenes) > KEPT_SCENES:
                self._scenes.popitem(last=False)
            self._news.notify_all()

    # -- in the worker's thread ------------------------------------------------------------------------------------

    def _worker(self) -> None:
        while (goal := self._work.get()) is not None:
            result = RunExpert.Result()
            try:
                self._play(goal, result)
                result.success = True
            except AmRosError as error:
                result.message = str(error)
                self.get_logger().error(str(error))
            self._result = result
            goal.execute()  # the executor owns the goal's state, so it has to conclude

    def _conclude(self, goal) -> RunExpert.Result:
        """In the executor: hand over the result of the episode that has ended."""
        result = self._result
        ended = goal.succeed if result.success else goal.abort
        (goal.canceled if goal.is_cancel_requested else ended)()
        self._busy.release()
        return result

    def _play(self, goal, result) -> None:
        request = goal.request
        task = find_task(request.task)
        # The same behaviour as `am-ros collect --noise` with this scene.
        mixture = fixed_noise(request.noise)
        if request.seed < 0:
            raise AmRosError(f"scene seed {request.seed}: must not be negative")
        expert = mixture.draw(task, np.random.default_rng([request.seed, 1]))
        reset = ResetScene.Request(task=task.name, seed=request.seed, phase=ResetScene.Request.START)
        answer = self._call(self._reset, reset)
        if not answer.success:
            raise AmRosError(f"sim_workcell/reset: {answer.message}")
        # The stamp keeps apart two episodes of the same scene.
        name = f"{episode_id(task.name, request.seed)}_{self.get_clock().now().nanoseconds}"
        label = Label(name, SOURCE, task.name, seed=request.seed)

        def judge() -> Outcome:
            result.reached = self._call(self._outcome, GetOutcome.Request()).reached
            return Outcome.SUCCESS if result.reached else Outcome.FAILURE

        def on_step(index: int, choice: Choice) -> None:
            goal.publish_feedback(RunExpert.Feedback(step=index, action=action_message(choice.action)))

        ended = self._runner.run(
            label,
            lambda seen, _index: Choice(expert.act(self._scene_of(seen))),
            request.max_steps or task.max_steps,
            self._cancelled,
            judge,
            on_step,
        )
        result.episode_id, result.steps = name, ended.steps
        if ended.fault:
            raise AmRosError(ended.reason)

    def _scene_of(self, seen: Seen) -> SceneState:
        """The truth of the very moment the image was taken."""
        stamp = to_ns(seen.message.image_stamp)
        with self._news:
            if not self._news.wait_for(lambda: stamp in self._scenes, self.config.service_timeout_s):
                raise AmRosError(f"topic {topics.SCENE_STATE}: none has the stamp of the image")
            return scene_from_message(self._scenes[stamp])

    def _call(self, client, request):
        """Call a service from this thread; the executor brings the answer."""
        timeout = self.config.service_timeout_s
        if not client.wait_for_service(timeout_sec=timeout):
            raise AmRosError(f"service {client.srv_name}: no node offers it (waited {timeout} s)")
        answered = threading.Event()
        future = client.call_async(request)
        future.add_done_callback(lambda _: answered.set())
        if not answered.wait(timeout):
            raise AmRosError(f"service {client.srv_name}: no answer within {timeout} s")
        return future.result()


def main(args=None) -> int:
    """Console script."""
    return run(ScriptedExpert, "scripted_expert", args)


if __name__ == "__main__":
    raise SystemExit(main())
