"""Q over the table, drawn into what the camera sees, step by step through a trial."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from am_ros.errors import AmRosError
from am_ros.evaluation.curves import new_figure, save_figure
from am_ros.evaluation.projection import project
from am_ros.evaluation.q_map import QMap, QMapConfig, q_map
from am_ros.evaluation.trials import reset_trial
from am_ros.learning.policy import Decision, Policy
from am_ros.sim.camera import CameraConfig
from am_ros.sim.environment import Environment
from am_ros.sim.scene import Appearance
from am_ros.sim.tasks import Task, draw_scenario, evaluation_seed
from am_ros.sim.workcell import SimConfig

VIEW_PX = 512  # of the camera image under the map; the policy may see a smaller one
WINDOW_PX = 320  # what is shown of it, around the tool
CELL_PX = 16  # of the map before it is laid on the table
PER_ROW = 5  # moments side by side


@dataclass(frozen=True)
class Moment:
    """What the policy saw and wanted at one step."""

    image: np.ndarray  # uint8 [size, size, 3], as the policy saw it
    view: np.ndarray  # uint8 [VIEW_PX, VIEW_PX, 3], the same moment
    state: np.ndarray  # float32 [STATE_DIM]
    q: QMap
    decision: Decision  # what it did


@dataclass(frozen=True)
class Look:
    """A trial seen from inside."""

    task: str
    scene: int
    goal_image: np.ndarray  # as the policy saw it; all zeros: none
    goal_view: np.ndarray
    appearance: Appearance
    moments: list[Moment]
    distance_m: float  # from the goal, after the last moment


def look_inside(
    policy: Policy, task: Task, scene: int, steps: int, config: QMapConfig, variety: float = SimConfig.variety
) -> Look:
    """Let the policy act for up to `steps` steps on a scene of the evaluation set; map its Q before each.

    The trial is the one that `am-ros evaluate` runs on this scene. Raises AmRosError for a policy that has no Q.
    """
    if policy.cem.objective == "prior":
        raise AmRosError("the checkpoint is a cloned policy, which has no Q to look at")
    cells = [_environment(task, size, variety) for size in (policy.image_size, VIEW_PX)]
    with cells[0] as environment, cells[1] as viewer:
        seen, goal_image = reset_trial(environment, scene)
        view, goal_view = reset_trial(viewer, scene)
        policy.reset(scene)
        moments = []
        for _ in range(min(steps, task.max_steps)):
            wanted = q_map(policy, seen.image, goal_image, seen.state, config)
            decision = policy.act(seen.image, goal_image, seen.state)
            moments.append(Moment(seen.image, view.image, seen.state, wanted, decision))
            if decision.action.terminate:
                break
            action = environment.limits.keep_inside(seen.state[[2, 3, 1]], decision.action)
            seen, view = environment.step(action), viewer.step(action)
        distance_m = environment.outcome().distance_m
    appearance = draw_scenario(task, evaluation_seed(scene), variety).appearance
    return Look(task.name, scene, goal_image, goal_view, appearance, moments, distance_m)


def _environment(task: Task, size: int, variety: float) -> Environment:
    return Environment(task, SimConfig(variety=variety, camera=CameraConfig(image_size=size)))


def draw_look(look: Look, path) -> Path:
    """Write the picture: the goal, then per step the map over the camera image, what the policy saw, and its choices.

    One colour scale for the whole picture, given by the bar. The star is where Q is highest, the arrow what the policy
    did (beside Q it may weigh its behaviour prior), the dotted line drops from the tool to the table.
    """
    blocks = -(-len(look.moments) // PER_ROW)
    columns = min(PER_ROW, len(look.moments)) + 1
    figure, axes = new_figure(
        3 * blocks, columns, figsize=(2.7 * columns + 0.6, 5.9 * blocks), height_ratios=(2.5, 1.5, 1) * blocks
    )
    for axis in axes.flat:
        axis.set_axis_off()
    colours = _colours(np.stack([moment.q.values for moment in look.moments]))
    shown = "goal" if look.goal_image.any() else "no goal image: the policy sees zeros"
    _picture(axes[0, 0], look.goal_view if look.goal_image.any() else np.zeros_like(look.goal_view), shown)
    _picture(axes[1, 0], look.goal_image, "goal as the policy sees it")
    for i, moment in enumerate(look.moments):
        block, column = divmod(i, PER_ROW)
        above, middle, below = axes[3 * block : 3 * block + 3, column + 1]
        _draw_map(above, moment, look.appearance, colours)
        above.set_title(f"step {i}: {_words(moment.decision)}", fontsize=8)
        _picture(middle, moment.image, "what the policy sees")
        _draw_choices(below, moment.q.choices)
    bar = figure.colorbar(colours, ax=axes[2, 0], location="top", fraction=0.5, shrink=0.9)
    bar.set_label("highest Q at this displacement", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    figure.suptitle(
        f"{look.task}, scene {look.scene}: what Q wants; {look.distance_m * 100:.1f} cm from the goal after "
        f"{len(look.moments)} steps", fontsize=10,
    )  # fmt: skip
    return save_figure(figure, path)


def _colours(values: np.ndarray):
    """One scale for all maps of a picture, so that they compare."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    finite = values[np.isfinite(values)]
    limits = (finite.min(), finite.max()) if len(finite) else (0.0, 1.0)
    return ScalarMappable(Normalize(*limits), "plasma")


def _draw_map(axis, moment: Moment, appearance: Appearance, colours) -> None:
    """The camera's picture around the tool with the map lying on the table."""
    height, x, y = (float(v) for v in moment.state[1:4])
    camera = CameraConfig(image_size=VIEW_PX)

    def pixels(dx: float, dy: float, z: float = 0.0) -> np.ndarray:
        return project(np.array([x + dx, y + dy, z]), camera, appearance)

    tool, foot = pixels(0, 0, height), pixels(0, 0)
    _picture(axis, _overlay(moment, pixels, colours), "")
    axis.plot(*np.stack([tool, foot], axis=-1), ":", color="white", linewidth=1.2)
    axis.plot(*pixels(*moment.q.peak_m), "*", color="white", markeredgecolor="black", markersize=11)
    action = moment.decision.action
    if not action.terminate:
        arrow = {"arrowstyle": "->", "color": "cyan", "linewidth": 1.8}
        axis.annotate("", pixels(*action.translation_m[:2]), foot, arrowprops=arrow)
    left, top = np.clip((tool + 2 * foot) / 3 - WINDOW_PX / 2, 0, VIEW_PX - WINDOW_PX) - 0.5
    axis.set(xlim=(left, left + WINDOW_PX), ylim=(top + WINDOW_PX, top))


def _overlay(moment: Moment, pixels, colours) -> np.ndarray:
    """The view with the map warped onto the table: the higher Q the less transparent; what is not finite is a hole."""
    values, (x, y) = moment.q.values, (_edges(moment.q.x_m), _edges(moment.q.y_m))
    rgba = colours.to_rgba(values)
    rgba[..., 3] = np.where(np.isfinite(values), 0.3 + 0.5 * np.nan_to_num(colours.norm(values)), 0)
    rgba = np.kron(rgba, np.ones((CELL_PX, CELL_PX, 1)))
    rows, columns = rgba.shape[:2]
    inside = np.array([(-0.5, -0.5), (-0.5, rows - 0.5), (columns - 0.5, -0.5), (columns - 0.5, rows - 0.5)])
    outside = np.array([pixels(i, j) for j in y[[0, -1]] for i in x[[0, -1]]])
    warp = cv2.getPerspectiveTransform(inside.astype(np.float32), outside.astype(np.float32))
    rgba = cv2.warpPerspective(rgba.astype(np.float32), warp, (VIEW_PX, VIEW_PX), flags=cv2.INTER_AREA)
    share = rgba[..., 3:]
    return np.clip((1 - share) * moment.view / 255 + share * rgba[..., :3], 0, 1)


def _draw_choices(axis, choices: dict[str, float]) -> None:
    axis.set_axis_on()
    axis.barh(list(choices), list(choices.values()), color=("#4c72b0", "#55a868", "#c44e52"))
    axis.set(xlim=(0, 1))
    axis.invert_yaxis()
    axis.tick_params(labelsize=7)
    axis.set_xlabel("highest Q", fontsize=7)
    for i, value in enumerate(choices.values()):
        inside = value > 0.75
        place = {"x": value - 0.02, "ha": "right", "color": "white"} if inside else {"x": value + 0.02}
        axis.text(y=i, s=f"{value:.3f}", va="center", fontsize=7, **place)


def _picture(axis, rgb: np.ndarray, title: str) -> None:
    axis.imshow(rgb, interpolation="nearest")
    axis.set_title(title, fontsize=8)


def _edges(centres: np.ndarray) -> np.ndarray:
    """Borders [n + 1] of cells around evenly spaced centres [n]."""
    half = (centres[1] - centres[0]) / 2
    return np.append(centres - half, centres[-1] + half)


def _words(decision: Decision) -> str:
    action = decision.action
    if action.terminate:
        return f"terminates (Q {decision.q_value:.2f})"
    gripper = action.gripper.name.lower()
    dx, dy, dz = (100 * v for v in action.translation_m)
    return f"{gripper}, {dx:+.0f} {dy:+.0f} {dz:+.0f} cm (Q {decision.q_value:.2f})"
