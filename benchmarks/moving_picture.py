"""A moving picture of one trial: what the camera sees, beside the goal image, as an animated GIF.

    python benchmarks/moving_picture.py pick_place --task pick_place --scene 3 --out docs/images/reach.gif
"""

import argparse

import cv2
import numpy as np
from output import output_file
from PIL import Image

from am_ros.evaluation.drawing import GREEN, GREY, goal_tile, tile
from am_ros.learning.policy import Policy
from am_ros.pretrained import find_checkpoint
from am_ros.sim.camera import Camera, CameraConfig
from am_ros.sim.environment import Environment
from am_ros.sim.tasks import evaluation_seed, find_task
from am_ros.sim.workcell import SimConfig

FRAME_S = 0.1  # of simulated time from one picture to the next
END_FRAMES = 10  # the last picture stays
COLOURS = 96  # of the palette: more make the file larger, fewer show as bands


class Film:
    """Takes a picture of the cell every FRAME_S of its own time."""

    def __init__(self, environment: Environment, pixels: int):
        cell = environment.workcell
        self._cell, self._camera = cell, Camera(CameraConfig(image_size=pixels), cell._client)
        self._pixels, self._advance, self._due_s = pixels, cell.advance, cell.time_s
        self.frames: list[np.ndarray] = []
        self.goal, self.caption, self.colour = np.zeros((pixels, pixels, 3), np.uint8), "", GREY
        cell.advance = self._film

    def look(self) -> np.ndarray:
        """What a camera of this size sees now."""
        return self._camera.render()

    def shoot(self) -> None:
        """Keep one frame."""
        shown = tile(self.look(), self.caption, self.colour, self._pixels)
        self.frames.append(np.hstack([shown, goal_tile(self.goal, self._pixels)]))

    def _film(self, seconds: float) -> None:
        for part_s in [FRAME_S] * int(seconds / FRAME_S) + [seconds % FRAME_S]:
            self._advance(part_s)
            if self._cell.time_s >= self._due_s:
                self._due_s = self._cell.time_s + FRAME_S
                self.shoot()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", help="a folder, or the name of one that comes with the package")
    parser.add_argument("--task", default="pick_place")
    parser.add_argument("--scene", type=int, default=0, help="number in the evaluation set")
    parser.add_argument("--pixels", type=int, default=320, help="of each of the two pictures")
    parser.add_argument("--out", type=output_file, required=True, help="GIF file")
    arguments = parser.parse_args()
    policy, task = Policy.load(find_checkpoint(arguments.checkpoint)), find_task(arguments.task)
    config = SimConfig(variety=0.0, camera=CameraConfig(image_size=policy.image_size))
    with Environment(task, config) as environment:
        film = Film(environment, arguments.pixels)
        goal = environment.reset(evaluation_seed(arguments.scene), "goal").image
        film.goal = film.look()
        seen, reached = environment.reset(evaluation_seed(arguments.scene)), False
        film.frames.clear()
        for step in range(1, task.max_steps + 1):
            decision = policy.act(seen.image, goal, seen.state)
            film.caption = f"step {step}   Q {decision.q_value:.2f}"
            seen = environment.step(decision.action)
            if decision.action.terminate or (reached and environment.outcome().reached):
                break
            reached = environment.outcome().reached
        film.colour, film.caption = GREEN if environment.outcome().reached else GREY, "reached" if reached else "ended"
        film.shoot()
    frames = film.frames + film.frames[-1:] * END_FRAMES
    # One palette for all frames: what does not move stays the same from frame to frame, and costs nothing.
    palette = Image.fromarray(cv2.vconcat([frames[0], frames[-1]])).quantize(COLOURS, dither=Image.Dither.NONE)
    pictures = [Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    pictures[0].save(arguments.out, save_all=True, append_images=pictures[1:], duration=90, loop=0, optimize=True)
    size = arguments.out.stat().st_size / 1e6
    print(f"{arguments.out}: {len(frames)} frames, {size:.2f} MB, {'reached' if reached else 'not reached'}")


if __name__ == "__main__":
    main()
