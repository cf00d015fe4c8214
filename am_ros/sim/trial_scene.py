"""A trial of a task in the cell: put the scene up, say what is the case, judge it."""

from dataclasses import dataclass

from am_ros.errors import AmRosError
from am_ros.sim.scene import ObjectState, Scenario, SceneState
from am_ros.sim.tasks import Task, draw_scenario, goal_appearance
from am_ros.sim.workcell import SimWorkcell

PHASES = ("start", "goal")


@dataclass(frozen=True)
class TaskOutcome:
    """Judgement of a trial so far, from the simulator's state."""

    reached: bool
    distance_m: float
    reached_once: bool  # now, or at the end of any motion since the reset
    best_distance_m: float


class TrialScene:
    """The trial that is set up in a cell. The environment and the sim_workcell node use it alike."""

    def __init__(self, cell: SimWorkcell):
        self._cell = cell
        self._task: Task  # since `reset`
        self._scenario: Scenario
        self._seed = -1
        self._best_m = float("inf")

    def reset(self, task: Task, seed: int, phase: str = "start", goal_variety: float | None = None) -> None:
        """Arrange the scene of that seed as it starts, or as the goal image shows it.

        `goal_variety` (0 ... 1): the goal has light and camera errors of its own, as if recorded at another hour; None:
        those of the trial. Raises AmRosError if there is no such scene; then the old one stands.
        """
        if phase not in PHASES:
            raise AmRosError(f"phase {phase!r}: use one of {', '.join(PHASES)}")
        scenario = draw_scenario(task, seed, self._cell.config.variety)
        self._cell.stock(task.objects)
        look = scenario.appearance
        if phase == "goal" and goal_variety is not None:
            look = goal_appearance(scenario, seed, goal_variety)
        self._cell.arrange(scenario.start if phase == "start" else scenario.goal, look)
        self._task, self._scenario, self._seed = task, scenario, seed
        self._best_m = float("inf")
        self.outcome()

    def state(self) -> SceneState:
        """Ground truth, for experts and judges."""
        cell, goal = self._cell, self._scenario.goal
        objects = tuple(
            ObjectState(name, pose, goal.objects[name] if name in self._scenario.wanted else None)
            for name, pose in cell.object_poses().items()
        )
        return SceneState(
            self._task.name, self._seed, cell.end_effector(), goal.end_effector, cell.gripper_opening(),
            goal.gripper_opening, objects,
        )  # fmt: skip

    def outcome(self, at_rest: bool = True) -> TaskOutcome:
        """Judge the scene as it is. What is seen in passing (not `at_rest`) is not remembered."""
        distance, tolerance = self._task.distance(self.state()), self._task.tolerance_m
        best = min(self._best_m, distance)
        if at_rest:
            self._best_m = best
        return TaskOutcome(distance <= tolerance, distance, best <= tolerance, best)
