"""How the command comes to rest: along the path that was checked, and, where the arm does not follow, to the arm."""

from typing import TypeAlias

import numpy as np

from am_ros.control.trajectory import JointTrajectory
from am_ros.control.types import Vector

# Between two knots: a tick of a driver at 100 Hz.
KNOT_S = 0.01
# Shares of the hardest braking that are tried for an interval, until its cubic is within the limit.
SHARES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0)
TOLERANCE = 1.02


Knot: TypeAlias = tuple[float, np.ndarray, np.ndarray]  # time [s], angles [joints] rad, velocities [joints] rad/s


def brake_along(
    path: JointTrajectory, time_s: float, acceleration: Vector, min_duration_s: float = 0.1, on_s: float = 0.0
) -> JointTrajectory:
    """The way to rest from where `path` is at `time_s`, on the path itself and as fast as every joint can.

    It goes on as the path does for `on_s`, and then brakes. The path p(s) is followed with a rate r = ds/dt that falls
    from 1 to 0; r' is the lowest at which |p''(s) r^2 + p'(s) r'| stays within `acceleration` [joints] of every joint.
    """
    limit = np.asarray(acceleration, float)
    s, rate = min(max(time_s, 0.0), path.duration_s), 1.0
    q, qd = path.at(s)
    knots: list[Knot] = [(0.0, q, qd)]
    for k in range(1, round(on_s / KNOT_S) + 1):
        s += KNOT_S
        knots.append((k * KNOT_S, *path.at(s)))
    while knots[-1][2].any():
        s, rate, knot = _next(path, s, rate, knots[-1], limit)
        knots.append(knot)
    time, q, _ = knots[-1]
    if time < min_duration_s:
        knots.append((min_duration_s, q, np.zeros_like(q)))
    times_s, positions, velocities = (np.array(part) for part in zip(*knots, strict=True))
    return JointTrajectory(times_s, positions, velocities)


def _next(path: JointTrajectory, s: float, rate: float, knot: Knot, limit: np.ndarray) -> tuple[float, float, Knot]:
    """Path parameter, rate and knot one interval later, braked as hard as can be."""
    time, q, qd = knot
    slower = _deceleration(path, s, rate, limit)
    for share in SHARES:
        after = max(0.0, rate - share * slower * KNOT_S)
        further = s + (rate + after) / 2 * KNOT_S
        there, speed = path.at(further)
        speed = after * speed
        # Of the cubic between the two knots, at its beginning and its end.
        rise = 6 * (there - q) / KNOT_S
        largest = np.maximum(np.abs(rise - 4 * qd - 2 * speed), np.abs(rise - 2 * qd - 4 * speed)) / KNOT_S
        if (largest <= TOLERANCE * limit).all():
            break
    return further, after, (time + KNOT_S, there, speed)


def _deceleration(path: JointTrajectory, s: float, rate: float, limit: np.ndarray) -> float:
    """-r' of `brake_along`, not negative."""
    velocity, bend = path.at(s)[1], path.acceleration(s) * rate * rate
    moves = np.abs(velocity) > 1e-9
    if not moves.any():
        return rate / KNOT_S
    # Where `bend` is at the limit itself, the path's own way is followed.
    room = np.maximum(limit[moves] + np.sign(velocity[moves]) * bend[moves], 0.0)
    return float((room / np.abs(velocity[moves])).min())


def ease(
    start: Vector, goal: Vector, velocity: np.ndarray, acceleration: np.ndarray, min_duration_s: float = 0.1
) -> JointTrajectory:
    """From rest to rest in joint space, within `velocity` and `acceleration` [joints] each."""
    start, goal = np.asarray(start, float), np.asarray(goal, float)
    way = np.abs(goal - start)
    # A cubic from rest to rest is fastest in its middle, 1.5 way / T, and accelerates most at its ends, 6 way / T^2.
    duration = max(
        min_duration_s, float((1.5 * way / velocity).max()), float(np.sqrt(6 * way / acceleration).max())
    )
    return JointTrajectory(np.array([0.0, duration]), np.stack([start, goal]), np.zeros((2, len(start))))
