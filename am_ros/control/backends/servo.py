"""What MoveIt Servo is sent so that it follows a trajectory that was checked: twists or poses of the tool."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import pinocchio as pin

from am_ros.configuration import parameter
from am_ros.control.backends.servo_settings import ServoSettings
from am_ros.control.braking import brake_along
from am_ros.control.kinematics import CHARACTERISTIC_LENGTH_M, Kinematics
from am_ros.control.tool import tip_of
from am_ros.control.trajectory import JointTrajectory
from am_ros.control.types import Vector

COMMANDS = ("twist", "pose")
# Codes of moveit_msgs/ServoStatus at which Servo does not move on, and those at which it only slows down.
HALTS = {2: "near a singularity", 5: "near a collision", 6: "at a joint's bound"}
SLOWS = {1: "nearer to a singularity", 3: "away from a singularity", 4: "near a collision"}
# Servo found no joint angles, or does not know the frame. One such cycle is a solver that had too little time.
INVALID, INVALID_S = -1, 0.2
# So long after the beginning of a motion the status may still be of what was before it.
STATUS_LAG_S = 0.1
# A Servo that slows down may fall so far behind; then it is what ends the motion, under its own name.
BEHIND_M = 0.02
# Share of Servo's own limit of speed that is used: what is left is for what the tool has to make up.
SCALE_SHARE = 0.9
# An arm whose joints are slower than this stands, held up by something or not yet moving.
STANDS_RAD_S = 0.02
# A command on the way to rest follows the one before as if no more time had passed, however late it comes: one of
# Servo's cycles.
MAX_TICK_S = 0.01


@dataclass(frozen=True)
class ServoConfig:
    """How MoveIt Servo is spoken to (backend `servo`); its own configuration stays with it."""

    servo_node: str = parameter("servo_node", "name of MoveIt Servo's node")
    servo_command: str = parameter("twist", "what it is sent; its command type is switched to that", choices=COMMANDS)
    servo_gain_1_s: float = parameter(
        2.0, "twist: the share of what the tool is off its line that is made up per second [1/s]", range=(0.0, 20.0)
    )
    servo_turn_rad_s: float = parameter(1.0, "twist: largest angular velocity of the tool [rad/s]", range=(0.01, 3.0))
    servo_tolerance_m: float = parameter(
        0.003, "a motion is done when the tool is this near its goal, a turn counted at 0.3 m [m]", range=(1e-4, 0.05)
    )
    servo_halt_s: float = parameter(
        0.3, "after the end of a motion it is told to stand still for so long [s]", range=(0.05, 5.0)
    )
    servo_timeout_s: float = parameter(
        0.5, "backend_gone: no status and no answer of Servo for so long [s]", range=(0.05, 10.0)
    )


@dataclass(frozen=True)
class Twist:
    """Of Servo's tip, in the base frame."""

    linear: np.ndarray  # [3] m/s
    angular: np.ndarray  # [3] rad/s, about the tip


@dataclass(frozen=True)
class Pose:
    """Of Servo's tip, in the base frame."""

    position_m: list[float]  # [3]
    quaternion: list[float]  # x, y, z, w


Command: TypeAlias = Twist | Pose


@dataclass
class Brake:
    """On a way to rest."""

    way: JointTrajectory
    sent: Twist  # the last one before
    now_s: float  # of the last look at it
    passed_s: float = 1e-6  # at its start a trajectory stands still
    rest_s: float = math.inf  # when it has come to rest

    def look(self, now_s: float) -> None:
        """Time passes: from one command to the next no more than MAX_TICK_S, so that a late one is no jerk."""
        self.passed_s += min(max(now_s - self.now_s, 0.0), MAX_TICK_S)
        self.now_s = now_s
        if not self.left:
            self.rest_s = min(self.rest_s, now_s)

    @property
    def left(self) -> float:
        """Share of the speed that is left, 1 ... 0."""
        first, speed = (float(np.linalg.norm(qd)) for qd in (self.way.velocities[0], self.way.at(self.passed_s)[1]))
        return min(speed / first, 1.0) if first else 0.0

    @property
    def q(self) -> np.ndarray:
        """Joint angles on the way [joints]."""
        return self.way.at(self.passed_s)[0]


class ServoStream:
    """What is to be sent now. Times are of a monotonic clock. Idle, it sends nothing: then Servo stands still."""

    def __init__(
        self, config: ServoConfig, kinematics: Kinematics, tcp: pin.SE3, speed_m_s: float, acceleration_rad_s2: Vector
    ):
        """`tcp`: in the frame that Servo moves. `speed_m_s`: the tool is sent no faster, whatever it has to make up.

        `acceleration_rad_s2` [joints]: what braking keeps to; Servo itself would stop within a cycle or two.
        """
        self._config, self._kinematics, self._tcp = config, kinematics, tcp
        self._speed, self._turn = speed_m_s, config.servo_turn_rad_s
        self._acceleration = np.asarray(acceleration_rad_s2, float)
        self._reference: JointTrajectory | None = None
        self._since_s, self._latency_s = 0.0, 0.0
        self._brake: Brake | None = None
        self._hold: Command | None = None
        self._sent = Twist(np.zeros(3), np.zeros(3))
        self._invalid_since_s: float | None = None

    @property
    def moving(self) -> bool:
        """Whether a reference is followed."""
        return self._reference is not None

    def fit(self, reference: JointTrajectory, settings: ServoSettings) -> JointTrajectory:
        """The reference, slowed so far that Servo cuts nothing of it; twists are cut to what Servo takes as well."""
        self._speed, self._latency_s = min(self._speed, settings.speed_m_s), settings.latency_s
        self._turn = min(self._config.servo_turn_rad_s, settings.turn_rad_s)
        speeds, turns = self._speeds(reference)
        factor = max(speeds / (SCALE_SHARE * settings.speed_m_s), turns / (SCALE_SHARE * self._turn))
        return reference.slowed(factor) if factor > 1 else reference

    def begin(self, reference: JointTrajectory, now_s: float) -> None:
        """Follow this."""
        self._reference, self._since_s = reference, now_s
        self._brake, self._hold, self._invalid_since_s = None, None, None

    def halt(self, q: np.ndarray, qd: np.ndarray, way: JointTrajectory, now_s: float) -> None:
        """Come to rest as `way` does, and stay there; the arm is at angles q and has velocities qd [joints].

        The twist sent last fades with the speed of the way; poses go along it. An arm that stands already, held up by
        something, is told to stay where it is.
        """
        if self._reference is None:
            return
        stands = float(np.nan_to_num(np.abs(qd)).max()) < STANDS_RAD_S
        end, self._reference = q if stands else way.positions[-1], None
        self._brake = Brake(self._still(q) if stands else way, self._sent, now_s)
        twist = self._config.servo_command == "twist"
        self._hold = Twist(np.zeros(3), np.zeros(3)) if twist else self._pose(end)

    def finish(self, now_s: float) -> None:
        """The motion is over: stay where the line is by now, or come to rest on it."""
        if self._reference is not None:
            way = brake_along(self._reference, now_s - self._since_s, self._acceleration)
            self.halt(way.positions[0], way.velocities[0], way, now_s)

    @property
    def braking(self) -> bool:
        """Whether it is on its way to rest."""
        return self._brake is not None and self._brake.left > 0

    def command(self, q: np.ndarray, now_s: float) -> Command | None:
        """What Servo is told now, the arm measured at q [joints]; None: nothing."""
        if self._reference is not None:
            command = self._on_the_line(self._reference, q, now_s - self._since_s)
            if isinstance(command, Twist):
                self._sent = command
            return command
        brake = self._brake
        if brake is None:
            return None
        brake.look(now_s)
        if brake.left > 0:
            if self._config.servo_command == "pose":
                return self._pose(brake.q)
            return Twist(brake.left * brake.sent.linear, brake.left * brake.sent.angular)
        return self._hold if now_s <= brake.rest_s + self._config.servo_halt_s else None

    def halted(self, code: int, message: str, q: np.ndarray, now_s: float) -> str:
        """ "servo_halted: ..." if a status that comes now, the arm at q, says that Servo does not go on; or empty."""
        if self._reference is None or now_s - self._since_s < STATUS_LAG_S:
            return ""
        if code != INVALID:
            self._invalid_since_s = None
        elif self._invalid_since_s is None:
            self._invalid_since_s = now_s
        elif now_s - self._invalid_since_s > INVALID_S:
            return "servo_halted: Servo takes the command for invalid: no joint angles, or a frame it does not know"
        if code in HALTS:
            return f"servo_halted: {message or HALTS[code]}"
        if code in SLOWS:
            wanted = self._reference.at(now_s - self._since_s - self._latency_s)[0]
            behind = float(np.linalg.norm(self._kinematics.forward(wanted)[0] - self._kinematics.forward(q)[0]))
            if behind > BEHIND_M:
                return f"servo_halted: {message or SLOWS[code]}; the tool is {behind * 1e3:.0f} mm behind its line"
        return ""

    def _on_the_line(self, line: JointTrajectory, q: np.ndarray, time_s: float) -> Command:
        wanted, velocity = line.at(time_s)
        if self._config.servo_command == "pose":
            return self._pose(wanted)
        twist = self._kinematics.jacobian(wanted) @ velocity
        position, rotation = self._kinematics.forward(line.at(time_s - self._latency_s)[0])
        measured, measured_rotation = self._kinematics.forward(q)
        gain = self._config.servo_gain_1_s
        linear = _shortened(twist[:3] + gain * (position - measured), self._speed)
        angular = _shortened(twist[3:] + gain * pin.log3(rotation @ measured_rotation.T), self._turn)
        # From the tool to the point that Servo moves; as long as the tool hangs straight down they move alike.
        to_tip = measured_rotation @ self._tcp.inverse().translation
        return Twist(linear + np.cross(angular, to_tip), angular)

    def _speeds(self, reference: JointTrajectory) -> tuple[float, float]:
        """Largest speed of the tip [m/s] and of its turning [rad/s] on the line."""
        fastest, turning = 0.0, 0.0
        for time_s in np.linspace(0.0, reference.duration_s, 50):
            q, qd = reference.at(time_s)
            twist = self._kinematics.jacobian(q) @ qd
            to_tip = self._kinematics.forward(q)[1] @ self._tcp.inverse().translation
            fastest = max(fastest, float(np.linalg.norm(twist[:3] + np.cross(twist[3:], to_tip))))
            turning = max(turning, float(np.linalg.norm(twist[3:])))
        return fastest, turning

    @staticmethod
    def _still(q: np.ndarray) -> JointTrajectory:
        return JointTrajectory(np.array([0.0, 1e-3]), np.stack([q, q]), np.zeros((2, len(q))))

    def _pose(self, q: np.ndarray) -> Pose:
        return Pose(*tip_of(*self._kinematics.forward(q), self._tcp))


def tool_measure(kinematics: Kinematics, start: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Joint angles -> x, y, z of the tool [m] and its turn since `start` at 0.3 m [m]: what a motion has to arrive at.

    Servo chooses joint angles of its own, so that they cannot be compared.
    """
    first = kinematics.pose(start)[1]

    def measure(q: np.ndarray) -> np.ndarray:
        position, yaw = kinematics.pose(q)
        return np.array([*position, CHARACTERISTIC_LENGTH_M * math.remainder(yaw - first, 2 * math.pi)])

    return measure


def _shortened(vector: np.ndarray, limit: float) -> np.ndarray:
    length = float(np.linalg.norm(vector))
    return vector * (limit / length) if length > limit else vector
