"""Policy server: makes the camera see a goal image, by CEM over Q (action ~/reach_goal)."""

import queue
import sys
import threading
import traceback
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from am_msgs.action import ReachGoal
from am_msgs.srv import CountImages, GetGoal, LoadCheckpoint
from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.lifecycle import LifecycleNode, TransitionCallbackReturn

from am_ros import images
from am_ros.configuration import parameter
from am_ros.episode import check_name
from am_ros.errors import AmRosError
from am_ros.learning.cem import CemConfig
from am_ros.learning.policy import Policy
from am_ros.nodes.common import NodeThread, declare, from_ns, run, to_ns
from am_ros.nodes.episode_runner import ActingConfig, Choice, EpisodeRunner, Label, action_message


@dataclass(frozen=True)
class PolicyServerConfig:
    """Which policy, and how long it may try."""

    checkpoint: str = parameter("", "checkpoint folder to serve; empty: wait for ~/load_checkpoint")
    max_steps: int = parameter(20, "steps per goal unless the goal says otherwise", range=(1, 1000))
    samples: int = parameter(64, "CEM: candidates per iteration", range=(2, 4096))
    iterations: int = parameter(2, "CEM: refits of the distribution", range=(1, 20))
    threads: int = parameter(1, "CPU threads of PyTorch; a decision is too small to share", range=(1, 256))
    device: str = parameter("cpu", "where the network runs", choices=("cpu", "cuda"))
    seed: int = parameter(0, "of the search", range=(0, 2**31 - 1))
    autostart: bool = parameter(True, "configure and activate at start; false: wait for lifecycle transitions")


class PolicyServer(LifecycleNode):
    """One goal at a time. Decisions and motions run in a thread of their own; services always answer."""

    def __init__(self):
        super().__init__("policy_server")
        self.config = declare(self, PolicyServerConfig)
        self.acting = declare(self, ActingConfig)
        torch.set_num_threads(self.config.threads)
        self.policy: Policy | None = None
        self._runner: EpisodeRunner | None = None
        self._busy = threading.Lock()
        self._cancelled = threading.Event()
        self._active = False
        self._ended: dict[bytes, tuple] = {}
        self._work = queue.SimpleQueue()
        self._thread = NodeThread(self, self._worker, "policy")
        if self.config.autostart:
            for transition in (self.trigger_configure, self.trigger_activate):
                if transition() != TransitionCallbackReturn.SUCCESS:
                    raise AmRosError("could not start; the reason is in the log above")

    def on_configure(self, _state) -> TransitionCallbackReturn:
        """Check everything that can be checked before anything moves; fail by name."""
        try:
            self._configure()
        except AmRosError as error:
            self.get_logger().error(str(error))
            return TransitionCallbackReturn.FAILURE
        except Exception:  # rclpy would swallow it without a word
            self.get_logger().error(traceback.format_exc())
            raise
        return TransitionCallbackReturn.SUCCESS

    def _configure(self) -> None:
        if self.config.checkpoint:
            self._load(self.config.checkpoint)
        if self._runner is not None:
            return
        self._runner = EpisodeRunner(self, self.acting)
        self._goals = self.create_client(GetGoal, "goal_registry/get")
        self.create_service(LoadCheckpoint, "~/load_checkpoint", self._on_load)
        self.create_service(CountImages, "~/count_images", self._on_count)
        self._server = ActionServer(
            self,
            ReachGoal,
            "~/reach_goal",
            execute_callback=self._conclude,
            goal_callback=self._on_goal,
            cancel_callback=self._on_cancel,
            handle_accepted_callback=self._work.put,
        )

    def on_activate(self, state) -> TransitionCallbackReturn:
        """Accept goals from now on."""
        self._active = True
        return super().on_activate(state)

    def on_deactivate(self, state) -> TransitionCallbackReturn:
        """Stop the goal in progress and accept no more."""
        self._active = False
        self._cancelled.set()
        return super().on_deactivate(state)

    def close(self) -> None:
        """Stop what moves and end the worker."""
        self._cancelled.set()
        self._work.put(None)
        self._thread.join(2.0)

    def _load(self, folder: str) -> None:
        cem = CemConfig(samples=self.config.samples, iterations=self.config.iterations)
        policy = Policy.load(Path(folder), cem, self.config.device, self.config.seed)
        size = policy.image_size
        blank = np.zeros((size, size, 3), np.uint8)
        first = policy.act(blank, blank, np.zeros(6, np.float32)).decision_ms  # PyTorch prepares itself here
        again = policy.act(blank, blank, np.zeros(6, np.float32)).decision_ms
        self.policy = policy
        self.get_logger().info(
            f"serving {folder} (update {policy.meta['update']}, {size} px): a decision takes "
            f"{again:.1f} ms (the first took {first:.0f} ms)"
        )

    def _on_load(self, request, response):
        """Hot-load: a refused checkpoint leaves the old one serving."""
        try:
            self._load(request.path)
            response.success = True
        except AmRosError as error:
            response.message = str(error)
            self.get_logger().error(str(error))
        if self.policy is not None:
            response.sha256, response.update = self.policy.meta["sha256"], self.policy.meta["update"]
        return response

    def _on_count(self, request, response):
        first, last = to_ns(request.first), to_ns(request.last)
        stamps = [s for s in self._runner.image_stamps if (first == 0 or s >= first) and (last == 0 or s <= last)]
        response.count = len(stamps)
        if stamps:
            response.first, response.last = from_ns(stamps[0]), from_ns(stamps[-1])
        return response

    def _on_goal(self, _request) -> GoalResponse:
        for refused, why in (
            (not self._active, "the node is not active"),
            (self.policy is None, "no checkpoint is loaded (call ~/load_checkpoint)"),
        ):
            if refused:
                self.get_logger().warning(f"goal rejected: {why}")
                return GoalResponse.REJECT
        if not self._busy.acquire(blocking=False):
            self.get_logger().warning("goal rejected: another goal is being pursued")
            return GoalResponse.REJECT
        self._cancelled.clear()
        return GoalResponse.ACCEPT

    def _on_cancel(self, _goal) -> CancelResponse:
        self._cancelled.set()
        return CancelResponse.ACCEPT

    def _worker(self) -> None:
        while (goal := self._work.get()) is not None:
            result, status = ReachGoal.Result(), "abort"
            try:
                result, status = self._pursue(goal, result)
            except AmRosError as error:
                result.end, result.reason = ReachGoal.Result.FAULT, str(error)
                self.get_logger().error(str(error))
            finally:
                self._busy.release()
                self._finish(goal, result, status)

    def _finish(self, goal, result, status: str) -> None:
        """Hand the result to the executor, which owns the goal's state."""
        self._ended[bytes(goal.goal_id.uuid)] = result, status
        goal.execute()

    def _conclude(self, goal):
        result, status = self._ended.pop(bytes(goal.goal_id.uuid))
        ended = goal.canceled if goal.is_cancel_requested else getattr(goal, status)
        ended()
        return result

    def _pursue(self, goal, result):
        request, policy = goal.request, self.policy
        goal_image = self._goal_image(request)
        size = policy.image_size
        if goal_image.shape != (size, size, 3):
            raise AmRosError(f"goal image: is {goal_image.shape[:2]}, the policy needs ({size}, {size})")
        started = self.get_clock().now().nanoseconds
        label = Label(f"policy_{started}", "policy", request.task, request.goal_id, request.seed)
        policy.reset(self.config.seed + max(0, request.seed))
        durations, values = [], []

        def act(seen, _index):
            decision = policy.act(seen.image, goal_image, seen.state)
            durations.append(decision.decision_ms)
            values.append(decision.q_value)
            return Choice(decision.action, decision.q_value, decision.decision_ms)

        def on_step(index, choice):
            goal.publish_feedback(
                ReachGoal.Feedback(
                    step=index,
                    q_value=choice.q_value,
                    decision_ms=choice.decision_ms,
                    action=action_message(choice.action),
                )
            )

        ended = self._runner.run(
            label, act, request.max_steps or self.config.max_steps, self._cancelled, on_step=on_step
        )
        ends = {"terminated": result.TERMINATED, "step_limit": result.STEP_LIMIT, "cancelled": result.CANCELLED}
        result.end = result.FAULT if ended.fault else ends[ended.reason]
        result.reason, result.episode_id, result.steps = ended.reason, label.episode_id, ended.steps
        if durations:
            result.final_q = values[-1]
            result.decision_ms_p50, result.decision_ms_max = float(np.median(durations)), max(durations)
        return result, "abort" if ended.fault else "succeed"

    def _goal_image(self, request) -> np.ndarray:
        if not request.goal_id:
            return images.array_from_image(request.goal_image)
        check_name(request.goal_id, "goal id")
        if not self._goals.wait_for_service(timeout_sec=2.0):
            raise AmRosError("service goal_registry/get: no goal registry answers")
        answered = threading.Event()
        future = self._goals.call_async(GetGoal.Request(goal_id=request.goal_id))
        future.add_done_callback(lambda _: answered.set())
        if not answered.wait(5.0):
            raise AmRosError("service goal_registry/get: no answer within 5 s")
        if not future.result().success:
            raise AmRosError(future.result().message)
        return images.array_from_image(future.result().image)


def main(args=None) -> int:
    """Entry point of the executable."""
    return run(PolicyServer, "policy_server", args)


if __name__ == "__main__":
    sys.exit(main())
