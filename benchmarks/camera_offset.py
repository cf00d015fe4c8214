"""How well ingest finds what the camera's stamps lack, from the motion in the pictures against that of the tool.

    python benchmarks/camera_offset.py --recordings 20 --json docs/data/camera_offset.json

Each recording is a bag of demonstrations in the simulated cell, of tasks in turn, filmed at 10 or 30 Hz as raw images
or PNG. The camera's stamps are off by an amount drawn from -0.4 ... 0.4 s; its messages are received 30 ms after the
pictures were taken.
"""

import argparse
import json
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from output import output_file

from am_ros.action import ActionSpace
from am_ros.cell.environment import share_directory
from am_ros.ingest.conversion import BagReport, ingest_bag
from am_ros.ingest.mapping import load_mapping
from am_ros.sim.environment import Environment
from am_ros.sim.episodes import fixed_noise
from am_ros.sim.foreign_cell import DIALECTS, START_NS, BagOut, drive
from am_ros.sim.tasks import find_task, train_seed

TASKS = ("pick_place", "reach", "stacking", "rearrangement")
KINDS = (("lbr_fri", 10.0), ("lbr_fri_tf", 10.0), ("lbr_fri", 30.0), ("lbr_fri_tf", 30.0))
LARGEST_S = 0.4


class Shifted(BagOut):
    """A bag whose camera's stamps are off."""

    shift_ns = 0

    def write(self, topic, type_name, time_ns, message):
        """See BagOut."""
        if topic.startswith("/camera"):
            stamp = message.header.stamp
            moved = stamp.sec * 10**9 + stamp.nanosec + self.shift_ns
            message.header = self.header(moved, message.header.frame_id)
        super().write(topic, type_name, time_ns, message)


def measure(number: int, demonstrations: int) -> dict:
    """Record and read one bag; what was found of it."""
    task, (dialect, rate_hz) = TASKS[number % len(TASKS)], KINDS[(number // len(TASKS)) % len(KINDS)]
    rng = np.random.default_rng(number)
    truth_s = float(rng.uniform(-LARGEST_S, LARGEST_S))
    with Environment(find_task(task)) as environment:
        seeds = [train_seed(1000 * number + i) for i in range(demonstrations)]
        drives = [drive(environment, seed, fixed_noise(0.2), rate_hz) for seed in seeds]
    mapping = load_mapping(share_directory() / "config" / "ingest" / f"{dialect}.yaml")
    mapping = replace(mapping, clocks=replace(mapping.clocks, max_delay_s=1.0))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bag"
        bag = Shifted(path, DIALECTS[dialect][1])
        bag.shift_ns = -round(truth_s * 1e9)
        DIALECTS[dialect][0](bag, drives, START_NS)
        bag.close()
        report = BagReport(path)
        for _ in ingest_bag(path, "demo", mapping, ActionSpace(), report):
            pass
    found = report.camera_offset
    return {
        "recording": number, "task": task, "dialect": dialect, "rate_hz": rate_hz, "true_s": round(truth_s, 4),
        "found_s": round(found.offset_s, 4), "error_s": round(found.offset_s - truth_s, 4),
        "uncertain_s": round(found.uncertain_s, 4), "correlation": round(found.correlation, 3), "pairs": found.pairs,
        "confident": bool(found.confident), "named": bool(found.disagrees),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recordings", type=int, default=20)
    parser.add_argument("--demonstrations", type=int, default=3, help="in each recording")
    parser.add_argument("--json", type=output_file, help="write the table to this file")
    arguments = parser.parse_args()
    rows = []
    print("| recording | task | camera | true [s] | found [s] | error [ms] | correlation |")
    print("|---|---|---|---|---|---|---|")
    for number in range(arguments.recordings):
        row = measure(number, arguments.demonstrations)
        rows.append(row)
        kind = f"{'raw' if row['dialect'] == 'lbr_fri' else 'PNG'}, {row['rate_hz']:g} Hz"
        told = f"{row['found_s']:+.3f}" if row["confident"] else "not told"
        print(
            f"| {number} | {row['task']} | {kind} | {row['true_s']:+.3f} | {told} | {1e3 * row['error_s']:+.0f} | "
            f"{row['correlation']:.2f} |", flush=True,
        )  # fmt: skip
    errors = np.abs([row["error_s"] for row in rows if row["confident"]])
    print(
        f"{len(errors)} of {len(rows)} told; of these the largest error {1e3 * errors.max():.0f} ms, "
        f"median {1e3 * np.median(errors):.0f} ms"
    )
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
