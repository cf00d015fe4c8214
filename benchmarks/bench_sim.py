"""Environment steps per second of the simulated cell, and where the time goes.

    python benchmarks/bench_sim.py --episodes 40 --image-size 64 --json docs/bench_sim.json

Episodes of the default mixture are played and written as bags on one core; processor time counts, so that other
programs on the machine do not.
"""

import argparse
import json
import tempfile
import time

from output import output_file

from am_ros.action import ActionSpace
from am_ros.bags.episodes import write_episode
from am_ros.control.cartesian import CartesianStepper
from am_ros.episode import Outcome
from am_ros.sim.camera import CameraConfig
from am_ros.sim.dataset_card import read_facts
from am_ros.sim.environment import Environment
from am_ros.sim.episodes import Mixture, play
from am_ros.sim.tasks import TASKS, Task, train_seed
from am_ros.sim.workcell import SimConfig, SimWorkcell

PARTS = {"physics": (SimWorkcell, "advance"), "camera": (SimWorkcell, "render"), "planning": (CartesianStepper, "plan")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--task", default="all", choices=("all", *TASKS))
    parser.add_argument("--episodes", type=int, default=40, help="of each task (default 40)")
    parser.add_argument("--image-size", type=int, default=64, help="pixels (default 64)")
    parser.add_argument("--json", type=output_file, help="write the figures to this file")
    arguments = parser.parse_args()
    config = SimConfig(camera=CameraConfig(image_size=arguments.image_size))
    clock, results = Clock(), {}
    print(f"{'':18}steps/s with bags  success   {'  '.join(PARTS)}  bags  (ms per step, processor time)")
    for name, task in TASKS.items():
        if arguments.task in ("all", name):
            results[name] = row = measure(task, config, arguments.episodes, clock)
            times = "".join(f"{row[part + '_ms']:>{len(part) + 2}.2f}" for part in (*PARTS, "bags"))
            print(f"{name:18}{row['steps_per_s']:>17.0f}  {row['success_rate']:>7.0%} {times}")
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")


def measure(task: Task, config: SimConfig, episodes: int, clock: "Clock") -> dict[str, float]:
    """Steps per second, share of successes, milliseconds per step of each part."""
    with Environment(task, config) as environment, tempfile.TemporaryDirectory() as folder:
        write_episode(play(environment, train_seed(episodes), Mixture()), folder, ActionSpace())  # loads message types
        clock.reset()
        began, steps, successes, written_s = time.process_time(), 0, 0, 0.0
        for index in range(episodes):
            episode = play(environment, train_seed(index), Mixture())
            steps += len(episode)
            successes += episode.info.outcome == Outcome.SUCCESS
            played = time.process_time()
            read_facts(write_episode(episode, folder, ActionSpace()))
            written_s += time.process_time() - played
        total_s = time.process_time() - began
    parts = {f"{part}_ms": 1e3 * seconds / steps for part, seconds in {**clock.seconds, "bags": written_s}.items()}
    return {"steps_per_s": steps / total_s, "success_rate": successes / episodes, "steps": steps, **parts}


class Clock:
    """Adds up the processor time that the methods in PARTS take."""

    def __init__(self):
        self.reset()
        for part, (cls, method) in PARTS.items():
            setattr(cls, method, self._timed(part, getattr(cls, method)))

    def reset(self) -> None:
        self.seconds = dict.fromkeys(PARTS, 0.0)

    def _timed(self, part: str, method):
        def timed(*arguments, **keywords):
            began = time.process_time()
            try:
                return method(*arguments, **keywords)
            finally:
                self.seconds[part] += time.process_time() - began

        return timed


if __name__ == "__main__":
    main()
