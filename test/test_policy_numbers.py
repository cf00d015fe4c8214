"""What leaves a policy is finite and within its action space, whatever numbers its network gives."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from am_ros.errors import AmRosError
from am_ros.learning.policy import Policy
from am_ros.pretrained import find_checkpoint

IMAGES = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
STATE = np.array([1.0, 0.2, 0.55, 0.1, 0.0, 1.0], np.float32)


@pytest.fixture(scope="module")
def trained():
    """The checkpoint that comes with the package, and its weights."""
    policy = Policy.load(find_checkpoint("pick_place"))
    return policy, {name: value.clone() for name, value in policy.network.state_dict().items()}


def act(trained, change):
    """The action of the policy after `change(name, tensor)` has changed its weights."""
    policy, weights = trained
    policy.network.load_state_dict({name: change(name, value) for name, value in weights.items()})
    policy.reset(0)
    return policy, policy.act(*IMAGES, STATE)


@pytest.mark.parametrize("part", ["", "head", "film", "prior_head", "flat"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_network_that_gives_no_numbers_gives_no_action(trained, part, value):
    with pytest.raises(AmRosError, match="^policy_not_finite: "):
        act(trained, lambda name, tensor: torch.full_like(tensor, value) if name.startswith(part) else tensor)


@settings(max_examples=60, deadline=None)
@given(exponent=st.floats(0, 38), part=st.sampled_from(["stem", "flat", "norm", "hidden", "film", "head", "prior"]))
def test_huge_values_give_a_step_within_the_limits_or_none(trained, exponent, part):
    try:
        policy, decision = act(trained, lambda name, t: t * 10**exponent if name.startswith(part) else t)
    except AmRosError as error:
        assert str(error).startswith("policy_not_finite: ")
    else:
        policy.action_space.check(decision.action)
        assert 0 <= decision.q_value <= 1
