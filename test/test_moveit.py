"""MoveIt's bindings as the planner's process calls them, played by test/moveit_double."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
import test_backends
from test_backends import CONFIG, HOME, PLANNER, STEP, STEPPER, plan, refusal

from am_ros.action import CartesianAction
from am_ros.control.backends import BackendConfig
from am_ros.control.backends.moveit import MoveItBackend
from am_ros.control.controller import make_guard
from am_ros.control.limits import MotionLimits
from am_ros.control.trajectory import JointTrajectory
from am_ros.errors import AmRosError
from am_ros.ros.arm.moveit_planner import from_message
from am_ros.ros.arm.moveit_planner import refusal as moveit_refusal
from am_ros.ros.messages.controller import trajectory_message

backend = test_backends.backend  # the fixture


@pytest.fixture
def moveit_config(monkeypatch):
    """The configuration of a cell with MoveIt; its bindings are found by the planner's process."""
    double = Path(__file__).parent / "moveit_double"
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(double), os.environ.get("PYTHONPATH", "")]))

    def make(**planner):
        values = replace(PLANNER, planner="moveit", **planner)
        return replace(CONFIG, backend=BackendConfig("moveit", values), limits=MotionLimits(velocity_scale=0.8))

    return make


def test_moveit_is_asked_for_the_way_and_its_answer_is_put_into_our_order(moveit_config, backend):
    there = backend(moveit_config())
    assert there.name == "MoveIt, pilz_industrial_motion_planner LIN"
    planned = plan(there)
    assert np.allclose(planned.positions[0], HOME) and not planned.velocities[[0, -1]].any()
    checked = make_guard(moveit_config(), STEPPER).check(planned, HOME)
    start, end = (STEPPER.kinematics.forward(checked.positions[k])[0] for k in (0, -1))
    assert np.allclose(end, start + STEP.translation_m, atol=1e-4)
    line = (end - start) / np.linalg.norm(end - start)
    for t in np.linspace(0, checked.duration_s, 50):
        off = STEPPER.kinematics.forward(checked.at(t)[0])[0] - start
        assert np.linalg.norm(off - off @ line * line) < 1e-3
    high = STEPPER.kinematics.home((0.55, 0.0, 0.26))
    assert refusal(there, high, CartesianAction((0.0, 0.0, 0.05))) == (
        "scene_collision: the goal is not valid in MoveIt's planning scene"
    )


def test_moveit_listens_where_driver_and_move_group_speak(moveit_config, capfd):
    config = moveit_config(moveit_namespace="lbr")
    MoveItBackend(config, STEPPER, [].append, "/lbr/joint_states", use_sim_time=True).close()
    said = capfd.readouterr().err
    for line in (
        "am_ros_moveit: joint_states is /lbr/joint_states",
        "am_ros_moveit: planning_scene is /lbr/monitored_planning_scene",
        "am_ros_moveit: monitored_planning_scene is /am_ros_moveit/monitored_planning_scene",
        "am_ros_moveit: attached_collision_object is /lbr/attached_collision_object",
        "asked /lbr/get_planning_scene",
        "moveit: nobody offers /lbr/get_planning_scene: objects are seen from now on only",
        "use_sim_time True, controllers ''",
    ):
        assert line in said


@pytest.mark.parametrize(
    ("planner", "ours", "sentence"),
    [
        ({"planner_group": "arms"}, {}, "parameter planner_group: MoveIt's iiwa14 has no group 'arms', but arm, hand"),
        ({"planner_tip": "tool0"}, {}, "parameter planner_tip: MoveIt's group arm has no link 'tool0', but lbr_link_0"),
        ({}, {"base_frame": "lbr_link_0"}, "parameter base_frame: MoveIt's iiwa14 has no frame 'lbr_link_0'"),
        (
            {},
            {"joint_names": tuple(f"lbr_A{i}" for i in range(1, 8))},
            "parameter planner_group: joints of arm are joint_a1, .*, joint_names has lbr_A1, ",
        ),
        ({"moveit_package": "iiwa99"}, {}, "parameter moveit_package: iiwa99: package 'iiwa99' not found"),
        ({"moveit_urdf": "iiwa99/x.urdf"}, {}, "parameter moveit_package: iiwa14_moveit_config: .*'iiwa99' not found"),
        (
            {"moveit_joint_limits": "am_ros/none.yaml"},
            {},
            "parameter moveit_package: iiwa14_moveit_config: File .*/am_ros/none.yaml doesn't exist$",
        ),
    ],
)
def test_names_that_moveit_does_not_know_are_named_first(moveit_config, backend, planner, ours, sentence):
    with pytest.raises(AmRosError, match=sentence):
        backend(replace(moveit_config(**planner), **ours))


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ("old", "moveit_py is older than 2.12.3, which cannot be told the driver's topics: apt install"),
        ("no_states", "moveit: Unable to configure planning scene monitor: .*joints on /joint_states within 10 s"),
    ],
)
def test_a_moveit_that_does_not_come_up_says_why(moveit_config, backend, monkeypatch, fault, sentence):
    monkeypatch.setenv("MOVEIT_DOUBLE", fault)
    with pytest.raises(AmRosError, match=sentence):
        backend(moveit_config())


def test_an_exception_of_moveit_costs_a_step_and_a_signal_ends_its_process(moveit_config, backend, monkeypatch):
    monkeypatch.setenv("MOVEIT_DOUBLE", "throws")
    there = backend(moveit_config())
    for _ in range(2):
        assert refusal(there) == "planning_failed: MoveIt: vector::_M_range_check"
    # Beside it another test of this process may have left a helper of Python's.
    (planner,) = [p for p in psutil.Process().children() if "am_ros.ros.arm.moveit_planner" in p.cmdline()]
    assert os.getpgid(planner.pid) == planner.pid  # Ctrl-C is not for it
    planner.terminate()
    assert refusal(there).startswith("backend_gone: the planner was ended by SIGTERM")


def test_why_moveit_finds_no_way_is_said_in_its_own_words():
    class MoveItErrorCodes:  # of moveit_msgs
        PLANNING_FAILED, INVALID_MOTION_PLAN, NO_IK_SOLUTION = -1, -2, -31
        message = ""

    def said(val, message=""):
        code = MoveItErrorCodes()
        code.val, code.message = val, message
        return moveit_refusal(code, "LIN")

    assert said(-31) == "unreachable: MoveIt finds no joint angles for the goal (MoveIt: NO_IK_SOLUTION)"
    assert said(-2).startswith("scene_collision: the way is not valid in MoveIt's planning scene (MoveIt: INVALID_")
    assert said(-1, "too fast") == "planning_failed: LIN found no way (MoveIt: PLANNING_FAILED: too fast)"
    assert said(-77) == "planning_failed: LIN found no way (MoveIt: -77)"


def test_a_plan_in_samples_with_velocities_that_come_late_is_made_smooth():
    times = np.append(np.arange(0, 0.95, 0.1), 0.9501)  # as Pilz samples: the last interval is what is left
    way = 0.3 * np.clip(times / 0.95, 0, 1) ** 2 * (3 - 2 * np.clip(times / 0.95, 0, 1))
    late = np.append(np.diff(way, prepend=0.0)[:-1] / 0.1, 0.0)
    stands = np.full_like(way, 0.5)
    believed = JointTrajectory(times, np.stack([way, stands], axis=1), np.stack([late, 0 * late], axis=1))
    message = trajectory_message(believed, ("a", "b"))
    smooth = from_message(message, ("b", "a"))
    assert np.allclose(smooth.positions, np.stack([stands, way], axis=1))
    steepest = 6 * 0.3 / 0.95**2  # of the way itself
    assert smooth.peaks()[1][1] < 1.1 * steepest < 0.8 * believed.peaks()[1][0]
    assert not smooth.velocities[[0, -1]].any()
    with pytest.raises(AmRosError, match="planner_joints: the plan lacks c"):
        from_message(message, ("a", "c"))


def test_a_plan_that_moveit_does_not_find_is_named(moveit_config, backend):
    assert refusal(backend(moveit_config(planner_id="PTP_that_fails"))) == (
        "planning_failed: PTP_that_fails found no way (MoveIt: PLANNING_FAILED: No ContextLoader for planner_id)"
    )
