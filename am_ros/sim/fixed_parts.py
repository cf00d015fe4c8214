"""What of the cell never changes: the robot description without what only costs time, and the table."""

import itertools
from xml.etree import ElementTree

import numpy as np

from am_ros.sim.bullet import pybullet

TABLE_SIZE_M, TABLE_CENTRE_M = (1.4, 1.4, 0.1), (0.5, 0.1, -0.05)


def add_table(client: int) -> int:
    """The table as a body of its own: links of one URDF do not collide with each other in PyBullet."""
    shape = pybullet.createCollisionShape(
        pybullet.GEOM_BOX,
        halfExtents=[x / 2 for x in TABLE_SIZE_M],
        collisionFramePosition=TABLE_CENTRE_M,
        physicsClientId=client,
    )
    vertices, indices = table_mesh()
    visual = pybullet.createVisualShape(
        pybullet.GEOM_MESH,
        vertices=vertices,
        indices=indices,
        normals=[(0, 0, 1)] * len(vertices),
        physicsClientId=client,
    )
    table = pybullet.createMultiBody(0, shape, visual, physicsClientId=client)
    pybullet.changeDynamics(table, -1, lateralFriction=0.8, physicsClientId=client)
    return table


def essential(urdf: str) -> str:
    """The URDF without what only costs time in physics.

    That is the table, frames at the ends of chains, and the collision shapes of links that touch nothing because the
    workspace box keeps them away.
    """
    root = ElementTree.fromstring(urdf)
    touching = ("palm", "finger")
    for link in root.iter("link"):
        shapes = link.findall("collision") if not any(t in link.get("name") for t in touching) else []
        if link.get("name").endswith("table"):
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


def table_mesh() -> tuple[list, list]:
    """Vertices and indices of the table top at z = 0, in squares of 10 cm.

    TinyRenderer does not clip: it drops every triangle of which one corner lies behind the camera. Small ones drop out
    of sight.
    """
    (width, depth, _), (x0, y0, _) = TABLE_SIZE_M, TABLE_CENTRE_M
    columns = np.linspace(x0 - width / 2, x0 + width / 2, 15)
    rows = np.linspace(y0 - depth / 2, y0 + depth / 2, 15)
    vertices = [(float(x), float(y), 0.0) for x in columns for y in rows]
    indices = []
    for i, j in itertools.product(range(len(columns) - 1), range(len(rows) - 1)):
        a = i * len(rows) + j
        b = a + len(rows)
        indices += [a, b, b + 1, a, b + 1, a + 1]
    return vertices, indices
