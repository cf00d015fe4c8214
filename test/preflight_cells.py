"""What the pre-flight check observes of a cell in which nothing is wrong, to be changed by its tests."""

import dataclasses

import numpy as np
from test_images import picture

from am_ros.cell.graph import sim_nodes
from am_ros.preflight.cell import Cell
from am_ros.preflight.commands import NUMBERS_TYPE, TRAJECTORY_TYPE
from am_ros.preflight.findings import WRONG
from am_ros.preflight.observed import Endpoint, ImageSeen, JointsSeen, Observed, TopicSeen
from am_ros.preflight.streams import streams

HOME_RAD = (0.0, 0.55, 0.0, -1.45, 0.0, np.pi - 2.0, 0.0)
NOW_NS = 1_700_000_000_000_000_000


def make_cell(tmp_path, **arguments) -> Cell:
    arguments = {"goals": str(tmp_path / "goals"), "bags": str(tmp_path / "bags")} | arguments
    return Cell(tuple(sim_nodes(**arguments)))


def healthy(cell: Cell, seconds: float = 3.0) -> Observed:
    """What a cell shows in which nothing is wrong."""
    seen = {}
    for stream in streams(cell):
        times = np.arange(0, seconds, 1 / stream.rate_hz)
        seen[stream.name] = TopicSeen(
            stream.name, (Endpoint("/sim_workcell", stream.type, reliable=False),), (),
            times.tolist(), [NOW_NS + int(t * 1e9) for t in times], [0.005] * len(times), {"optical"}, 0, seconds,
        )  # fmt: skip
    trajectory = TopicSeen("/joint_trajectory", (), (Endpoint("/sim_workcell", TRAJECTORY_TYPE),))
    seen[trajectory.name] = trajectory
    seen["/gripper_command"] = TopicSeen("/gripper_command", (), (Endpoint("/sim_workcell", NUMBERS_TYPE),))
    positions = dict(zip(cell.controller.joint_names, HOME_RAD, strict=True))
    positions |= dict.fromkeys(cell.controller.finger_names, 0.045)
    joints = JointsSeen(positions, dict.fromkeys(positions, 0.0))
    return Observed(seen, joints, ImageSeen(picture(64, 64)), (64, 64))


def found(findings, level=WRONG) -> dict[str, str]:
    """Names and sentences of the findings of a level."""
    return {f.name: str(f) for f in findings if f.level == level}


def change(cell, name, of: Observed | None = None, **changes) -> Observed:
    """A healthy cell with one topic changed."""
    observed = of or healthy(cell)
    observed.topics[name] = dataclasses.replace(observed.topics[name], **changes)
    return observed


def urdf(lower=-2.96, upper=2.96, velocity=10.0, names=None) -> str:
    names = names or [f"joint_a{i}" for i in range(1, 8)]
    joint = '<joint name="{}" type="revolute"><limit lower="{}" upper="{}" velocity="{}" effort="1"/></joint>'
    return f'<robot name="x">{"".join(joint.format(n, lower, upper, velocity) for n in names)}</robot>'
