"""A task in the simulated cell, one step of the arm at a time: the controller's planner without its node."""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from am_ros.action import ActionSpace, CartesianAction, Gripper
from am_ros.control.cartesian import CartesianStepper
from am_ros.control.limits import MotionLimits
from am_ros.episode import state_vector
from am_ros.errors import AmRosError
from am_ros.sim.scene import ObjectState, Scenario, SceneState
from am_ros.sim.tasks import Task, draw_scenario
from am_ros.sim.workcell import SimConfig, SimWorkcell

SETTLE_S = 0.05  # after a motion: the arm's tracking error dies away within three time constants
GRIPPER_STALL_S = 0.05  # how long the drive may take longer than its ramp
PHASES = ("start", "goal")


@dataclass(frozen=True)
class Observation:
    """What the actor sees; `refused` says why the last action was not executed."""

    image: np.ndarray  # uint8 [size, size, 3]
    state: np.ndarray  # float32 [STATE_DIM], see am_ros.episode
    time_s: float  # simulated, since the reset
    refused: str = ""


@dataclass(frozen=True)
class TaskOutcome:
    """Judgement of a trial so far, from the simulator's state."""

    reached: bool
    distance_m: float
    reached_once: bool  # at the end of any motion since the reset
    best_distance_m: float


class OutcomeTracker:
    """Remembers how near a trial came to its goal."""

    def __init__(self, task: Task):
        self._task = task
        self._best = float("inf")

    def update(self, scene: SceneState) -> TaskOutcome:
        """Judge a scene at rest."""
        distance = self._task.distance(scene)
        self._best = min(self._best, distance)
        tolerance = self._task.tolerance_m
        return TaskOutcome(distance <= tolerance, distance, self._best <= tolerance, self._best)


class Environment:
    """Not thread-safe. Deterministic: the same seed and actions give the same images, byte by byte."""

    def __init__(self, task: Task, config: SimConfig | None = None, limits: MotionLimits | None = None,
                 action_space: ActionSpace | None = None):
        self.task = task
        self.workcell = SimWorkcell(config)
        self.limits = limits or MotionLimits()
        self.action_space = action_space or ActionSpace()
        self._stepper = CartesianStepper(self.workcell.kinematics, self.limits, self.action_space)
        self._scenario: Scenario | None = None
        self._seed = -1

    def close(self) -> None:
        """Free the simulator."""
        self.workcell.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error) -> None:
        self.close()

    def reset(self, seed: int, phase: str = "start") -> Observation:
        """Put the scene of that seed to its start, or to its goal for the goal image. Raises AmRosError."""
        if phase not in PHASES:
            raise AmRosError(f"phase {phase!r}: use one of {', '.join(PHASES)}")
        self._scenario, self._seed = draw_scenario(self.task, seed), seed
        self.workcell.arrange(self._scenario.start if phase == "start" else self._scenario.goal)
        self._tracker = OutcomeTracker(self.task)
        self._outcome = self._tracker.update(self.scene())
        return self._observe()

    def step(self, action: CartesianAction) -> Observation:
        """Execute one action and wait until the arm rests.

        If the planner refuses the action, the last observation comes back with the reason. A terminating action moves
        nothing either, but takes time.
        """
        cell = self.workcell
        try:
            trajectory = self._stepper.plan(cell.joint_state().positions[: len(cell.robot.joint_names)], action)
        except AmRosError as error:
            return replace(self._last, refused=str(error))
        if action.terminate:
            cell.time_s += trajectory.duration_s
            self._last = replace(self._last, time_s=cell.time_s)
            return self._last
        if action.gripper != Gripper.HOLD:
            cell.command_gripper(1.0 if action.gripper == Gripper.OPEN else 0.0)
        cell.follow(trajectory)
        cell.advance(max(trajectory.duration_s, cell.gripper_left_s) + SETTLE_S)
        self._outcome = self._tracker.update(self.scene())
        return self._observe()

    def scene(self) -> SceneState:
        """Ground truth, for experts and judges."""
        return scene_state(self.workcell, self.task.name, self._seed, self._scenario)

    def outcome(self) -> TaskOutcome:
        """Judgement of the trial so far."""
        return self._outcome

    def _observe(self) -> Observation:
        cell = self.workcell
        tool = cell.end_effector()
        state = state_vector(tool.position_m, tool.yaw_rad, cell.gripper_opening())
        self._last = Observation(cell.render(), state, cell.time_s)
        return self._last


def scene_state(cell: SimWorkcell, task: str, seed: int, scenario: Scenario) -> SceneState:
    """Ground truth of a scenario in progress."""
    goals = scenario.goal.objects
    objects = [
        ObjectState(name, pose, goals[name] if name in scenario.wanted else None)
        for name, pose in cell.object_poses().items()
    ]
    return SceneState(
        task, seed, cell.end_effector(), scenario.goal.end_effector, cell.gripper_opening(),
        scenario.goal.gripper_opening, tuple(objects),
    )
