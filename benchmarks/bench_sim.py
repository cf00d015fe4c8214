"""Environment steps per second of the simulated cell, and where the time goes.

    python benchmarks/bench_sim.py --episodes 40 --image-size 64

Episodes of the default mixture are played and written as bags on one core; processor time counts, so that other
programs on the machine do not.
"""

import argparse
import tempfile
import time

import numpy as np

from am_ros.action import ActionSpace
from am_ros.bags.episodes import write_episode
from am_ros.episode import Outcome
from am_ros.sim.camera import CameraConfig
from am_ros.sim.environment import Environment
from am_ros.sim.episodes import Mixture, play
from am_ros.sim.tasks import TASKS, train_seed
from am_ros.sim.workcell import SimConfig


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--episodes", type=int, default=40, help="of each task (default 40)")
    parser.add_argument("--image-size", type=int, default=64, help="pixels (default 64)")
    arguments = parser.parse_args()
    config = SimConfig(camera=CameraConfig(image_size=arguments.image_size))
    print("task        success  steps  steps/s  with bags   physics  camera  (ms per step, processor time)")
    for task in TASKS.values():
        with Environment(task, config) as environment, tempfile.TemporaryDirectory() as folder:
            clock = Clock(environment.workcell)
            began = time.process_time()
            episodes = [play(environment, train_seed(i), Mixture()) for i in range(arguments.episodes)]
            played = time.process_time() - began
            for episode in episodes:
                write_episode(episode, folder, ActionSpace())
            total = time.process_time() - began
        steps = sum(map(len, episodes))
        success = np.mean([e.info.outcome == Outcome.SUCCESS for e in episodes])
        print(
            f"{task.name:10s}  {success:7.0%}  {steps:5d}  {steps / played:7.0f}  {steps / total:9.0f}"
            f"   {clock.ms['advance'] / steps:7.2f}  {clock.ms['render'] / steps:6.2f}"
        )


class Clock:
    """Adds up the processor time of methods of an object."""

    def __init__(self, cell):
        self.ms = {"advance": 0.0, "render": 0.0}
        for name in self.ms:
            setattr(cell, name, self._timed(name, getattr(cell, name)))

    def _timed(self, name, method):
        def timed(*arguments):
            began = time.process_time()
            result = method(*arguments)
            self.ms[name] += 1e3 * (time.process_time() - began)
            return result

        return timed


if __name__ == "__main__":
    main()
