"""The objects of a scene in PyBullet: built once per set of names, then placed, coloured, put to sleep or put away."""

import math

import numpy as np

from am_ros.sim.bullet import load_texture, pybullet
from am_ros.sim.meshes import palette_image
from am_ros.sim.objects import ObjectModel, Solid, find_model
from am_ros.sim.scene import Pose

FRICTION = 0.8
# Rubber pads and round fruit: without it a ball on the table rolls for ever. With more spinning friction a bottle that
# is gripped at its end would stay level, and a milk carton at its edge in the hand: 0.002 m of pad hold 0.08 N m.
SPINNING_FRICTION, ROLLING_FRICTION = 0.002, 0.0008
AT_REST_M_S, AT_REST_RAD_S = 0.02, 0.3
_AWAY_M = (-3.0, 0.0, -3.0)  # of objects that a scene does not show: behind and below everything
_APART_M = (20.0, 0.0, 5.0)
_LOST_M = -0.05  # lower than this is beside or under the table
_AXES = {"z": (0, 0, 0, 1), "x": (0, math.sqrt(0.5), 0, math.sqrt(0.5)), "y": (-math.sqrt(0.5), 0, 0, math.sqrt(0.5))}
_KINDS = {
    "box": pybullet.GEOM_BOX, "cylinder": pybullet.GEOM_CYLINDER, "capsule": pybullet.GEOM_CAPSULE,
    "ball": pybullet.GEOM_SPHERE,
}  # fmt: skip


def put_to_sleep(body: int, client: int) -> None:
    """Have the solver and the collision search pass over a body until something that is awake touches it."""
    # Without leave to sleep, sleeping would not last.
    for state in (pybullet.ACTIVATION_STATE_ENABLE_SLEEPING, pybullet.ACTIVATION_STATE_SLEEP):
        pybullet.changeDynamics(body, -1, activationState=state, physicsClientId=client)


class Bodies:
    """Objects of one physics client. Those that the present scene does not show lie asleep, out of sight."""

    def __init__(self, names: tuple[str, ...], client: int):
        self.names = names
        self._client = client
        self._texture = load_texture(palette_image(), client)
        self._ids = {name: self._create(find_model(name)) for name in names}
        self._shown: tuple[str, ...] = ()

    def _create(self, model: ObjectModel) -> int:
        c, mesh = self._client, model.mesh
        visual = pybullet.createVisualShape(
            pybullet.GEOM_MESH,
            vertices=mesh.vertices.tolist(),
            indices=mesh.indices.tolist(),
            normals=mesh.normals.tolist(),
            uvs=mesh.uvs.tolist(),
            rgbaColor=(*(model.colour or (1, 1, 1)), 1),
            physicsClientId=c,
        )
        shape = pybullet.createCollisionShapeArray(**_solids(model.solids), physicsClientId=c)
        body = pybullet.createMultiBody(model.mass_kg, shape, visual, _AWAY_M, physicsClientId=c)
        pybullet.changeDynamics(
            body,
            -1,
            lateralFriction=FRICTION,
            spinningFriction=SPINNING_FRICTION,
            rollingFriction=ROLLING_FRICTION if model.rolls else 0,
            activationState=pybullet.ACTIVATION_STATE_ENABLE_SLEEPING,
            physicsClientId=c,
        )
        if model.colour is None:
            pybullet.changeVisualShape(body, -1, textureUniqueId=self._texture, physicsClientId=c)
        return body

    def place(self, poses: dict[str, Pose], colours: dict[str, tuple]) -> None:
        """Show these objects, at rest there, in these colours; put the others away."""
        c = self._client
        self._shown = tuple(poses)
        for number, (name, body) in enumerate(self._ids.items()):
            if name in poses:
                position, quaternion = poses[name].position_m, poses[name].quaternion
                colour = colours.get(name) or find_model(name).colour or (1, 1, 1)
                pybullet.changeVisualShape(body, -1, rgbaColor=(*colour, 1), physicsClientId=c)
            else:
                position, quaternion = (_AWAY_M[0] + 0.3 * number, *_AWAY_M[1:]), (0, 0, 0, 1)
            pybullet.resetBasePositionAndOrientation(body, position, quaternion, physicsClientId=c)
            pybullet.resetBaseVelocity(body, (0, 0, 0), (0, 0, 0), physicsClientId=c)
            states = [pybullet.ACTIVATION_STATE_SLEEP]
            if name in poses:
                # Waking also forgets for how long it has rested; without leave to sleep, sleep() would do nothing.
                states = [pybullet.ACTIVATION_STATE_ENABLE_SLEEPING, pybullet.ACTIVATION_STATE_WAKE_UP]
            for state in states:
                pybullet.changeDynamics(body, -1, activationState=state, physicsClientId=c)

    def part(self) -> None:
        """Put all objects far from everything, awake: the next physics steps forget what touched what.

        Restoring a state does not: an object that comes back to where it was would find its old contacts, and with
        them push a little differently, so that a scene would depend on those before it.
        """
        c = self._client
        for number, body in enumerate(self._ids.values()):
            pybullet.changeDynamics(body, -1, activationState=pybullet.ACTIVATION_STATE_WAKE_UP, physicsClientId=c)
            place = np.add(_APART_M, (number, 0, 0))
            pybullet.resetBasePositionAndOrientation(body, place, (0, 0, 0, 1), physicsClientId=c)
            pybullet.resetBaseVelocity(body, (0, 0, 0), (0, 0, 0), physicsClientId=c)

    def sleep(self) -> None:
        """Spare the solver what lies still; PyBullet wakes an object when something touches it."""
        for name in self._shown:
            if self._at_rest(self._ids[name]):
                put_to_sleep(self._ids[name], self._client)

    def poses(self) -> dict[str, Pose]:
        """Where the objects of the scene are."""
        return {
            name: Pose(*pybullet.getBasePositionAndOrientation(self._ids[name], physicsClientId=self._client))
            for name in self._shown
        }

    def at_rest(self) -> bool:
        """Whether no object of the scene falls, slides, rolls or is carried. What fell off the table counts no more."""
        return all(self._at_rest(self._ids[name]) for name in self._shown)

    def _at_rest(self, body: int) -> bool:
        position, _ = pybullet.getBasePositionAndOrientation(body, physicsClientId=self._client)
        if position[2] < _LOST_M:
            return True
        linear, angular = pybullet.getBaseVelocity(body, physicsClientId=self._client)
        return math.hypot(*linear) < AT_REST_M_S and math.hypot(*angular) < AT_REST_RAD_S


def _solids(solids: tuple[Solid, ...]) -> dict:
    """Arguments of createCollisionShapeArray."""
    turns = [(0, 0, math.sin(s.yaw_rad / 2), math.cos(s.yaw_rad / 2)) if s.yaw_rad else _AXES[s.axis] for s in solids]
    return {
        "shapeTypes": [_KINDS[s.kind] for s in solids],
        "halfExtents": [[x / 2 for x in s.size_m] if s.kind == "box" else [0, 0, 0] for s in solids],
        "radii": [0 if s.kind == "box" else s.size_m[0] for s in solids],
        "lengths": [s.size_m[1] if s.kind in ("cylinder", "capsule") else 0 for s in solids],
        "collisionFramePositions": [s.position_m for s in solids],
        "collisionFrameOrientations": turns,
    }
