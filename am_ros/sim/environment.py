"""A task in the simulated cell, one step of the arm at a time: the controller's planner without its node."""

from dataclasses import dataclass, replace

import numpy as np

from am_ros.action import ActionSpace, CartesianAction, Gripper
from am_ros.control.cartesian import CartesianStepper
from am_ros.control.limits import MotionLimits
from am_ros.episode import state_vector
from am_ros.errors import AmRosError
from am_ros.sim.scene import SceneState
from am_ros.sim.tasks import Task
from am_ros.sim.trial_scene import TaskOutcome, TrialScene
from am_ros.sim.workcell import SimConfig, SimWorkcell

# After a motion: the arm's tracking error has died away by then.
SETTLE_S = 0.05
# A block dropped from the top of the workspace takes 0.25 s to fall and as long to come to rest.
MAX_FALL_S = 0.5


@dataclass(frozen=True)
class Observation:
    """What the actor sees; `refused` says why the last action was not executed."""

    image: np.ndarray  # uint8 [size, size, 3]; [0, 0, 3] where nobody looks
    state: np.ndarray  # float32 [STATE_DIM], see am_ros.episode
    time_s: float  # simulated, since the reset
    refused: str = ""


class Environment:
    """Not thread-safe. Deterministic: the same seed and actions give the same images, byte by byte."""

    def __init__(
        self,
        task: Task,
        config: SimConfig | None = None,
        limits: MotionLimits | None = None,
        action_space: ActionSpace | None = None,
        sees: bool = True,
    ):
        """`sees`: whether observations hold a picture, a fifth of the time of a step; without it they have none."""
        self.task, self.sees = task, sees
        self.workcell = SimWorkcell(config)
        self._last: Observation  # since `reset`
        self.limits = limits or MotionLimits()
        self.action_space = action_space or ActionSpace()
        self._stepper = CartesianStepper(self.workcell.kinematics, self.limits, self.action_space)
        self._trial = TrialScene(self.workcell)

    def close(self) -> None:
        """Free the simulator."""
        self.workcell.close()

    def __enter__(self) -> "Environment":
        return self

    def __exit__(self, *_error) -> None:
        self.close()

    def reset(self, seed: int, phase: str = "start", goal_variety: float | None = None) -> Observation:
        """Put the scene of that seed to its start, or to its goal for the goal image. Raises AmRosError.

        `goal_variety`: see TrialScene.reset.
        """
        self._trial.reset(self.task, seed, phase, goal_variety)
        self._outcome = self._trial.outcome()
        return self._observe()

    def step(self, action: CartesianAction) -> Observation:
        """Execute one action and wait until arm and objects rest.

        If the planner refuses the action, the last observation comes back with the reason. A terminating action moves
        nothing either, but takes time.
        """
        cell = self.workcell
        try:
            trajectory = self._stepper.plan(cell.arm_positions(), action)
        except AmRosError as error:
            return replace(self._last, refused=str(error))
        if action.terminate:
            cell.time_s += trajectory.duration_s
            self._last = replace(self._last, time_s=cell.time_s, refused="")
            return self._last
        # Both at once, as the cartesian_controller node commands them.
        if action.gripper != Gripper.HOLD:
            cell.command_gripper(1.0 if action.gripper == Gripper.OPEN else 0.0)
        cell.follow(trajectory)
        cell.advance(cell.motion_left_s + SETTLE_S)
        rested = cell.time_s + MAX_FALL_S
        while not cell.objects_at_rest() and cell.time_s < rested:
            cell.advance(SETTLE_S)
        self._outcome = self._trial.outcome()
        return self._observe()

    def scene(self) -> SceneState:
        """Ground truth, for experts and judges."""
        return self._trial.state()

    def outcome(self) -> TaskOutcome:
        """Judgement of the trial so far."""
        return self._outcome

    def _observe(self) -> Observation:
        cell = self.workcell
        tool = cell.end_effector()
        state = state_vector(tool.position_m, tool.yaw_rad, cell.gripper_opening())
        image = cell.render() if self.sees else np.zeros((0, 0, 3), np.uint8)
        self._last = Observation(image, state, cell.time_s)
        return self._last
