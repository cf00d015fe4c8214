"""Meshes of the objects: boxes, surfaces of revolution, bent tubes and prisms, each part in a colour of the palette."""

import math
from dataclasses import dataclass

import numpy as np

# One texture for all objects: a mesh names the column of its colour, so an object of many colours is one mesh.
PALETTE = {
    "white": (245, 245, 240),
    "red": (205, 35, 30),
    "dark_red": (140, 25, 25),
    "orange": (240, 130, 20),
    "yellow": (250, 205, 40),
    "lemon": (240, 225, 70),
    "green": (40, 150, 60),
    "leaf": (90, 170, 50),
    "bottle_green": (30, 95, 60),
    "blue": (40, 90, 200),
    "sky": (120, 180, 230),
    "brown": (120, 75, 40),
    "crust": (190, 125, 60),
    "silver": (185, 188, 192),
    "steel": (120, 124, 130),
    "pink": (235, 130, 160),
    "black": (45, 47, 52),
    "navy": (30, 60, 130),
}


_TURNS = {  # of the z axis
    "z": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "x": ((0, 0, 1), (0, 1, 0), (-1, 0, 0)),
    "y": ((1, 0, 0), (0, 0, 1), (0, -1, 0)),
}


@dataclass(frozen=True)
class Mesh:
    """Triangles with a normal and a palette colour per vertex."""

    vertices: np.ndarray  # [V, 3] m
    normals: np.ndarray  # [V, 3]
    indices: np.ndarray  # int [3 * triangles]
    columns: np.ndarray  # [V], column of the palette

    @property
    def uvs(self) -> np.ndarray:
        """Where in the palette's texture each vertex takes its colour from, [V, 2]."""
        return np.stack([(self.columns + 0.5) / len(PALETTE), np.full(len(self.columns), 0.5)], axis=1)


def palette_image() -> np.ndarray:
    """The palette as a texture, uint8 RGB [4, 4 * colours, 3]: a few pixels each, so that no border is ever sampled."""
    return np.repeat(np.repeat(np.array([list(PALETTE.values())], np.uint8), 4, axis=0), 4, axis=1)


def _mesh(vertices, normals, indices, colours) -> Mesh:
    names = list(PALETTE)
    return Mesh(
        np.asarray(vertices, float).reshape(-1, 3),
        np.asarray(normals, float).reshape(-1, 3),
        np.asarray(indices, int).ravel(),
        np.array([names.index(c) for c in colours], float),
    )


def join(*meshes: Mesh) -> Mesh:
    """Several meshes as one."""
    firsts = np.cumsum([0] + [len(m.vertices) for m in meshes[:-1]])
    return Mesh(
        np.concatenate([m.vertices for m in meshes]),
        np.concatenate([m.normals for m in meshes]),
        np.concatenate([m.indices + first for m, first in zip(meshes, firsts, strict=True)]),
        np.concatenate([m.columns for m in meshes]),
    )


def placed(mesh: Mesh, shift_m=(0.0, 0.0, 0.0), axis: str = "z") -> Mesh:
    """The mesh with its z axis turned to `axis` (x, y or z), then shifted."""
    rotation = np.array(_TURNS[axis])
    return Mesh(mesh.vertices @ rotation.T + shift_m, mesh.normals @ rotation.T, mesh.indices, mesh.columns)


def box(size_m, colour: str, centre_m=(0.0, 0.0, 0.0)) -> Mesh:
    """A box with edges [3] along x, y, z."""
    x, y, _ = np.asarray(size_m, float) / 2
    base = placed(prism([(-x, -y), (x, -y), (x, y), (-x, y)], size_m[2], colour), centre_m)
    return base


def prism(outline, length_m: float, colour: str) -> Mesh:
    """A convex outline [(x, y), ...] (counter-clockwise), extruded along z around z = 0."""
    outline, h = np.asarray(outline, float), length_m / 2
    vertices: list[tuple[float, ...]] = []
    normals: list[np.ndarray | tuple[int, ...]] = []
    indices: list[int] = []
    for a, b in zip(outline, np.roll(outline, -1, axis=0), strict=True):
        normal = np.array([b[1] - a[1], a[0] - b[0], 0.0]) / math.dist(a, b)
        k = len(vertices)
        vertices += [(*a, -h), (*b, -h), (*b, h), (*a, h)]
        normals += [normal] * 4
        indices += [k, k + 1, k + 2, k, k + 2, k + 3]
    for z, sign in ((h, 1), (-h, -1)):
        k = len(vertices)
        vertices += [(*p, z) for p in outline]
        normals += [(0, 0, sign)] * len(outline)
        for i in range(1, len(outline) - 1):
            indices += [k, k + i, k + i + 1] if sign > 0 else [k, k + i + 1, k + i]
    return _mesh(vertices, normals, indices, [colour] * len(vertices))


def lathe(profile, colours, segments: int = 16) -> Mesh:
    """A surface of revolution about z: `profile` [(radius, z), ...] from bottom to top, one colour per stretch."""
    vertices: list[tuple[float, ...]] = []
    normals: list[tuple[float, ...]] = []
    indices: list[int] = []
    names: list[str] = []
    angles = np.linspace(0, math.tau, segments + 1)
    for (r0, z0), (r1, z1), colour in zip(profile, profile[1:], colours, strict=False):
        slope = math.hypot(r1 - r0, z1 - z0)
        out, up = (z1 - z0) / slope, (r0 - r1) / slope
        first = len(vertices)
        for angle in angles:
            c, s = math.cos(angle), math.sin(angle)
            vertices += [(r0 * c, r0 * s, z0), (r1 * c, r1 * s, z1)]
            normals += [(out * c, out * s, up)] * 2
            names += [colour] * 2
        for k in range(first, first + 2 * segments, 2):
            indices += [k, k + 2, k + 1, k + 1, k + 2, k + 3]
    return _mesh(vertices, normals, indices, names)


def ball(radii_m, colour: str, rings: int = 7, segments: int = 12) -> Mesh:
    """An ellipsoid of revolution about z: radii (across, along)."""
    across, along = radii_m
    angles = np.linspace(-math.pi / 2, math.pi / 2, rings + 1)
    profile = [(across * math.cos(a), along * math.sin(a)) for a in angles]
    mesh = lathe(profile, [colour] * rings, segments)
    smooth = mesh.vertices / np.array([across, across, along]) ** 2
    return Mesh(mesh.vertices, smooth / np.linalg.norm(smooth, axis=1, keepdims=True), mesh.indices, mesh.columns)


def tube(path, radii_m, colours, segments: int = 8) -> Mesh:
    """A bent tube along `path` [N, 3] in the plane z = 0, with a radius per point and a colour per stretch."""
    path = np.asarray(path, float)
    along = np.gradient(path, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    side = np.stack([-along[:, 1], along[:, 0], np.zeros(len(path))], axis=1)
    angles = np.linspace(0, math.tau, segments + 1)
    around = np.cos(angles)[None, :, None] * side[:, None] + np.sin(angles)[None, :, None] * np.array([0.0, 0.0, 1.0])
    rings = path[:, None] + around * np.asarray(radii_m)[:, None, None]
    vertices: list[tuple[float, ...]] = []
    normals: list[tuple[float, ...]] = []
    indices: list[int] = []
    names: list[str] = []
    for i, colour in zip(range(len(path) - 1), colours, strict=False):
        first = len(vertices)
        for j in range(segments + 1):
            vertices += [rings[i, j], rings[i + 1, j]]
            normals += [around[i, j], around[i + 1, j]]
            names += [colour] * 2
        for k in range(first, first + 2 * segments, 2):
            indices += [k, k + 2, k + 1, k + 1, k + 2, k + 3]
    return _mesh(vertices, normals, indices, names)
