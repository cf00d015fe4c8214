"""Everything at full rate for a long time: nothing lost, nothing that grows."""

import shutil
import time
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from am_msgs.srv import CountImages

from am_ros.bags.finder import find_bags
from am_ros.bags.verify import summarize
from am_ros.cell.processes import NodeProcess
from am_ros.faults.bench import Bench
from am_ros.faults.cell import Cell
from am_ros.faults.suite import Result
from am_ros.faults.usage import Usage, usage
from am_ros.ros.introspection.client import GoalRun

SIZE_PX, RATE_HZ = 472, 30.0
FULL_RATE_HZ = 28.5  # a folder of pictures is played a little slower than asked for
SAMPLE_S = 1.0
# What a process may gain from the first quarter of the time to the last: caches and Python's allocator breathe.
MOST = Usage(memory_mb=10.0, handles=4, threads=1)


def soak(
    bench: Bench, seconds: float | None = None, others: Mapping[str, NodeProcess] = MappingProxyType({})
) -> Iterator[Result]:
    """Memory, file handles and threads flat, frames lost 0"""
    # `others` run beside the cell, and are watched like its nodes.
    seconds = seconds or bench.pick(1200.0, 15.0)
    warm_up_s = min(60.0, seconds / 8)
    steps = bench.pick(20, 4)  # of a goal: it has to end within a short soak too
    bags = bench.folder / "bags"
    logger = bench.start("episode_logger", folder=str(bags), free_disk_mb=0)
    cell = Cell(bench, SIZE_PX, RATE_HZ, relayed=False)
    nodes = {"camera": cell.camera, "policy_server": cell.policy, "cartesian_controller": cell.controller}
    nodes |= {"sim_workcell": cell.simulator, "episode_logger": logger, **others}
    samples: dict[str, list[Usage]] = {name: [] for name in nodes}
    run: GoalRun | None = None
    warm: Any = None
    goals, recorded = 0, 0
    faults: list[str] = []
    flawed: list[str] = []
    for elapsed_s in bench.during(seconds, "seconds"):
        time.sleep(SAMPLE_S)
        if elapsed_s > warm_up_s:
            warm = warm or bench.client.call(CountImages, "policy_server/count_images")
            for name, node in nodes.items():
                samples[name].append(usage(node.pid))
        if run is None or run.done:
            if run is not None:
                goals += 1
                result = run.result()
                faults += [result.reason] if result.end == result.FAULT else []
            cell.reset(seed=goals)  # without aim, the arm ends in a corner sooner or later
            run = cell.pursue(max_steps=steps, seed=goals)
        for bag in find_bags(bags):
            recorded += 1
            flawed += [f"{bag.name}: {problem}" for problem in summarize(bag).problems]
            shutil.rmtree(bag)
    if run is not None:
        run.cancel()
        run.result(30.0)
    until = bench.client.call(CountImages, "policy_server/count_images").last
    received = bench.client.call(CountImages, "policy_server/count_images", first=warm.last, last=until)
    published = bench.client.call(CountImages, "camera/count_images", first=warm.last, last=until).count
    lost, rate = published - received.count, received.count / max(1e-9, _seconds(received))
    yield Result(
        f"soak of {seconds:.0f} s: frames of {SIZE_PX}x{SIZE_PX} px from camera to policy",
        "none lost" + bench.pick(f", at least {FULL_RATE_HZ:.1f} per second", ""),
        f"{lost} of {published} lost; {rate:.1f} per second of the {RATE_HZ:.0f} that the camera was asked for",
        lost == 0 and published > 0 and rate >= bench.pick(FULL_RATE_HZ, 0.0),
    )
    yield Result(
        f"soak of {seconds:.0f} s: goals and bags", "every goal without a fault, every bag whole and nothing lost",
        f"{goals} goals, {len(faults)} faults; {recorded} bags, {len(flawed)} flaws"
        + "".join(f"; {what}" for what in (faults + flawed)[:1]),
        goals > 0 and not faults and recorded > 0 and not flawed,
    )  # fmt: skip
    growth = {name: _growth(values) for name, values in samples.items()}
    alive = all(node.returncode is None for node in nodes.values())
    memory_mb, handles, threads = (max(g[i] for g in growth.values()) for i in range(3))
    most = Usage(memory_mb, int(handles), int(threads))
    yield Result(
        f"soak of {seconds:.0f} s: memory, file handles, threads of {len(nodes)} nodes",
        f"every node grows by less than {MOST.memory_mb:.0f} MB, {MOST.handles} handles, {MOST.threads} thread",
        f"at most {most.memory_mb:+.1f} MB, {most.handles:+.0f} handles, {most.threads:+.0f} threads ("
        + ", ".join(_grown(name, g, samples[name][-1]) for name, g in growth.items())
        + ")",
        alive and all(grown < limit for grown, limit in zip(most, MOST, strict=True)),
    )


def _grown(name: str, growth: Usage, last: Usage) -> str:
    """A node's growth; of handles and threads only where there is some."""
    more = [
        f"{grown:+.0f} {what} of {now}"
        for what, grown, now in (("handles", growth.handles, last.handles), ("threads", growth.threads, last.threads))
        if grown > 0
    ]
    return ", ".join([f"{name} {growth.memory_mb:+.1f} MB of {last.memory_mb:.0f}", *more])


def _growth(values: list[Usage]) -> Usage:
    """Median of the last quarter less that of the first."""
    quarter = max(1, len(values) // 4)
    first, last = (np.median(np.array(part, float), axis=0) for part in (values[:quarter], values[-quarter:]))
    return Usage(*(last - first).tolist())


def _seconds(counted) -> float:
    return counted.last.sec - counted.first.sec + (counted.last.nanosec - counted.first.nanosec) * 1e-9
