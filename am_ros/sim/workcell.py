"""The simulated workcell: PyBullet physics below a joint trajectory and a gripper command, as a real cell has them."""

import os
import tempfile
from dataclasses import dataclass, field

import numpy as np

from am_ros.configuration import parameter
from am_ros.control.kinematics import Kinematics
from am_ros.control.robot import robot_description, robot_model
from am_ros.control.trajectory import JointTrajectory
from am_ros.sim.bodies import Bodies, put_to_sleep
from am_ros.sim.bullet import pybullet
from am_ros.sim.camera import Camera, CameraConfig
from am_ros.sim.fixed_parts import add_floor, add_table, essential
from am_ros.sim.objects import BLOCK
from am_ros.sim.scene import Appearance, Arrangement, Pose, tool_down

# Where the contact solver may stop before its last iteration. At 1e-4 a dropped block still creeps by 0.15 mm/s.
RESIDUAL = 2e-5
# PyBullet drops contacts that are no more a few at a time; after these steps none of an earlier scene is left.
FORGET_STEPS = 15


@dataclass(frozen=True)
class SimConfig:
    """Physics of the cell.

    Defaults: a held block creeps by less than 1 mm in four seconds. With 10 iterations or 40 N it creeps by 4 mm and
    tilts by 13 degrees, because the solver no longer balances the fingers.
    """

    model: str = parameter("iiwa14", "robot model", choices=("iiwa14", "iiwa7"))
    physics_rate_hz: int = parameter(200, "physics steps per second [Hz]", range=(60, 1000))
    solver_iterations: int = parameter(20, "iterations of the contact solver per physics step", range=(1, 500))
    gripper_force_n: float = parameter(10.0, "largest force of one finger [N]", range=(1, 500))
    gripper_speed_m_s: float = parameter(0.2, "speed of one finger [m/s]", range=(0.01, 1))
    variety: float = parameter(
        1.0, "how far light, colours and camera pose differ from scene to scene: 0 not at all", range=(0, 1)
    )
    camera: CameraConfig = field(default_factory=CameraConfig)


@dataclass(frozen=True)
class JointState:
    """Measured joints: arm joints first, then fingers."""

    names: tuple[str, ...]
    positions: np.ndarray  # [joints] rad, m
    velocities: np.ndarray  # [joints] rad/s, m/s


class SimWorkcell:
    """One arm, one gripper, a table, objects and a camera. Not thread-safe; several may live in one process."""

    def __init__(self, config: SimConfig | None = None, objects: tuple[str, ...] = (BLOCK,)):
        """`objects` names all that the scenes to come may show."""
        self.config = config or SimConfig()
        self.robot = robot_model(self.config.model)
        self._urdf = urdf = robot_description(self.config.model)
        self.kinematics = Kinematics(urdf, self.robot.joint_names, self.robot.tip_frame, self.robot.comfortable_rad)
        self._client = pybullet.connect(pybullet.DIRECT)
        if self._client < 0:
            raise RuntimeError("PyBullet: no free physics client")
        self.camera = Camera(self.config.camera, self._client)
        self.time_s = 0.0
        self._gripper_goal = self._gripper_setpoint = 0.0
        self._build(objects)
        self._hold(np.array(self.robot.comfortable_rad), 1.0)

    def close(self) -> None:
        """Free the physics client."""
        if self._client >= 0:
            pybullet.disconnect(physicsClientId=self._client)
            self._client = -1

    def __enter__(self) -> "SimWorkcell":
        return self

    def __exit__(self, *_error) -> None:
        self.close()

    # -- building ------------------------------------------------------------------------------------------------

    def stock(self, objects: tuple[str, ...]) -> None:
        """Have these objects at hand, and no others. What is at hand decides nothing but which scenes can be shown."""
        if objects != self._bodies.names:
            # From nothing: what was there before must not show in how the physics runs.
            pybullet.resetSimulation(physicsClientId=self._client)
            self._build(objects)

    def _build(self, objects: tuple[str, ...]) -> None:
        c = self._client
        pybullet.setGravity(0, 0, -9.81, physicsClientId=c)
        pybullet.setTimeStep(1 / self.config.physics_rate_hz, physicsClientId=c)
        pybullet.setPhysicsEngineParameter(
            numSolverIterations=self.config.solver_iterations,
            deterministicOverlappingPairs=1,
            solverResidualThreshold=RESIDUAL,
            physicsClientId=c,
        )
        handle, path = tempfile.mkstemp(suffix=".urdf")
        try:
            with os.fdopen(handle, "w") as file:
                file.write(essential(self._urdf))
            self._arm = pybullet.loadURDF(path, useFixedBase=True, physicsClientId=c)
        finally:
            os.unlink(path)
        count = pybullet.getNumJoints(self._arm, physicsClientId=c)
        joint = {pybullet.getJointInfo(self._arm, i, physicsClientId=c)[1].decode(): i for i in range(count)}
        self._joints = [joint[n] for n in self.robot.joint_names]
        self._fingers = [joint[n] for n in self.robot.finger_names]
        self._table = add_table(c)
        add_floor(c)
        self._couple_fingers()
        self._bodies = Bodies(objects, c)
        self._initial = pybullet.saveState(physicsClientId=c)

    def _couple_fingers(self) -> None:
        """Both fingers hang on one drive: PyBullet knows no mimic joints, a gear does the same."""
        left, right = self._fingers
        gear = pybullet.createConstraint(
            self._arm,
            left,
            self._arm,
            right,
            pybullet.JOINT_GEAR,
            (0, 1, 0),
            (0, 0, 0),
            (0, 0, 0),
            physicsClientId=self._client,
        )
        pybullet.changeConstraint(gear, gearRatio=-1, maxForce=200, erp=0.3, physicsClientId=self._client)

    # -- scene ---------------------------------------------------------------------------------------------------

    def arrange(self, arrangement: Arrangement, appearance: Appearance | None = None, settle_s: float = 0.1) -> None:
        """Put arm, gripper and objects where the arrangement says, let them come to rest, and restart the clock.

        Raises AmRosError if the arm cannot be there.
        """
        appearance = appearance or Appearance()
        c, arm = self._client, arrangement.end_effector
        q = self.kinematics.home(arm.position_m, arm.yaw_rad)
        # Nothing of earlier scenes is left, contacts and all: the same scene runs the same way each time.
        self._bodies.part()
        for _ in range(FORGET_STEPS):
            pybullet.stepSimulation(physicsClientId=c)
        pybullet.restoreState(self._initial, physicsClientId=c)
        for joint, angle in zip(self._joints, q, strict=True):
            pybullet.resetJointState(self._arm, joint, angle, 0.0, physicsClientId=c)
        for finger in self._fingers:
            pybullet.resetJointState(
                self._arm, finger, self._stroke(arrangement.gripper_opening), 0.0, physicsClientId=c
            )
        self._bodies.place(arrangement.objects, appearance.colours)
        pybullet.changeVisualShape(self._table, -1, rgbaColor=(*appearance.table, 1), physicsClientId=c)
        self.camera.look(appearance)
        self.time_s = -settle_s
        self._hold(q, arrangement.gripper_opening)
        if arrangement.squeeze:
            self.command_gripper(0.0)
        self.advance(settle_s)
        self._bodies.sleep()
        put_to_sleep(self._table, c)  # or it would be compared with all that lies on it, step by step
        self.time_s = 0.0

    def object_poses(self) -> dict[str, Pose]:
        """Where the objects are."""
        return self._bodies.poses()

    def end_effector(self) -> Pose:
        """Where the tool centre point is, taken as pointing down."""
        position, yaw = self.kinematics.pose(self.arm_positions())
        return tool_down(position, yaw)

    def render(self) -> np.ndarray:
        """What the camera sees now, uint8 [size, size, 3], RGB."""
        return self.camera.render()

    # -- motion --------------------------------------------------------------------------------------------------

    def follow(self, trajectory: JointTrajectory) -> None:
        """Make the arm follow a trajectory that starts now; whatever it followed before is forgotten."""
        self._trajectory, self._trajectory_start_s = trajectory, self.time_s

    def command_gripper(self, opening: float) -> None:
        """Move the fingers to an opening (0 closed ... 1 fully open), as far as the force allows."""
        self._gripper_goal = self._stroke(min(max(float(opening), 0.0), 1.0))

    @property
    def motion_left_s(self) -> float:
        """Time until the last set-points of arm and gripper; a held object stops the fingers earlier."""
        return max(0.0, self._trajectory_start_s + self._trajectory.duration_s - self.time_s, self.gripper_left_s)

    @property
    def gripper_left_s(self) -> float:
        """Time until the last set-point of the gripper alone."""
        return abs(self._gripper_goal - self._gripper_setpoint) / self.config.gripper_speed_m_s

    def objects_at_rest(self) -> bool:
        """Whether no object falls, slides or is carried."""
        return self._bodies.at_rest()

    def advance(self, seconds: float) -> None:
        """Run the physics for a time, rounded to whole physics steps."""
        c, step = self._client, 1 / self.config.physics_rate_hz
        count = max(0, round(seconds * self.config.physics_rate_hz))
        times = self.time_s - self._trajectory_start_s + step * np.arange(1, count + 1)
        positions, velocities = self._trajectory.sample(times)
        motors = self._joints + self._fingers
        forces = [*self.robot.effort_nm, *[self.config.gripper_force_n] * len(self._fingers)]
        reach = self.config.gripper_speed_m_s * step
        gains = {"positionGains": [0.4] * len(motors), "velocityGains": [1.0] * len(motors)}
        for q, v in zip(positions.tolist(), velocities.tolist(), strict=True):
            left = self._gripper_goal - self._gripper_setpoint
            self._gripper_setpoint = (
                self._gripper_goal if abs(left) <= reach else (self._gripper_setpoint + (reach if left > 0 else -reach))
            )
            pybullet.setJointMotorControlArray(
                self._arm,
                motors,
                pybullet.POSITION_CONTROL,
                targetPositions=q + [self._gripper_setpoint] * 2,
                targetVelocities=v + [0.0, 0.0],
                forces=forces,
                physicsClientId=c,
                **gains,
            )
            pybullet.stepSimulation(physicsClientId=c)
        self.time_s += count * step

    def joint_state(self) -> JointState:
        """Measured positions and velocities of arm joints and fingers."""
        states = pybullet.getJointStates(self._arm, self._joints + self._fingers, physicsClientId=self._client)
        positions, velocities = np.array([s[:2] for s in states]).T
        return JointState(self.robot.joint_names + self.robot.finger_names, positions, velocities)

    def arm_positions(self) -> np.ndarray:
        """Measured positions of the arm's joints, [joints] rad."""
        return self.joint_state().positions[: len(self._joints)]

    def gripper_opening(self) -> float:
        """Measured: 0 closed ... 1 fully open."""
        opening = self.joint_state().positions[len(self._joints) :].mean() / self.robot.finger_stroke_m
        return float(min(max(opening, 0.0), 1.0))

    def _stroke(self, opening: float) -> float:
        return opening * self.robot.finger_stroke_m

    def _hold(self, q: np.ndarray, opening: float) -> None:
        positions = np.stack([q, q])
        self._trajectory = JointTrajectory(np.array([0.0, 0.1]), positions, np.zeros_like(positions))
        self._trajectory_start_s = self.time_s
        self._gripper_goal = self._gripper_setpoint = self._stroke(opening)
