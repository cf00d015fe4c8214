"""What is where in the simulated cell. Pure data: experts and judges read it, learners never do."""

import math
from dataclasses import dataclass, field

IDENTITY = (0.0, 0.0, 0.0, 1.0)


@dataclass(frozen=True)
class Pose:
    """Position [m] and orientation (unit quaternion x, y, z, w) in the robot base frame."""

    position_m: tuple[float, float, float]
    quaternion: tuple[float, float, float, float] = IDENTITY

    @property
    def yaw_rad(self) -> float:
        """Heading of the x axis in the horizontal plane."""
        x, y, z, w = self.quaternion
        return math.atan2(2 * (x * y + w * z), 1 - 2 * (y * y + z * z))


def upright(position_m, yaw_rad: float = 0.0) -> Pose:
    """Pose of an object that stands on the table, turned by yaw."""
    x, y, z = map(float, position_m)
    return Pose((x, y, z), (0.0, 0.0, math.sin(yaw_rad / 2), math.cos(yaw_rad / 2)))


def tool_down(position_m, yaw_rad: float = 0.0) -> Pose:
    """Pose of the end effector: the tool points down, R = Rz(yaw) Rx(pi)."""
    x, y, z = map(float, position_m)
    return Pose((x, y, z), (math.cos(yaw_rad / 2), math.sin(yaw_rad / 2), 0.0, 0.0))


@dataclass(frozen=True)
class Arrangement:
    """A scene at rest: where arm, gripper and objects are.

    The name of an object is that of its model (am_ros.sim.objects), with _2, _3 ... for further ones of the kind.
    """

    end_effector: Pose
    objects: dict[str, Pose]
    gripper_opening: float = 1.0
    squeeze: bool = False  # the fingers close on what is between them, as after a grasp


@dataclass(frozen=True)
class Appearance:
    """What differs from day to day and is no business of the robot: light, colours, a camera that was bumped."""

    light_direction: tuple[float, float, float] = (0.2, -0.5, 1.0)  # from the scene to the light
    ambient: float = 0.65
    diffuse: float = 0.4
    camera_shift_m: tuple[float, float, float] = (0.0, 0.0, 0.0)
    target_shift_m: tuple[float, float, float] = (0.0, 0.0, 0.0)
    camera_roll_rad: float = 0.0  # about its line of sight, clockwise as seen from behind it
    table: tuple[float, float, float] = (0.93, 0.91, 0.86)
    colours: dict[str, tuple[float, float, float]] = field(default_factory=dict)  # by object; others keep their own


@dataclass(frozen=True)
class Scenario:
    """A trial: what the scene looks like at its start and what it looks like when the goal is reached."""

    start: Arrangement
    goal: Arrangement
    wanted: tuple[str, ...] = ()  # objects that have to be where the goal shows them
    appearance: Appearance = field(default_factory=Appearance)


@dataclass(frozen=True)
class ObjectState:
    """One object; `goal` is None if the task wants it nowhere in particular."""

    name: str
    pose: Pose
    goal: Pose | None = None

    @property
    def wanted(self) -> Pose:
        """Where the task wants it; raises ValueError if that is nowhere in particular."""
        if self.goal is None:
            raise ValueError(f"{self.name} has no goal")
        return self.goal


@dataclass(frozen=True)
class SceneState:
    """Ground truth of the scene; the same fields as am_msgs/SceneState."""

    task: str
    seed: int
    end_effector: Pose
    end_effector_goal: Pose
    gripper_opening: float  # measured: 0 closed ... 1 fully open
    goal_gripper_opening: float
    objects: tuple[ObjectState, ...] = ()
