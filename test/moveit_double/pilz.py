"""The LIN command of the Pilz planner: a trapezoid of speed on a straight line, a sample each 0.1 s."""

import numpy as np
import pinocchio as pin

SAMPLING_S = 0.1
# config/pilz_cartesian_limits.yaml of both stacks.
MAX_TRANS_VEL, MAX_TRANS_ACC, MAX_ROT_VEL = 1.0, 2.25, 1.57


def linear(model, q, goal: pin.SE3, velocity_scale: float, acceleration_scale: float):
    """[(time, positions, velocities)] from q to a pose of the tip in the base frame; None if there is no way.

    Velocities are differences to the sample before, and zero at both ends.
    """
    start = model.tip_at(q)
    turn = pin.log3(goal.rotation @ start.rotation.T)
    way = goal.translation - start.translation
    # A turn counts as long as the radius at which both speeds are reached at once.
    length = max(float(np.linalg.norm(way)), float(np.linalg.norm(turn)) * MAX_TRANS_VEL / MAX_ROT_VEL, 1e-12)
    speed, acceleration = velocity_scale * MAX_TRANS_VEL, acceleration_scale * MAX_TRANS_ACC
    speed = min(speed, np.sqrt(length * acceleration))
    rise_s = speed / acceleration
    duration_s = length / speed + rise_s
    times = np.append(np.arange(0.0, duration_s - 1e-5, SAMPLING_S), duration_s)
    points, before, before_s = [], np.array(q), 0.0
    for t in times:
        share = _gone(t, rise_s, duration_s, acceleration) / length
        pose = pin.SE3(pin.exp3(share * turn) @ start.rotation, start.translation + share * way)
        angles = model.solve(before, pose)
        if angles is None:
            return None
        inside = 0.0 < t < duration_s
        points.append((t, angles, (angles - before) / (t - before_s) if inside else np.zeros(len(angles))))
        before, before_s = angles, t
    return points


def _gone(t: float, rise_s: float, duration_s: float, acceleration: float) -> float:
    """Way on the line [m] at a time."""
    if t < rise_s:
        return 0.5 * acceleration * t**2
    if t > duration_s - rise_s:
        return acceleration * rise_s * (duration_s - rise_s) - 0.5 * acceleration * (duration_s - t) ** 2
    return acceleration * rise_s * (t - 0.5 * rise_s)
