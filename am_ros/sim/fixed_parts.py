"""What of the cell never changes: the robot description without what only costs time, and the table."""

import itertools
from xml.etree import ElementTree

import cv2
import numpy as np

from am_ros.sim.bullet import load_texture, pybullet

TABLE_SIZE_M, TABLE_CENTRE_M = (1.4, 1.4, 0.1), (0.5, 0.1, -0.05)
# Only what the camera sees of it, beside and behind the table: the rest would be drawn and painted over.
FLOOR = (((1.25, 3.45, -0.75), (5.5, 3.1)), ((2.9, 0.7, -0.75), (2.2, 2.4)))  # centre and size of each part [m]
FLOOR_COLOUR = (0.42, 0.44, 0.46, 1.0)


def add_table(client: int) -> int:
    """The table as a body of its own: links of one URDF do not collide with each other in PyBullet."""
    shape = pybullet.createCollisionShape(
        pybullet.GEOM_BOX,
        halfExtents=[x / 2 for x in TABLE_SIZE_M],
        collisionFramePosition=TABLE_CENTRE_M,
        physicsClientId=client,
    )
    visual = _plane((*TABLE_CENTRE_M[:2], 0.0), TABLE_SIZE_M, 9, client)
    table = pybullet.createMultiBody(0, shape, visual, physicsClientId=client)
    pybullet.changeDynamics(table, -1, lateralFriction=0.8, physicsClientId=client)
    pybullet.changeVisualShape(table, -1, textureUniqueId=load_texture(wood(), client), physicsClientId=client)
    return table


def add_floor(client: int) -> None:
    """What the camera sees beyond the table. Nothing touches it."""
    for centre, size in FLOOR:
        floor = pybullet.createMultiBody(0, -1, _plane(centre, size, 6, client), physicsClientId=client)
        pybullet.changeVisualShape(floor, -1, rgbaColor=FLOOR_COLOUR, physicsClientId=client)


def wood(size: int = 256) -> np.ndarray:
    """A pale grain along y, uint8 RGB [size, size, 3]: too soft and wide to flicker in small pictures."""
    noise = np.random.default_rng(0).normal(size=(size, size)).astype(np.float32)
    grain: np.ndarray = cv2.GaussianBlur(noise, (0, 0), sigmaX=5, sigmaY=40)
    grain /= np.abs(grain).max()
    shade = 244 + 11 * grain[..., None] * np.array([0.8, 1.0, 1.3])
    return np.clip(shade, 0, 255).astype(np.uint8)


def essential(urdf: str) -> str:
    """The URDF without what only costs time in physics.

    That is the table, frames at the ends of chains, and the collision shapes of links that touch nothing because the
    workspace box keeps them away.
    """
    root = ElementTree.fromstring(urdf)
    touching = ("palm", "finger")
    for link in root.iter("link"):
        name = link.get("name", "")
        shapes = link.findall("collision") if not any(t in name for t in touching) else []
        if name.endswith("table"):
            shapes += link.findall("visual")
        for shape in shapes:
            link.remove(shape)
    while ends := _empty_ends(root):
        for element in ends:
            root.remove(element)
    return ElementTree.tostring(root, encoding="unicode")


def _empty_ends(root) -> list:
    """Links without shape on which nothing hangs, and the joints that hold them."""
    parents = {joint.find("parent").get("link") for joint in root.findall("joint")}
    empty = [n for n in root.findall("link") if n.get("name") not in parents and n.find("visual") is None]
    names = {link.get("name") for link in empty}
    return empty + [joint for joint in root.findall("joint") if joint.find("child").get("link") in names]


def _plane(centre_m, size_m, points: int, client: int) -> int:
    """A horizontal plane in small squares.

    TinyRenderer does not clip: it drops every triangle of which one corner lies behind the camera. Small ones drop out
    of sight.
    """
    (x0, y0, z), (width, depth) = centre_m, size_m[:2]
    shares = np.linspace(0, 1, points)
    corners = list(itertools.product(shares, shares))
    indices = []
    for i, j in itertools.product(range(points - 1), repeat=2):
        a = i * points + j
        b = a + points
        indices += [a, b, b + 1, a, b + 1, a + 1]
    return pybullet.createVisualShape(
        pybullet.GEOM_MESH,
        vertices=[(float(x0 + width * (u - 0.5)), float(y0 + depth * (v - 0.5)), z) for u, v in corners],
        indices=indices,
        normals=[(0, 0, 1)] * len(corners),
        uvs=[(float(u), float(v)) for u, v in corners],
        physicsClientId=client,
    )
