"""A camera that freezes, goes black, changes its size or falls silent while the policy moves the arm."""

import time
from collections.abc import Iterator

from am_ros.faults.bench import Bench, wait_for_end
from am_ros.faults.cell import cell_of
from am_ros.faults.suite import Result
from am_ros.nodes.image_relay import set_relay

# Mode of the relay, how the fault is named, and within what time the arm has to stand [s].
CASES = (
    ("frozen", "image_frozen", 3.0),
    ("stuck", "image_frozen", 2.0),
    ("black", "image_black", 1.0),
    ("wrong_size", "image_wrong_size", 1.0),
    ("stamp_back", "image_stamp_jump", 1.0),
    ("stamp_ahead", "image_stamp_jump", 1.0),
    ("nothing", "image_stale", 3.0),
)


def camera_broken(bench: Bench) -> Iterator[Result]:
    """Named, the arm still within the stated time, a goal served afterwards"""
    cell = cell_of(bench)
    cases = bench.pick(CASES, CASES[:1])
    for i, (mode, name, within) in zip(bench.rounds(len(cases), "ways to break a camera"), cases, strict=True):
        cell.reset(seed=i)
        seen = len(cell.status)
        run = cell.pursue()
        cell.wait_until_it_moves(run)
        set_relay(bench.client, mode=mode)
        broken_s = time.monotonic()
        wait_for_end(run, 30, f"the end of the goal with a camera that is {mode}")
        ended_s, reason = time.monotonic() - broken_s, run.result().reason
        time.sleep(0.5)
        still, extra = cell.arm.stands_after(broken_s)
        set_relay(bench.client, mode="pass")
        time.sleep(0.2)
        afterwards = cell.policy_serves()
        stops = cell.stops(seen)
        yield Result(
            f"camera: {mode.replace('_', ' ')}{' (0 Hz)' if mode == 'nothing' else ''}",
            f"{name}; the arm still within {within:.0f} s, no protective stop; a goal served afterwards",
            f"'{reason}' after {ended_s:.1f} s; still after {still:.2f} s, {extra:.0f} mm further; "
            f"afterwards {afterwards or 'served'}" + (f"; {stops[0]}" if stops else ""),
            reason.startswith(name) and still <= within and not afterwards and not stops,
        )
