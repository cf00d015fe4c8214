"""What is drawn over a picture of the cell: the step as an arrow, and the candidates of the search coloured by Q."""

import math
from collections.abc import Sequence

from am_ros.page.projection import Projection
from am_ros.page.source import Candidate, PursuitStep

SIZE = 100.0  # of the drawing's shorter side; all lengths below are in such parts
DOT, HEAD, HALO = 1.1, 5.0, 1.2


def colour(q: float) -> str:
    """From blue (the lowest Q) over white to red, as the pictures of `am-ros qmap`."""
    q = min(max(q, 0.0), 1.0)
    low, middle, high = (33, 102, 172), (235, 235, 235), (178, 24, 43)
    a, b, t = (low, middle, 2 * q) if q < 0.5 else (middle, high, 2 * q - 1)
    return "rgb({},{},{})".format(*(round(x + (y - x) * t) for x, y in zip(a, b, strict=True)))


def q_range(candidates: Sequence[Candidate]) -> tuple[float, float]:
    """The lowest and the highest Q; 0 and 1 of none."""
    values = [one.q_value for one in candidates if math.isfinite(one.q_value)]
    return (min(values), max(values)) if values else (0.0, 1.0)


def shares(candidates: Sequence[Candidate]) -> list[tuple[Candidate, float]]:
    """Each candidate with where its Q lies between the lowest (0) and the highest (1), the highest last: on top."""
    low, high = q_range(candidates)
    known = [one for one in candidates if math.isfinite(one.q_value)]
    return [
        (one, (one.q_value - low) / (high - low) if high > low else 0.5)
        for one in sorted(known, key=lambda one: one.q_value)
    ]


def overlay(
    projection: Projection | None, step: PursuitStep | None, candidates: Sequence[Candidate] = (), weight: float = 1.0
) -> str:
    """An SVG to lie over the camera's picture of any size; empty where the camera's pose is not known.

    `weight`: of lines, more than 1 for small pictures.
    """
    if projection is None or step is None or step.start_m is None:
        return ""
    scale = SIZE / min(projection.width, projection.height)
    width, height = projection.width * scale, projection.height * scale

    def place(position_m) -> tuple[float, float] | None:
        share = projection.share(position_m)
        return (share[0] * width, share[1] * height) if share else None

    parts = []
    for one, share in shares(candidates):
        if at := place(one.position_m):
            parts.append(f'<circle cx="{at[0]:.1f}" cy="{at[1]:.1f}" r="{DOT}" fill="{colour(share)}" opacity=".85"/>')
    tool = place(step.start_m)
    tip = place([here + way for here, way in zip(step.start_m, step.translation_m, strict=True)])
    if tool and (tip is None or step.terminate or math.dist(tool, tip) < HALO):
        parts += [_ring(tool, "#fff", 2.4), _ring(tool, "#c9230f", 1.2)]
    elif tool and tip:
        parts += [_arrow(tool, tip, "#fff", HALO, weight), _arrow(tool, tip, "#c9230f", 0.0, weight)]
    return (
        f'<svg viewBox="0 0 {width:.1f} {height:.1f}" preserveAspectRatio="xMidYMid meet" role=img '
        f'aria-label="the step that the policy chose">{"".join(parts)}</svg>'
    )


def _ring(at: tuple[float, float], stroke: str, width: float) -> str:
    return f'<circle cx="{at[0]:.1f}" cy="{at[1]:.1f}" r="3" fill="none" stroke="{stroke}" stroke-width="{width}"/>'


def _arrow(tool: tuple[float, float], tip: tuple[float, float], paint: str, halo: float, weight: float) -> str:
    """A shaft and a head; drawn first in white and a little larger, it is seen on any picture."""
    length = math.dist(tool, tip)
    along = (tip[0] - tool[0]) / length, (tip[1] - tool[1]) / length
    across = -along[1], along[0]
    head = min(HEAD * weight, length)
    neck = tip[0] - head * along[0], tip[1] - head * along[1]
    wide = head * 0.5
    corners = [tip, *((neck[0] + s * wide * across[0], neck[1] + s * wide * across[1]) for s in (1, -1))]
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in corners)
    return (
        f'<line x1="{tool[0]:.1f}" y1="{tool[1]:.1f}" x2="{neck[0]:.1f}" y2="{neck[1]:.1f}" stroke="{paint}" '
        f'stroke-width="{1.6 * weight + halo:.1f}" stroke-linecap="round"/><polygon points="{points}" fill="{paint}" '
        f'stroke="{paint}" stroke-width="{halo:.1f}" stroke-linejoin="round"/>'
    )
