"""What the simulated arm is told and really does: trajectories, joint states, the tool's way and speed from them."""

import threading
import time
from collections import deque

import numpy as np
from sensor_msgs.msg import JointState
from trajectory_msgs.msg import JointTrajectory

from am_ros import topics
from am_ros.control.cartesian import CartesianStepper
from am_ros.control.limits import MotionLimits
from am_ros.control.robot import robot_model
from am_ros.errors import AmRosError
from am_ros.ros.introspection.client import RosClient
from am_ros.ros.node.common import RELIABLE_QOS, SENSOR_QOS, to_ns

KEPT = 60_000  # joint states: ten minutes
SPEED_WINDOW_S = 0.05
STANDS_M_S = 2e-3  # a tool slower than this stands still; an arm of the simulated cell that holds a position moves less


class CommandRecord:
    """What a driver model sends to the arm, period by period (~/commanded of the simulator)."""

    def __init__(self, client: RosClient):
        self._ticks = client.receive(JointState, "sim_workcell/commanded", RELIABLE_QOS)
        self._kinematics = CartesianStepper.for_model().kinematics
        self._limit = np.array(MotionLimits().acceleration_rad_s2)

    def now(self) -> int:
        """How many periods were seen: the mark from which `since` counts."""
        return len(self._ticks)

    def since(self, mark: int) -> np.ndarray:
        """Angles [periods, 7]; raises AmRosError if a period is missing, or the simulator was started anew."""
        ticks = self._ticks[mark:]
        times_ns = np.array([to_ns(m.header.stamp) for m in ticks])
        if len(ticks) < 3 or len(set(np.diff(times_ns))) > 1:
            raise AmRosError(f"sim_workcell/commanded: {len(ticks)} periods, and some are missing")
        self._period_s = (times_ns[1] - times_ns[0]) * 1e-9
        return np.array([m.position for m in ticks])

    def use(self, mark: int) -> tuple[float, float]:
        """Largest velocity and acceleration between two periods, as shares of the joints' limits."""
        speed = np.diff(self.since(mark), axis=0) / self._period_s
        velocity = np.abs(speed) / self._kinematics.velocity_limit
        return float(velocity.max()), float((np.abs(np.diff(speed, axis=0)) / self._period_s / self._limit).max())

    def back_mm(self, mark: int, direction) -> float:
        """How far the commanded tool goes against a direction [3] at most, from one period to the next."""
        tool = np.array([self._kinematics.forward(q)[0] for q in self.since(mark)])
        return float(max(0.0, -(np.diff(tool, axis=0) @ np.asarray(direction)).min()) * 1e3)


class ArmRecord:
    """Joint states by the time at which they came; `topic` is where the simulator itself publishes them."""

    def __init__(self, client: RosClient, topic: str = topics.JOINT_STATES):
        facts = robot_model("iiwa14")
        self.kinematics = CartesianStepper.for_model().kinematics
        self._names = facts.joint_names
        self._lock = threading.Lock()
        self._states: deque[tuple[float, np.ndarray, np.ndarray]] = deque(maxlen=KEPT)
        self._ends_s = float("-inf")
        client.node.create_subscription(JointState, topic, self._add, SENSOR_QOS)
        client.node.create_subscription(JointTrajectory, topics.JOINT_TRAJECTORY, self._follow, RELIABLE_QOS)

    def _follow(self, message: JointTrajectory) -> None:
        self._ends_s = time.monotonic() + to_ns(message.points[-1].time_from_start) * 1e-9

    def left_s(self) -> float:
        """How long the trajectory that it was given last still takes [s]; negative: it is over."""
        return self._ends_s - time.monotonic()

    def _add(self, message: JointState) -> None:
        order = [message.name.index(name) for name in self._names]
        velocity = np.array(message.velocity or [np.nan] * len(message.name))[order]  # a driver may leave them out
        state = time.monotonic(), np.array(message.position)[order], velocity
        with self._lock:
            self._states.append(state)

    def since(self, begin_s: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Times [N], joint angles [N, 7] and velocities [N, 7] since a moment of time.monotonic()."""
        with self._lock:
            states = [state for state in self._states if state[0] >= begin_s]
        if not states:
            return np.empty(0), np.empty((0, 7)), np.empty((0, 7))
        times, angles, velocities = (np.array(column) for column in zip(*states))
        return times, angles, velocities

    def tool(self, begin_s: float) -> tuple[np.ndarray, np.ndarray]:
        """Times [N] and positions of the tool [N, 3] in metres."""
        times, q, _ = self.since(begin_s)
        return times, np.array([self.kinematics.forward(row)[0] for row in q]).reshape(-1, 3)

    def tool_now(self) -> np.ndarray:
        """Where the tool is [3] in metres."""
        with self._lock:
            q = self._states[-1][1]
        return self.kinematics.forward(q)[0]

    def speed(self) -> float:
        """How fast the tool is now [m/s]."""
        times, tool = self.tool(time.monotonic() - 2 * SPEED_WINDOW_S)
        if len(times) < 2 or times[-1] == times[0]:
            return 0.0
        return float(np.linalg.norm(tool[-1] - tool[0]) / (times[-1] - times[0]))

    def stands_after(self, moment_s: float) -> tuple[float, float]:
        """When the tool stood still, in seconds after a moment, and how far it went until then [mm]."""
        times, tool = self.tool(moment_s)
        if len(times) < 2:
            return float("inf"), 0.0
        before = np.maximum(0, np.searchsorted(times, times - SPEED_WINDOW_S))
        elapsed = np.maximum(times - times[before], 1e-3)
        moving = np.linalg.norm(tool - tool[before], axis=1) / elapsed > STANDS_M_S
        last = int(np.flatnonzero(moving)[-1]) if moving.any() else 0
        way = np.linalg.norm(np.diff(tool[: last + 1], axis=0), axis=1).sum()
        return float(times[last] - moment_s), float(way * 1e3)

    def largest_use(self, begin_s: float) -> float:
        """The largest joint speed measured, as a share of the joint's limit."""
        _, _, qd = self.since(begin_s)
        return float((np.abs(qd) / self.kinematics.velocity_limit).max()) if len(qd) else 0.0
