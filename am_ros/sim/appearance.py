"""How a scene looks, drawn from its seed: light, table, colours, and a camera that was bumped a little."""

import math
from dataclasses import replace

import numpy as np

from am_ros.sim.objects import BLOCK, model_name
from am_ros.sim.scene import Appearance

# Blocks of one scene differ clearly, or a goal image would not say which one is meant.
BLOCK_COLOURS = {
    "blue": (0.05, 0.25, 0.9), "red": (0.85, 0.10, 0.08), "green": (0.08, 0.60, 0.20), "purple": (0.50, 0.15, 0.70),
    "yellow": (0.95, 0.78, 0.05), "cyan": (0.10, 0.70, 0.80),
}  # fmt: skip
# At strength 1. The camera's target moves the picture by up to 2 of 64 pixels.
CAMERA_SHIFT_M, TARGET_SHIFT_M = 0.015, 0.01
AMBIENT, DIFFUSE = 0.08, 0.10
TINT = 0.18


def draw_appearance(rng: np.random.Generator, objects, strength: float = 1.0) -> Appearance:
    """The look of a scene with these objects; at strength 0 that of every scene is the same, but for the blocks.

    Blocks take colours of their own at any strength above 0.
    """
    usual = Appearance()
    azimuth, tilt = rng.uniform(-math.pi, math.pi), rng.uniform(0.2, 0.7)
    light = (tilt * math.cos(azimuth), tilt * math.sin(azimuth), 1.0)
    x, y, z = (float((1 - strength) * a + strength * b) for a, b in zip(usual.light_direction, light, strict=True))
    wobble = strength * rng.uniform(-1, 1, 8)
    tint = 1 - strength * TINT * (0.5 * rng.uniform() + 0.5 * rng.uniform(0, 1, 3))
    return Appearance(
        light_direction=(x, y, z),
        ambient=float(usual.ambient + AMBIENT * wobble[0]),
        diffuse=float(usual.diffuse + DIFFUSE * wobble[1]),
        camera_shift_m=tuple((CAMERA_SHIFT_M * wobble[2:5]).tolist()),
        target_shift_m=tuple((TARGET_SHIFT_M * wobble[5:8]).tolist()),
        table=tuple((tint * usual.table).tolist()),
        colours=_colours(rng, objects, strength),
    )


def at_another_hour(appearance: Appearance, rng: np.random.Generator, strength: float) -> Appearance:
    """The same scene under other light, its camera bumped anew: a goal recorded in the morning, pursued at night.

    Table and objects keep their colours. At strength 0 light and camera are the usual ones.
    """
    other = draw_appearance(rng, (), strength)
    return replace(other, table=appearance.table, colours=appearance.colours)


def _colours(rng: np.random.Generator, objects, strength: float) -> dict:
    colours, palette = {}, rng.permutation(list(BLOCK_COLOURS))
    blocks = [name for name in objects if model_name(name) == BLOCK]
    for name in objects:
        if name in blocks:
            number = blocks.index(name)
            colours[name] = BLOCK_COLOURS[str(palette[number])] if strength else list(BLOCK_COLOURS.values())[number]
        else:
            colours[name] = tuple((1 - strength * TINT * rng.uniform(0, 1, 3)).tolist())
    return colours
