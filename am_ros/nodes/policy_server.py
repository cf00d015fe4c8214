"""Policy server: makes the camera see a goal image, by CEM over Q (action ~/reach_goal)."""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from am_msgs.action import ReachGoal
from am_msgs.srv import CountImages, LoadCheckpoint

from am_ros.configuration import check, parameter
from am_ros.errors import AmRosError
from am_ros.learning.cem import CemConfig
from am_ros.learning.policy import Policy
from am_ros.paths import inside
from am_ros.pretrained import FOLDER, checkpoint_names
from am_ros.ros.commanding.episode_runner import EpisodeRunner
from am_ros.ros.commanding.goal_requests import GoalRequests
from am_ros.ros.messages.acting import ActingConfig, Choice, Label, action_message
from am_ros.ros.messages.candidates import CandidatePublisher
from am_ros.ros.node.clocks import steady_timer
from am_ros.ros.node.common import declare, from_ns, run, to_ns
from am_ros.ros.node.diagnostics import OK, WARN, Diagnostics
from am_ros.ros.node.lifecycle import ActingNode
from am_ros.ros.node.single_goal import SingleGoalServer
from am_ros.ros.services import CheckpointServices

NO_CHECKPOINT = "no checkpoint is loaded (call ~/load_checkpoint)"
MAX_STEPS = 1000  # of a goal: a number from the network must not keep the arm for ever


@dataclass(frozen=True)
class PolicyServerConfig:
    """Which policy, and how long it may try."""

    checkpoint: str = parameter("", "checkpoint folder to serve; empty: wait for ~/load_checkpoint")
    checkpoint_folder: str = parameter(
        "",
        "folder that ~/load_checkpoint may load from, beside those that come with the package; empty: the one that "
        "`checkpoint` lies in",
    )
    max_steps: int = parameter(20, "steps per goal unless the goal says otherwise", range=(1, MAX_STEPS))
    samples: int = parameter(0, "CEM: candidates per iteration; 0: as the checkpoint says", range=(0, 4096))
    iterations: int = parameter(0, "CEM: refits of the distribution; 0: as the checkpoint says", range=(0, 20))
    threads: int = parameter(1, "CPU threads of PyTorch; only decisions of qt_opt are worth more", range=(1, 256))
    device: str = parameter("cpu", "where the network runs", choices=("cpu", "cuda"))
    seed: int = parameter(0, "of the search", range=(0, 2**31 - 1))
    goal_check: str = parameter(
        "warn", "whether the camera still stands where it stood for the goal: off, warn who asked, or refuse the goal",
        choices=("off", "warn", "refuse"),
    )  # fmt: skip
    autostart: bool = parameter(True, "configure and activate at start; false: wait for lifecycle transitions")


class PolicyServer(ActingNode):
    """One goal at a time. Decisions and motions run in a thread of their own; services always answer."""

    def __init__(self):
        super().__init__("policy_server")
        self.config = declare(self, PolicyServerConfig)
        self.acting = declare(self, ActingConfig)
        torch.set_num_threads(self.config.threads)
        self.policy: Policy | None = None
        self._configured = False
        if self.config.autostart:
            self.start_by_itself()

    def configure(self) -> None:
        """Load and try the checkpoint; make what goals need."""
        asked = {"samples": self.config.samples, "iterations": self.config.iterations}
        self._search = {name: value for name, value in asked.items() if value}
        check(CemConfig(**self._search))
        if self.config.checkpoint:
            self._load(self.config.checkpoint)
        if self._configured:
            return
        self._runner = EpisodeRunner(self, self.acting)
        self._configured = True
        self._diagnostics, self._missed = Diagnostics(self), 0
        self._goals = GoalRequests(self)
        self._warnings: list[str] = []
        self._candidates = CandidatePublisher(self, self.acting.base_frame)
        steady_timer(self, 1.0, self._report)
        self.create_service(LoadCheckpoint, "~/load_checkpoint", self._on_load)
        self.create_service(CountImages, "~/count_images", self._on_count)
        CheckpointServices(self, self._own_folder, lambda: self.policy.meta["sha256"] if self.policy else "")
        self._server = SingleGoalServer(self, ReachGoal, "~/reach_goal", self._pursue, self._describe, self._refuse)

    def deactivate(self) -> None:
        """Stop the goal in progress and accept no more."""
        self._server.cancel()

    def close(self) -> None:
        """Stop what moves."""
        if self._configured:
            self._server.close()
            self._runner.close("cancelled")

    def _load(self, folder: str) -> None:
        policy = Policy.load(Path(folder), None, self.config.device, self.config.seed, **self._search)
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
            self._load(self._allowed(request.path))
            response.success = True
        except AmRosError as error:
            response.message = str(error)
            self.get_logger().error(str(error))
        if self.policy is not None:
            response.sha256, response.update = self.policy.meta["sha256"], self.policy.meta["update"]
        return response

    def _allowed(self, path: str) -> str:
        """A path from the network, which may only lead to where the operator keeps checkpoints."""
        if path in checkpoint_names():
            return path
        own = self._own_folder()
        return str(inside(path, [own, FOLDER] if own else [FOLDER], "checkpoint_folder"))

    def _own_folder(self) -> str:
        own = self.config.checkpoint_folder
        return own or (str(Path(self.config.checkpoint).parent) if self.config.checkpoint else "")

    def _on_count(self, request, response):
        stamps = self._runner.image_stamps.between(to_ns(request.first), to_ns(request.last))
        response.count = len(stamps)
        if stamps:
            response.first, response.last = from_ns(stamps[0]), from_ns(stamps[-1])
        return response

    def _refuse(self) -> str:
        if not self.active:
            return "the node is not active"
        return "" if self.policy is not None else NO_CHECKPOINT

    @staticmethod
    def _describe(result, sentence: str) -> None:
        result.end, result.reason = ReachGoal.Result.FAULT, sentence

    def _pursue(self, goal, result, cancelled) -> bool:
        request, policy = goal.request, self.policy
        if policy is None:
            raise AmRosError(NO_CHECKPOINT)
        if request.max_steps > MAX_STEPS:
            raise AmRosError(f"max_steps {request.max_steps}: at most {MAX_STEPS}")
        goal_image = self._goals.image(request)
        size = policy.image_size
        if goal_image.shape != (size, size, 3):
            raise AmRosError(f"goal image: is {goal_image.shape[:2]}, the policy needs ({size}, {size})")
        result.warnings = self._warnings = self._goals.warnings(request, self.config.goal_check)
        if result.warnings:
            goal.publish_feedback(ReachGoal.Feedback(warnings=result.warnings))
            for sentence in result.warnings:
                self.get_logger().warning(sentence)
        started = self.get_clock().now().nanoseconds
        label = Label(f"policy_{started}", "policy", request.task, request.goal_id, request.seed)
        policy.reset(self.config.seed + max(0, request.seed))
        durations, values = [], []

        def act(seen, _index):
            policy.keeps_candidates = self._candidates.wanted
            decision = policy.act(seen.image, goal_image, seen.state)
            durations.append(decision.decision_ms)
            values.append(decision.q_value)
            self._candidates.publish(policy, seen.position_m, decision.action)
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

        max_steps = request.max_steps or self.config.max_steps
        ended = self._runner.run(label, act, max_steps, cancelled, on_step=on_step, image_size=(size, size))
        ends = {"terminated": result.TERMINATED, "step_limit": result.STEP_LIMIT, "cancelled": result.CANCELLED}
        result.end = result.FAULT if ended.fault else ends.get(ended.reason, result.CANCELLED)
        result.reason, result.episode_id, result.steps = ended.reason, label.episode_id, ended.steps
        if durations:
            result.final_q = values[-1]
            result.decision_ms_p50, result.decision_ms_max = float(np.median(durations)), max(durations)
            self.get_logger().info(
                f"{label.episode_id}: {ended.reason} after {ended.steps} steps; from exposure to command "
                f"{self._runner.latency.report()}"
            )
        return not ended.fault

    def _report(self) -> None:
        """How old what the arm is told is, and whether images are lost on the way here."""
        latency, missed = self._runner.latency.report(), self._runner.images_missed
        level, message = OK, f"from exposure to command {latency}" if latency.count else "no decision yet"
        if missed > self._missed:
            level, message = WARN, f"{missed - self._missed} images missed since the last report; {message}"
        self._missed = missed
        values = {
            "latency_p50_ms": f"{latency.p50_ms:.1f}",
            "latency_p99_ms": f"{latency.p99_ms:.1f}",
            "latency_max_ms": f"{latency.max_ms:.1f}",
            "decisions": latency.count,
            "images_received": self._runner.image_stamps.count,
            "images_missed": missed,
        }
        self._diagnostics.publish("camera path", level, message, values)
        warned = "; ".join(self._warnings)
        self._diagnostics.publish("goal", WARN if warned else OK, warned or "nothing to warn of", {})


def main(args=None) -> int:
    """Entry point of the executable."""
    return run(PolicyServer, "policy_server", args)


if __name__ == "__main__":
    sys.exit(main())
