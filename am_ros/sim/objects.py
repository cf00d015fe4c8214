"""The objects of the scenes: what they look like, what of them can be touched, and how they are grasped."""

import math
from dataclasses import dataclass
from functools import cache

from am_ros.errors import AmRosError
from am_ros.sim.meshes import Mesh, ball, box, join, lathe, placed, prism, tube


@dataclass(frozen=True)
class Solid:
    """A part that can be touched, in the object's frame: box (edges), cylinder or capsule (radius, length), ball."""

    kind: str
    size_m: tuple[float, ...]
    position_m: tuple[float, float, float] = (0.0, 0.0, 0.0)
    axis: str = "z"  # of cylinder and capsule
    yaw_rad: float = 0.0  # of a box


@dataclass(frozen=True)
class ObjectModel:
    """One kind of object. Its frame lies in its centre of mass, z up and y across its narrow side."""

    name: str
    mesh: Mesh
    solids: tuple[Solid, ...]
    rest_m: float  # height of the frame when it stands on the table
    height_m: float
    radius_m: float  # of the circle around its outline, seen from above
    mass_kg: float = 0.15  # 0: fixed to the table
    grasp_m: float = 0.0  # height of the grasp above the frame
    width_m: float = 0.05  # across the fingers, there
    turns: int = 2  # equivalent grasps per full turn; 0: any
    colour: tuple[float, float, float] | None = None  # of the whole object, if the mesh does not bring its own
    rolls: bool = False


BLOCK = "block"
BLOCK_SIZE_M = 0.05
BLOCK_COLOUR = (0.05, 0.25, 0.9)
FIXTURE_INNER_M = 0.06
CONTAINER_FLOOR_M = 0.006  # its thickness


def _block() -> ObjectModel:
    edge = BLOCK_SIZE_M
    return ObjectModel(
        BLOCK, box((edge,) * 3, "white"), (Solid("box", (edge,) * 3),), edge / 2, edge, edge / math.sqrt(2), 0.2,
        width_m=edge, turns=4, colour=BLOCK_COLOUR,
    )  # fmt: skip


def _box() -> ObjectModel:
    x, y, z = 0.075, 0.045, 0.06
    mesh = join(box((x, y, z), "orange"), box((x + 0.001, y + 0.001, 0.022), "white", (0, 0, 0.004)))
    return ObjectModel("box", mesh, (Solid("box", (x, y, z)),), z / 2, z, 0.045, 0.2, width_m=y)


def _bread() -> ObjectModel:
    x, y, z = 0.095, 0.05, 0.05
    outline = [
        (-y / 2, -z / 2),
        (y / 2, -z / 2),
        (y / 2, z * 0.2),
        (y * 0.3, z / 2),
        (-y * 0.3, z / 2),
        (-y / 2, z * 0.2),
    ]
    # The outline lies in the plane of y and z: the prism's axes (x, y, z) become (y, z, x).
    loaf = _cycled(prism(outline, x, "crust"))
    return ObjectModel("bread", loaf, (Solid("box", (x, y, z)),), z / 2, z, 0.054, 0.2, width_m=y)


def _cycled(mesh: Mesh) -> Mesh:
    order = [2, 0, 1]
    return Mesh(mesh.vertices[:, order], mesh.normals[:, order], mesh.indices, mesh.columns)


def _milk() -> ObjectModel:
    edge, body, roof = 0.058, 0.09, 0.03
    gable = _cycled(prism([(-edge / 2, 0), (edge / 2, 0), (0, roof)], edge, "blue"))
    mesh = join(
        box((edge, edge, body), "white"),
        box((edge + 0.001, edge + 0.001, 0.03), "sky", (0, 0, -0.015)),
        placed(gable, (0, 0, body / 2)),
        box((edge, 0.006, 0.012), "white", (0, 0, body / 2 + roof)),
    )
    solids = (Solid("box", (edge, edge, body)), Solid("box", (edge, 0.03, 0.03), (0, 0, body / 2 + 0.012)))
    return ObjectModel("milk", mesh, solids, body / 2, body + roof + 0.006, 0.042, 0.35, 0.025, edge, 4)


def _bottle() -> ObjectModel:
    """Lies on its side."""
    radius = 0.026
    profile = [(0, -0.075), (radius, -0.073), (radius, -0.03), (radius, 0.012), (0.011, 0.042), (0.011, 0.06),
               (0.013, 0.06), (0.013, 0.075), (0, 0.075)]  # fmt: skip
    names = ["bottle_green", "bottle_green", "white", "bottle_green", "bottle_green", "red", "red", "red"]
    solids: tuple[Solid, ...] = (
        Solid("cylinder", (radius, 0.087), (-0.0315, 0, 0), "x"),
        Solid("cylinder", (0.018, 0.02), (0.022, 0, 0), "x"),
        Solid("cylinder", (0.012, 0.043), (0.0535, 0, 0), "x"),
    )
    # The centre of mass of a filled bottle lies in its body.
    shift = 0.02
    solids = tuple(Solid(s.kind, s.size_m, (s.position_m[0] + shift, 0, 0), s.axis) for s in solids)
    mesh = placed(lathe(profile, names), (shift, 0, 0), "x")
    return ObjectModel("bottle", mesh, solids, radius, 2 * radius, 0.096, 0.35, width_m=2 * radius, rolls=True)


def _banana() -> ObjectModel:
    """Lies on its side, bent in the plane of the table; the frame is in the middle of its body."""
    bend, radius, inwards = 0.09, 0.0165, 0.006  # the centre of mass lies inside the bend, or it would roll over

    def point(degrees: float) -> tuple[float, float]:
        angle = math.radians(degrees)
        return bend * math.sin(angle), bend * (1 - math.cos(angle)) - inwards

    radii = [0.004, 0.011, 0.0155, radius, radius, 0.0155, 0.011, 0.004]
    path = [(*point(a), 0.0) for a in (-50, -40, -25, -9, 9, 25, 40, 50)]
    mesh = tube(path, radii, ["brown"] + ["yellow"] * 5 + ["brown"])
    ends = ((-40, 0.010), (-27, 0.0145), (27, 0.0145), (40, 0.010))
    solids = tuple(Solid("ball", (r,), (*point(a), r - radius)) for a, r in ends)
    solids += (Solid("capsule", (radius, 0.04), (0, -inwards, 0), "x"),)
    return ObjectModel("banana", mesh, solids, radius, 2 * radius, 0.076, 0.15, 0.004, 2 * radius, rolls=True)


def _can() -> ObjectModel:
    radius, z = 0.029, 0.085
    profile = [(0, -z / 2), (radius, -z / 2), (radius, -0.036), (radius, 0.036), (radius, z / 2),
               (radius - 0.004, z / 2), (0, z / 2 - 0.003)]  # fmt: skip
    mesh = lathe(profile, ["silver", "silver", "red", "silver", "steel", "silver"])
    return ObjectModel("can", mesh, (Solid("cylinder", (radius, z)),), z / 2, z, radius, 0.3, 0.0, 2 * radius, 0,
                       rolls=True)  # fmt: skip


def _cup() -> ObjectModel:
    low, high, z = 0.026, 0.031, 0.06
    profile = [(0, -z / 2), (low, -z / 2), (high - 0.001, 0.022), (high, 0.022), (high, z / 2), (0, z / 2)]
    mesh = lathe(profile, ["white", "pink", "white", "white", "silver"])
    return ObjectModel("cup", mesh, (Solid("cylinder", (0.029, z)),), z / 2, z, high, 0.15, 0.0, 0.058, 0, rolls=True)


def _apple() -> ObjectModel:
    radius = 0.031
    mesh = join(
        ball((radius, radius * 0.94), "red"), placed(lathe([(0.002, 0), (0.003, 0.012)], ["brown"], 5), (0, 0, 0.026))
    )
    return ObjectModel(
        "apple", mesh, (Solid("ball", (radius,)),), radius, 2 * radius, radius, 0.18, 0.0, 2 * radius, 0, rolls=True
    )


def _lemon() -> ObjectModel:
    radius = 0.024
    mesh = placed(join(ball((radius, 0.035), "lemon"), lathe([(0.006, 0.033), (0.003, 0.041)], ["leaf"], 6)), axis="x")
    solids = (Solid("capsule", (radius, 0.02), axis="x"),)
    return ObjectModel("lemon", mesh, solids, radius, 2 * radius, 0.042, 0.12, 0.0, 2 * radius, rolls=True)


def _carrot() -> ObjectModel:
    profile = [(0.002, -0.075), (0.012, -0.045), (0.017, 0.02), (0.018, 0.045), (0.008, 0.055), (0.011, 0.085)]
    mesh = placed(lathe(profile, ["orange", "orange", "orange", "leaf", "green"], 10), axis="x")
    solids = (Solid("cylinder", (0.017, 0.09), (0.005, 0, 0), "x"), Solid("cylinder", (0.009, 0.14), (0, 0, 0), "x"))
    return ObjectModel("carrot", mesh, solids, 0.017, 0.034, 0.086, 0.12, 0.004, 0.034, rolls=True)


# What objects are put into is fixed to the table: a goal image taken before shows it where it still is. Its frame lies
# on the table.


def _fixture() -> ObjectModel:
    """A square frame around the place of one block, which has 5 mm of room on each side."""
    wall, high = 0.01, 0.02
    inner, outer = FIXTURE_INNER_M, FIXTURE_INNER_M + 2 * wall
    shift = (inner + wall) / 2
    parts: list[tuple[tuple[float, ...], tuple[float, float, float]]]
    parts = [((wall, outer, high), (s * shift, 0, high / 2)) for s in (-1, 1)]
    parts += [((inner, wall, high), (0, s * shift, high / 2)) for s in (-1, 1)]
    mesh = join(*(box(size, "black", centre) for size, centre in parts))
    solids = tuple(Solid("box", size, centre) for size, centre in parts)
    return ObjectModel("fixture", mesh, solids, 0.0, high, outer / math.sqrt(2), 0.0, turns=4)


def _plate() -> ObjectModel:
    floor, inner, outer, high = CONTAINER_FLOOR_M, 0.075, 0.09, 0.016
    profile = [(0.055, 0), (outer, high - 0.002), (outer, high), (inner, floor), (0.06, floor), (0, floor)]
    mesh = lathe(profile, ["navy", "sky", "sky", "navy", "white"], 24)
    return ObjectModel("plate", mesh, _dish(0.06, inner, outer - inner, high), 0.0, high, outer, 0.0, turns=0)


def _bowl() -> ObjectModel:
    floor, inner, outer, high = CONTAINER_FLOOR_M, 0.072, 0.085, 0.04
    profile = [(0.06, 0), (outer, high), (outer - 0.005, high), (0.062, floor), (0, floor)]
    mesh = lathe(profile, ["brown", "crust", "brown", "crust"], 24)
    return ObjectModel("bowl", mesh, _dish(0.065, inner, outer - inner, high), 0.0, high, outer, 0.0, turns=0)


def _dish(base_m: float, inner_m: float, rim_m: float, high_m: float, sides: int = 8) -> tuple[Solid, ...]:
    """A thin base and a ring of boxes."""
    base = Solid("cylinder", (base_m + rim_m, CONTAINER_FLOOR_M), (0, 0, CONTAINER_FLOOR_M / 2))
    size, middle = (rim_m, 2 * inner_m * math.tan(math.pi / sides), high_m), inner_m + rim_m / 2
    angles = [math.tau * k / sides for k in range(sides)]
    ring = [Solid("box", size, (middle * math.cos(a), middle * math.sin(a), high_m / 2), yaw_rad=a) for a in angles]
    return base, *ring


_MAKERS = {
    BLOCK: _block, "box": _box, "bread": _bread, "milk": _milk, "bottle": _bottle, "banana": _banana, "can": _can,
    "cup": _cup, "apple": _apple, "lemon": _lemon, "carrot": _carrot, "fixture": _fixture, "plate": _plate,
    "bowl": _bowl,
}  # fmt: skip
FOODS = ("banana", "bottle", "milk", "box", "can", "apple", "lemon", "carrot", "bread", "cup")


def model_name(name: str) -> str:
    """The model of an object: its name without the number of further ones of the kind."""
    stem, _, number = name.rpartition("_")
    return stem if stem and number.isdigit() else name


@cache
def find_model(name: str) -> ObjectModel:
    """The model of the object of that name; AmRosError if there is none."""
    model = model_name(name)
    if model not in _MAKERS:
        raise AmRosError(f"object {name!r}: use one of {', '.join(_MAKERS)}")
    return _MAKERS[model]()
