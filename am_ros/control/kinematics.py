"""Forward and inverse kinematics of the arm with Pinocchio, for a tool that points down."""

import math
from dataclasses import dataclass

import numpy as np
import pinocchio as pin
from eigenpy import LDLT

from am_ros.control.types import Names, Vector
from am_ros.errors import AmRosError

# Weighs radians against metres: the distance from the wrist to the tool tip, roughly.
CHARACTERISTIC_LENGTH_M = 0.3


@dataclass(frozen=True)
class InverseOptions:
    """Numbers of the damped least squares iteration."""

    position_tolerance_m: float = 1e-6
    rotation_tolerance_rad: float = 1e-6
    max_iterations: int = 60
    max_step_rad: float = 0.3  # of any joint per iteration: keeps the linearisation honest
    damping: float = 0.05  # largest lambda, reached at a singularity
    # Manipulability, with the mobility below, under which damping sets in: 0.0065 ... 0.018 within the workspace.
    manipulability: float = 4e-3
    # Mobility of a posture joint (A3, A5) in the least squares: small, so it leaves its reference only if it must.
    posture_mobility: float = 0.02


class Kinematics:
    """Kinematics of one serial arm. Not thread-safe: it owns Pinocchio's work space."""

    def __init__(
        self,
        urdf_text: str,
        joint_names: Names,
        tip: str,
        comfortable_rad: Vector | None = None,
        joint_margin_rad: float = 0.02,
        options: InverseOptions | None = None,
        spoken_names: Names | None = None,
    ):
        """Build from URDF text; the joints not in `joint_names` are locked at zero.

        `spoken_names`: what refusals call the joints, the driver's names (default: those of the description).

        `comfortable_rad` [joints] is where the search for a home configuration starts (default: all zero).
        Raises AmRosError if the URDF cannot be read or lacks a joint or the tip frame.
        """
        try:
            full = pin.buildModelFromXML(urdf_text)
        except (RuntimeError, ValueError) as error:
            raise AmRosError(f"robot description: {error}") from error
        missing = [name for name in joint_names if not full.existJointName(name)]
        if missing or not full.existFrame(tip):
            raise AmRosError(f"robot description: has no {', '.join(missing) or 'frame ' + tip}")
        locked = [full.getJointId(n) for n in full.names[1:] if n not in joint_names]
        model = pin.buildReducedModel(full, locked, pin.neutral(full))
        if list(model.names[1:]) != list(joint_names):
            raise AmRosError(f"joint_names: expected the chain's order {', '.join(model.names[1:])}")
        self.joint_names = tuple(joint_names)
        self.spoken_names = tuple(spoken_names or joint_names)
        self.position_limits = model.lowerPositionLimit.copy(), model.upperPositionLimit.copy()  # of the description
        self.lower = self.position_limits[0] + joint_margin_rad
        self.upper = self.position_limits[1] - joint_margin_rad
        self.velocity_limit = model.velocityLimit.copy()
        self.comfortable = np.zeros(model.nq) if comfortable_rad is None else np.asarray(comfortable_rad, float)
        self._model, self._data, self._tip = model, model.createData(), model.getFrameId(tip)
        self._options = options or InverseOptions()
        # A 7-joint arm has one joint too many for a pose; the odd joints A3 and A5 turn the elbow out of the plane.
        self._is_posture = np.isin(np.arange(model.nq), [2, 4] if model.nq == 7 else [])
        self._mobility = np.where(self._is_posture, self._options.posture_mobility, 1.0)

    def forward(self, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Position [3] in metres and rotation [3, 3] of the tip in the base frame at joint angles q [joints]."""
        pin.framesForwardKinematics(self._model, self._data, q)
        placement = self._data.oMf[self._tip]
        return placement.translation.copy(), placement.rotation.copy()

    def pose(self, q: np.ndarray) -> tuple[np.ndarray, float]:
        """Position [3] in metres and yaw [rad]: the heading of the tip's x axis in the horizontal plane."""
        position, rotation = self.forward(q)
        return position, math.atan2(rotation[1, 0], rotation[0, 0])

    def position_and_quaternion(self, q: np.ndarray) -> tuple[list[float], list[float]]:
        """Position in metres and orientation as quaternion x, y, z, w of the tip in the base frame."""
        pin.framesForwardKinematics(self._model, self._data, q)
        values = pin.SE3ToXYZQUAT(self._data.oMf[self._tip]).tolist()
        return values[:3], values[3:]

    def tip_in(self, frame: str) -> pin.SE3 | None:
        """The tip's placement in a frame of the last link; None if the description has no such frame."""
        if not self._model.existFrame(frame):
            return None
        pin.framesForwardKinematics(self._model, self._data, pin.neutral(self._model))
        return self._data.oMf[self._model.getFrameId(frame)].actInv(self._data.oMf[self._tip])

    def jacobian(self, q: np.ndarray) -> np.ndarray:
        """Jacobian [6, joints] of the tip: linear then angular velocity, along the axes of the base frame."""
        pin.computeJointJacobians(self._model, self._data, q)
        jacobian: np.ndarray = pin.getFrameJacobian(self._model, self._data, self._tip, pin.LOCAL_WORLD_ALIGNED)
        return jacobian

    def condition(self, q: np.ndarray) -> float:
        """Condition number of the Jacobian with radians weighted by CHARACTERISTIC_LENGTH_M."""
        return float(_condition(self.jacobian(q)[None])[0])

    def along(self, positions: np.ndarray, velocities: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Where the tool is [N, 3] in metres, how fast [N] in m/s, and the condition number [N] there.

        At N joint angles `positions` [N, joints] with joint velocities `velocities` [N, joints].
        """
        tool, jacobians = np.empty((len(positions), 3)), np.empty((len(positions), 6, positions.shape[1]))
        for k, q in enumerate(positions):
            jacobians[k] = self.jacobian(q)
            tool[k] = self._data.oMf[self._tip].translation
        speeds = np.linalg.norm(np.einsum("nij,nj->ni", jacobians[:, :3], velocities), axis=1)
        return tool, speeds, _condition(jacobians)

    def inverse(
        self, position_m: Vector, yaw_rad: float, q_start: np.ndarray, posture: np.ndarray | None = None
    ) -> np.ndarray:
        """Joint angles q [joints] that put the tip there, pointing down with that yaw, near `q_start`.

        The elbow goes to `posture` [joints] (of which A3 and A5 count; default: those of `q_start`).
        Raises AmRosError "unreachable: ..." or "joint_limit: ..." if no solution is found from there.
        """
        return self.inverse_rotation(position_m, tool_rotation(yaw_rad), q_start, posture)

    def inverse_rotation(
        self, position_m: Vector, rotation: np.ndarray, q_start: np.ndarray, posture: np.ndarray | None = None
    ) -> np.ndarray:
        """As `inverse`, for any orientation [3, 3] of the tip.

        Damped least squares with a damping that grows where manipulability falls (Nakamura and Hanafusa 1986),
        a weighted pseudo-inverse that spends the redundancy on the posture, and joints locked at their limits.
        """
        o = self._options
        q: np.ndarray = np.clip(np.asarray(q_start, float), self.lower, self.upper)
        reference = q_start if posture is None else posture
        error = np.empty(6)
        for _ in range(o.max_iterations):
            jacobian = self.jacobian(q)
            placement = self._data.oMf[self._tip]
            error[:3] = position_m - placement.translation
            error[3:] = pin.log3(rotation @ placement.rotation.T)
            shift, turn = error[:3] @ error[:3], error[3:] @ error[3:]
            if shift < o.position_tolerance_m**2 and turn < o.rotation_tolerance_rad**2:
                return q
            pull = self._is_posture * (reference - q)
            step = self._damped_step(jacobian, error, pull, self._mobility)
            low, high = q <= self.lower, q >= self.upper
            if low.any() or high.any():
                blocked = (low & (step < 0)) | (high & (step > 0))
                mobility = np.where(blocked, 0, self._mobility)
                step = self._damped_step(jacobian, error, np.where(blocked, 0, pull), mobility)
            largest = np.abs(step).max()
            if largest > o.max_step_rad:
                step *= o.max_step_rad / largest
            q = np.minimum(np.maximum(q + step, self.lower), self.upper)
        at_limit = [n for n, a in zip(self.spoken_names, (q <= self.lower) | (q >= self.upper), strict=True) if a]
        where = "({:.3f}, {:.3f}, {:.3f}) m".format(*position_m)
        if at_limit:
            raise AmRosError(f"joint_limit: {', '.join(at_limit)} at its limit on the way to {where}")
        raise AmRosError(f"unreachable: no joint angles put the tool at {where}")

    def _damped_step(
        self, jacobian: np.ndarray, error: np.ndarray, pull: np.ndarray, mobility: np.ndarray
    ) -> np.ndarray:
        """Joint step [joints] that removes the error [6] and otherwise stays near `pull` [joints]."""
        o = self._options
        weighted = jacobian * mobility
        gram = weighted @ jacobian.T
        # NumPy's det and solve together take five times as long for a matrix of this size.
        decomposition = LDLT(gram)
        manipulability = math.sqrt(max(math.prod(decomposition.vectorD().tolist()), 0.0))
        if manipulability < o.manipulability:
            damping = o.damping * (1 - manipulability / o.manipulability)
            gram.flat[::7] += damping * damping
            decomposition = LDLT(gram)
        step: np.ndarray = pull + weighted.T @ decomposition.solve(error - jacobian @ pull)
        return step

    def home(self, position_m: Vector, yaw_rad: float = 0.0) -> np.ndarray:
        """The comfortable joint angles [joints] for a pose: elbow up and in the vertical plane. A pure function."""
        q = self.comfortable.copy()
        turn = math.atan2(position_m[1], position_m[0]) - q[0]
        q[0] += turn
        # A tool that points down turns backwards when its last joint turns forwards.
        q[-1] += math.remainder(self.pose(q)[1] - yaw_rad, 2 * math.pi)
        return self.inverse(position_m, yaw_rad, q, self.comfortable)


def _condition(jacobians: np.ndarray) -> np.ndarray:
    """Condition numbers [N] of Jacobians [N, 6, joints]."""
    weighted = jacobians * np.array([1, 1, 1, *[CHARACTERISTIC_LENGTH_M] * 3])[:, None]
    singular_values = np.linalg.svd(weighted, compute_uv=False)
    numbers: np.ndarray = singular_values[:, 0] / np.maximum(singular_values[:, -1], 1e-12)
    return numbers


def tool_rotation(yaw_rad: float) -> np.ndarray:
    """Orientation [3, 3] of a tool that points down with that yaw."""
    c, s = math.cos(yaw_rad), math.sin(yaw_rad)
    return np.array([[c, s, 0.0], [s, -c, 0.0], [0.0, 0.0, -1.0]])
