"""What MoveIt Servo is sent so that it follows a trajectory that was checked: twists or poses of the tool."""

import math
from dataclasses import dataclass

import numpy as np
import pinocchio as pin

from am_ros.configuration import parameter
from am_ros.control.kinematics import CHARACTERISTIC_LENGTH_M, Kinematics
from am_ros.control.tool import tip_of
from am_ros.control.trajectory import JointTrajectory

COMMANDS = ("twist", "pose")
# Codes of moveit_msgs/ServoStatus at which Servo does not move on; the others only slow it down.
HALTS = {-1: "the command is invalid", 2: "near a singularity", 5: "near a collision", 6: "at a joint's bound"}
# So long after the beginning of a motion the status may still be of what was before it.
STATUS_LAG_S = 0.1


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
class Command:
    """A twist of Servo's tip (`linear` [m/s], `angular` [rad/s] about the tip), or a pose, in the base frame."""

    linear: np.ndarray | None = None
    angular: np.ndarray | None = None
    position_m: list[float] | None = None
    quaternion: list[float] | None = None  # x, y, z, w


class ServoStream:
    """What is to be sent now. Times are of a monotonic clock. Idle, it sends nothing: then Servo stands still."""

    def __init__(self, config: ServoConfig, kinematics: Kinematics, tcp: pin.SE3, speed_m_s: float):
        """`tcp`: in the frame that Servo moves. `speed_m_s`: the tool is sent no faster, whatever it has to make up."""
        self._config, self._kinematics, self._tcp, self._speed = config, kinematics, tcp, speed_m_s
        self._reference: JointTrajectory | None = None
        self._since_s = 0.0
        self._halt_until_s = -math.inf
        self._hold: Command | None = None

    @property
    def moving(self) -> bool:
        """Whether a reference is followed."""
        return self._reference is not None

    def begin(self, reference: JointTrajectory, now_s: float) -> None:
        """Follow this."""
        self._reference, self._since_s, self._hold = reference, now_s, None

    def halt(self, q: np.ndarray | None, now_s: float) -> None:
        """Stand still where the arm is, q [joints]; the command for it is repeated for `servo_halt_s`."""
        if self._reference is None:
            return
        self._reference, self._halt_until_s = None, now_s + self._config.servo_halt_s
        if self._config.servo_command == "pose" and q is not None:
            self._hold = self._pose(q)
        else:
            self._hold = Command(np.zeros(3), np.zeros(3))

    def command(self, q: np.ndarray, now_s: float) -> Command | None:
        """What Servo is told now, the arm measured at q [joints]; None: nothing."""
        if self._reference is None:
            return self._hold if now_s <= self._halt_until_s else None
        wanted, velocity = self._reference.at(now_s - self._since_s)
        if self._config.servo_command == "pose":
            return self._pose(wanted)
        position, rotation = self._kinematics.forward(wanted)
        twist = self._kinematics.jacobian(wanted) @ velocity
        measured, measured_rotation = self._kinematics.forward(q)
        gain = self._config.servo_gain_1_s
        linear = _shortened(twist[:3] + gain * (position - measured), self._speed)
        angular = _shortened(
            twist[3:] + gain * pin.log3(rotation @ measured_rotation.T), self._config.servo_turn_rad_s
        )
        # From the tool to the point that Servo moves; as long as the tool hangs straight down they move alike.
        to_tip = measured_rotation @ self._tcp.inverse().translation
        return Command(linear + np.cross(angular, to_tip), angular)

    def halted(self, code: int, message: str, now_s: float) -> str:
        """ "servo_halted: ..." if a status that comes now says that Servo does not move on; or empty."""
        if self._reference is None or code not in HALTS or now_s - self._since_s < STATUS_LAG_S:
            return ""
        return f"servo_halted: {message or HALTS[code]}"

    def _pose(self, q: np.ndarray) -> Command:
        position, quaternion = tip_of(*self._kinematics.forward(q), self._tcp)
        return Command(position_m=position, quaternion=quaternion)


def tool_measure(kinematics: Kinematics, start: np.ndarray):
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
