"""One picture of all tasks: how a scene starts, what the expert leaves behind, and the goal image.

    python benchmarks/gallery.py --out docs/images/tasks.png

Also draws one scene at every camera size of the issue: docs/images/camera_sizes.png with --sizes 64 128 472.
"""

import argparse

import cv2
import numpy as np
from output import output_file

from am_ros.evaluation.drawing import GREEN, GREY, RED, goal_tile, grid, tile, title, write_png
from am_ros.sim.camera import CameraConfig
from am_ros.sim.environment import Environment
from am_ros.sim.tasks import TASKS, Task, evaluation_seed
from am_ros.sim.workcell import SimConfig


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=output_file, required=True, help="PNG file")
    parser.add_argument("--scene", type=int, default=3, help="number in the evaluation set (default 3)")
    parser.add_argument("--pixels", type=int, default=144, help="of one tile (default 144)")
    parser.add_argument("--sizes", type=int, nargs="*", help="draw one scene at these camera sizes instead")
    parser.add_argument("--task", default="food_grasping", help="of --sizes (default food_grasping)")
    arguments = parser.parse_args()
    if arguments.sizes:
        tiles = [_at_size(arguments.task, arguments.scene, size) for size in arguments.sizes]
    else:
        tiles = [_portrait(task, arguments.scene, arguments.pixels) for task in TASKS.values()]
    print(write_png(arguments.out, grid(tiles, 3)))


def _portrait(task: Task, scene: int, pixels: int) -> np.ndarray:
    """Start, end of the expert's episode, goal."""
    config = SimConfig(camera=CameraConfig(image_size=2 * pixels))
    with Environment(task, config) as environment:
        goal = environment.reset(evaluation_seed(scene), "goal").image if task.goal_image else None
        start = last = environment.reset(evaluation_seed(scene)).image
        for _ in range(task.max_steps):
            action = task.act(environment.scene())
            if action.terminate:
                break
            last = environment.step(action).image
        colour = GREEN if environment.outcome().reached else RED
    tiles = [tile(start, "start", GREY, pixels), tile(last, "end (expert)", colour, pixels)]
    tiles.append(goal_tile(np.zeros_like(start) if goal is None else goal, pixels))
    row = np.hstack(tiles)
    return np.pad(
        np.vstack([title(task.name, row.shape[1], (20, 20, 20)), row]), ((2, 6), (6, 6), (0, 0)), constant_values=255
    )


def _at_size(task: str, scene: int, size: int) -> np.ndarray:
    with Environment(TASKS[task], SimConfig(camera=CameraConfig(image_size=size))) as environment:
        image = environment.reset(evaluation_seed(scene)).image
    return tile(cv2.resize(image, (472, 472), interpolation=cv2.INTER_NEAREST), f"{size} px", GREY, 472)


if __name__ == "__main__":
    main()
