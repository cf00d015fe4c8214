"""Goals, commands and network outputs that make no sense: refused by name, nothing crashes, nothing grows."""

import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from am_msgs.action import MoveCartesian, ReachGoal
from sensor_msgs.msg import Image

from am_ros.control.limits import MotionLimits
from am_ros.errors import AmRosError
from am_ros.faults.bench import Bench
from am_ros.faults.cell import NAME, Cell, cell_of
from am_ros.faults.checkpoints import aimless_checkpoint
from am_ros.faults.suite import Result
from am_ros.faults.usage import memory_mb

# A server keeps each goal with its image for half a minute, so that it holds more when goals come faster; beyond that,
# nothing may grow.
GROWTH_MB = 25.0
NOT_NUMBERS = (float("nan"), float("inf"), float("-inf"), 1e300, -1e300, 1e30)


def malformed_input(bench: Bench) -> Iterator[Result]:
    """No crash, a valid goal still served, memory flat"""
    cell = cell_of(bench)
    count = bench.pick(5000, 40)
    moved_from = cell.arm.tool_now()
    nodes = {"cartesian_controller": cell.controller, "policy_server": cell.policy}
    tries = {"cartesian_controller": _bad_step, "policy_server": _bad_goal}
    cell.wait_for_lease(NAME)
    for name, node in nodes.items():
        refusals: Counter[str] = Counter()
        before = 0.0
        for i in bench.rounds(count, f"malformed goals to {name}"):
            if i == count // 10:  # what the first ones allocate stays allocated
                before = memory_mb(node.pid)
            refusals[tries[name](cell, bench.random)] += 1
        growth = memory_mb(node.pid) - before
        served = cell.serves() if name == "cartesian_controller" else cell.policy_serves()
        accepted = refusals.pop("", 0)
        moved = float(np.linalg.norm(cell.arm.tool_now() - moved_from)) if name == "cartesian_controller" else 0.0
        kinds = ", ".join(f"{n} {what}" for what, n in refusals.most_common(6))
        yield Result(
            f"{name}: {count} malformed goals",
            f"all refused, no crash, a valid goal served afterwards, memory grows by less than {GROWTH_MB:.0f} MB",
            f"{accepted} executed; {kinds}; {growth:+.1f} MB; {'alive' if node.returncode is None else 'DEAD'}; "
            f"afterwards {served or 'served'}",
            not accepted and "not_commander" not in refusals and node.returncode is None and not served
            and growth < GROWTH_MB and moved < 0.05,
        )  # fmt: skip


def _bad_step(cell: Cell, random) -> str:
    """Name of the refusal of a step that makes no sense; empty if it was executed."""
    way, turn, gripper = np.zeros(3), 0.0, 0
    kind = int(random.integers(4))
    if kind == 0:
        way[random.integers(3)] = NOT_NUMBERS[random.integers(len(NOT_NUMBERS))]
    elif kind == 1:
        turn = NOT_NUMBERS[random.integers(len(NOT_NUMBERS))]
    elif kind == 2:
        way[random.integers(3)] = random.choice([-1, 1]) * 10 ** random.uniform(-0.9, 6)
    else:
        way[0], gripper = 0.01, int(random.integers(3, 256))
    try:
        result = cell.send(way, turn, gripper=gripper).result(30.0)
    except AmRosError:
        return "rejected"
    return "" if result.end == MoveCartesian.Result.DONE else result.reason.split(":")[0]


def _bad_goal(cell: Cell, random) -> str:
    """Name of the refusal of a goal that makes no sense; empty if it was pursued."""
    steps = int(random.integers(2**32)) if random.random() < 0.1 else 5
    fields: dict[str, Any] = {"max_steps": steps, "seed": int(random.integers(-(2**62), 2**62))}
    kind = int(random.integers(4))
    if kind == 0:
        letters = list("../ ä%$\n;'\"" + "a" * 80)
        fields["goal_id"] = "../" + "".join(random.choice(letters, int(random.integers(1, 200))))
    else:
        side = int(random.integers(0, 300))
        if side == 64:
            side += 1
        image = Image(height=side, width=side, step=3 * side, encoding="rgb8")
        size = 3 * side * side
        if kind == 2:  # sizes that contradict the data
            size = int(random.integers(0, 50_000))
            image.height, image.width = (int(n) for n in random.integers(0, 2**32, 2))
        elif kind == 3:
            image.encoding = str(random.choice(["", "mono16", "32FC1", "jpeg", "\U0001f916"]))
        image.data = bytes(size)
        fields["goal_image"] = image
    try:
        result = cell.bench.client.send_goal(ReachGoal, "policy_server/reach_goal", 20.0, **fields).result(60.0)
    except AmRosError:
        return "rejected"
    return "" if result.end != ReachGoal.Result.FAULT else " ".join(result.reason.split()[:2]).rstrip(":0123456789 ")


def network_outputs(bench: Bench) -> Iterator[Result]:
    """NaN and huge network outputs never reach the arm"""
    cell = cell_of(bench)

    def filled(number: float):
        return lambda weights: {
            name: torch.full_like(value, number) if value.is_floating_point() else value
            for name, value in weights.items()
        }

    def scaled(factor: float):
        return lambda weights: {
            name: value * factor if value.is_floating_point() else value for name, value in weights.items()
        }

    cases = {"NaN": filled(float("nan")), "infinite": filled(float("inf"))}
    cases |= {"overflowing": scaled(1e18), "huge": scaled(100.0)}
    for _, (what, change) in zip(bench.rounds(len(cases), "networks"), cases.items(), strict=True):
        broken = aimless_checkpoint(bench.folder / what, change)
        cell.reset()
        began_s, before = time.monotonic(), cell.arm.tool_now()
        said = cell.load(broken).replace(str(bench.folder), "")
        ended = bool(said)
        if not said:
            said = cell.pursue(6).result(60.0).reason
            ended = "not_finite" in said
        use, tool = cell.arm.largest_use(began_s), cell.arm.tool(began_s)[1]
        way_mm = 1e3 * float(np.linalg.norm(tool - before, axis=1).max(initial=0.0))
        low, high = MotionLimits().box
        inside = bool((tool > low - 0.01).all() and (tool < high + 0.01).all())
        afterwards = cell.load(cell.checkpoint) or cell.policy_serves()
        still = what == "huge" or way_mm < 1.0
        yield Result(
            f"network outputs: {what}",
            "refused by name, or bounded steps inside the box" if what == "huge" else "refused by name, nothing moves",
            f"'{said}'; the tool moved {way_mm:.0f} mm, joints at {use:.0%} of their speed limits; "
            f"afterwards {afterwards or 'served'}",
            (ended or what == "huge") and still and inside and use <= 1.0 and not afterwards,
        )


def unsafe_poses(bench: Bench) -> Iterator[Result]:
    """Typed refusals; the largest joint speed below its limit"""
    names: Counter[str] = Counter()
    untyped, done, use, random = [], 0, 0.0, np.random.default_rng(18)
    # With the box as it is, and with one as large as the room, in which the arm's own reach is what stops it.
    room = {f"workspace_{axis}_m": [-2.0, 2.0] for axis in "xyz"}
    plans: tuple[tuple[str, dict, int], ...]
    plans = (("its own box", {}, bench.pick(150, 5)), ("a box larger than the arm", room, bench.pick(350, 20)))
    cell = cell_of(bench)
    for what, parameters, count in plans:
        if parameters or not bench.short:
            cell.control(**parameters, velocity_scale=0.9)
        began_s, heading = time.monotonic(), np.zeros(3)
        for i in bench.rounds(count, f"steps in {what}"):
            if i % bench.pick(12, 20) == 0:
                cell.reset(seed=i)
                heading = _heading(random) if i else np.array([0.0, 0.0, 0.08])
            result = cell.send(heading, float(random.uniform(-0.5, 0.5))).result(60.0)
            if result.end == MoveCartesian.Result.DONE:
                done += 1
                continue
            name, _, sentence = result.reason.partition(":")
            names[name] += 1
            if not sentence or " " in name:
                untyped.append(result.reason)
            heading = _heading(random)
        use = max(use, cell.arm.largest_use(began_s))
    refused = ", ".join(f"{n} {name}" for name, n in names.most_common())
    wanted = {"workspace_limit", "unreachable", "singular", "joint_limit", "self_collision", "table_collision"}
    found = wanted & set(names)
    yield Result(
        "poses unreachable, singular, outside the box",
        "typed refusals of several kinds; every joint speed within its limit",
        f"{done} steps done, refused: {refused}; largest joint speed {use:.0%} of its limit"
        + (f"; untyped: {untyped[0]}" if untyped else ""),
        not untyped and use <= 1.0 and "workspace_limit" in found and len(found) >= 2,
    )


def _heading(random) -> np.ndarray:
    """A step [3] as long as is allowed, in any direction."""
    heading = random.normal(size=3)
    return heading * 0.08 / np.abs(heading).max()
