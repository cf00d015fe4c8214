"""The policy: does its checkpoint load, and do its images, its steps and the goals fit the cell?"""

from pathlib import Path

import numpy as np

from am_ros import configuration
from am_ros.action import ActionSpace
from am_ros.errors import AmRosError
from am_ros.goals import GoalLibrary
from am_ros.preflight.cell import GOALS, POLICY, Cell
from am_ros.preflight.findings import Finding, ok, warning, wrong
from am_ros.preflight.observed import Observed


def check_policy(cell: Cell, observed: Observed) -> list[Finding]:
    """The checkpoint against the camera, the controller and the goal library."""
    folder = cell.parameters(POLICY).get("checkpoint", "")
    if not cell.spec(POLICY):
        return []
    if not folder:
        mend = "give one, or call policy_server/load_checkpoint"
        return [warning("checkpoint", "none is given: goals are refused", mend)]
    from am_ros.learning import checkpoint  # torch takes two seconds to load, and not every cell has a policy

    try:
        meta = checkpoint.load(folder).meta
        steps = configuration.from_dict(ActionSpace, meta["action_space"])
        size = int(meta["image_size"])
    except (AmRosError, KeyError, TypeError, ValueError) as error:
        sentence = str(error) if isinstance(error, AmRosError) else f"{folder}: lacks {error}"
        return [wrong("checkpoint", sentence, "give a checkpoint that am-ros train has written, whole")]
    return [
        ok("checkpoint", f"{folder} is whole: update {meta.get('update')}, {size}x{size} px"),
        *_camera(size, cell, observed),
        _steps(steps, cell.controller.action_space),
        *check_goals(cell, size),
    ]


def _camera(size: int, cell: Cell, observed: Observed) -> list[Finding]:
    rgb = observed.image.rgb if observed.image else None
    seen = rgb.shape[:2] if rgb is not None else cell.image_size
    if seen is None:
        return []
    if seen != (size, size):
        what = f"the policy needs images of {size}x{size} px, the camera gives {seen[1]}x{seen[0]}"
        return [wrong("checkpoint_image", what, f"start the cell with image_size:={size}, or train at this size")]
    return [ok("checkpoint_image", f"the policy sees {size}x{size} px, as the camera gives them")]


def _steps(policy: ActionSpace, controller: ActionSpace) -> Finding:
    """A step that the controller calls too large is refused: the policy must not know larger ones."""
    if (policy.scale > controller.scale + 1e-6).any():
        ours, theirs = (np.round(space.scale, 4).tolist() for space in (controller, policy))
        what = f"the policy takes steps of up to {theirs} (m, m, m, rad), the controller allows {ours}"
        return wrong("checkpoint_actions", what, "set max_translation_m and max_rotation_rad of cartesian_controller")
    return ok("checkpoint_actions", "the controller allows every step that the policy knows")


def check_goals(cell: Cell, size: int) -> list[Finding]:
    """Recorded goal images that this policy could not be given."""
    folder = cell.parameters(GOALS).get("folder", "")
    try:
        goals, damaged = GoalLibrary(folder).list() if folder and _exists(folder) else ([], [])
    except AmRosError as error:
        return [warning("goals", str(error), "look at the folder of the goal library")]
    others = [goal.goal_id for goal in goals if (goal.height, goal.width) != (size, size)]
    if damaged:
        return [warning("goals", damaged[0], "record it again, or delete it (goal_registry/delete)")]
    if others:
        names = ", ".join(others[:3]) + (" ..." if len(others) > 3 else "")
        what = f"{len(others)} of {len(goals)} goals have another size than the policy's: {names}"
        return [warning("goals", what, "record them again with this camera")]
    return [ok("goals", f"{len(goals)} goals in {folder}")]


def _exists(folder: str) -> bool:
    """GoalLibrary makes its folder; a check leaves nothing behind."""
    return Path(folder).expanduser().is_dir()
