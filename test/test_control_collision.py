"""The arm does not hit itself or the table, and the work on the table stays possible."""

import re

import numpy as np
import pytest

from am_ros.action import CartesianAction
from am_ros.control.cartesian import CartesianStepper
from am_ros.control.collision import CollisionConfig, CollisionModel
from am_ros.control.controller import ControllerConfig, make_guard, make_stepper
from am_ros.control.guard import GuardConfig
from am_ros.control.limits import MotionLimits
from am_ros.control.robot import MODELS, robot_description, robot_model
from am_ros.errors import AmRosError

STEPPERS = {model: CartesianStepper.for_model(model) for model in MODELS}
COLLISIONS = {model: CollisionModel(robot_description(model), robot_model(model).joint_names) for model in MODELS}
LOW, HIGH = MotionLimits().box
NAMES = robot_model("iiwa14").joint_names


@pytest.mark.parametrize("model", MODELS)
def test_the_whole_workspace_is_free_down_to_its_floor(model):
    rng, kinematics = np.random.default_rng(0), STEPPERS[model].kinematics
    corners = [np.where([i & 1, i & 2, i & 4], HIGH, LOW) for i in range(8)]
    for position in [*corners, *rng.uniform(LOW, HIGH, (50, 3))]:
        q = kinematics.home(position, rng.uniform(-1.5, 1.5))
        COLLISIONS[model].check(q[None])
        assert COLLISIONS[model].nearest(q)[2] > 0


def folded(**angles):
    q = np.zeros(7)
    for name, value in angles.items():
        q[int(name[1]) - 1] = value
    return q


@pytest.mark.parametrize(
    "q, refusal",
    [
        (folded(a2=1.2, a4=-2.0, a6=-1.2), "table_collision: (palm|finger_left|finger_right|link_.) and table"),
        (folded(a2=2.0), "table_collision: .* and table"),
        (folded(a2=1.0, a4=-2.09, a6=1.5), "self_collision: finger_(left|right) and link_0 come within"),
        (folded(a2=1.2, a4=-2.09, a6=1.7), "self_collision: finger_(left|right) and link_1 come within"),
    ],
)
def test_a_pose_in_collision_is_refused_by_the_names_of_the_links(q, refusal):
    with pytest.raises(AmRosError, match=f"^{refusal}"):
        COLLISIONS["iiwa14"].check(np.stack([np.zeros(7), q]))


def test_what_lies_between_free_ends_counts():
    over, low = (STEPPERS["iiwa14"].kinematics.home((0.6, 0.0, z)) for z in (0.1, 0.012))
    with pytest.raises(AmRosError, match="^table_collision: finger_(left|right) and table"):
        COLLISIONS["iiwa14"].check(np.stack([over, low, over]))


def test_an_arm_that_was_guided_too_near_may_leave_but_come_no_nearer():
    kinematics = STEPPERS["iiwa14"].kinematics
    q = [kinematics.home((0.6, 0.0, z)) for z in (0.016, 0.0158, 0.0125, 0.1)]
    COLLISIONS["iiwa14"].check(np.array([q[0], q[1], q[3]]))  # 1 mm above the table; 0.2 mm less is no matter
    with pytest.raises(AmRosError, match="^table_collision"):
        COLLISIONS["iiwa14"].check(np.array([q[0], q[2], q[3]]))


def test_the_guard_refuses_a_step_into_the_table_where_the_workspace_would_allow_it():
    limits = MotionLimits(workspace_z_m=(-0.1, 0.3))
    for check in (True, False):
        config = ControllerConfig(limits=limits, guard=GuardConfig(collision=CollisionConfig(collision_check=check)))
        stepper = make_stepper(config)
        guard, q = make_guard(config, stepper), stepper.kinematics.home((0.55, 0.0, 0.05))
        plan = stepper.plan(q, CartesianAction((0.0, 0.0, -0.05)))
        if check:
            with pytest.raises(AmRosError, match="^table_collision: finger_"):
                guard.check(plan, q)
        else:
            guard.check(plan, q)


def test_the_height_of_the_table_is_a_parameter():
    high = CollisionModel(robot_description(), NAMES, CollisionConfig(table_z_m=0.2))
    with pytest.raises(AmRosError, match="^table_collision: .* and table plane"):
        high.check(np.array([STEPPERS["iiwa14"].kinematics.home((0.55, 0.0, z)) for z in (0.25, 0.18)]))


def test_a_description_without_shapes_is_refused_by_name():
    text = robot_description()
    bare = re.sub(r"<collision>.*?</collision>", "", text, flags=re.S)
    with pytest.raises(AmRosError, match="^robot description: no link of the arm has a collision shape"):
        CollisionModel(bare, NAMES)
    mesh = r'<collision>\1<mesh filename="package://nobody/x.stl"/>'
    lost = re.sub(r"<collision>(.*?)<cylinder [^>]*>", mesh, text, flags=re.S)
    with pytest.raises(AmRosError, match="^robot description: collision shapes: .*collision_check: false"):
        CollisionModel(lost, NAMES)
