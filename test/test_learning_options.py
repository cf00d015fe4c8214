"""Options beyond the paper's text: negatives that a search proposes, random goals skewed to high Q."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from am_ros.action import ACTION_DIM, CLOSE, OPEN
from am_ros.errors import AmRosError
from am_ros.learning.cem import uniform_actions
from am_ros.learning.methods import MethodConfig, loss
from am_ros.learning.methods.actionable_models import (
    _kernel_targets,
    _ranking,
    negative_actions,
    search_actions,
    skew_goals,
)
from am_ros.learning.networks import NetworkConfig, make_network

PEAK = torch.tensor([0.5, -0.5, 0.0, 0.2])


def _score(actions):
    """Logits that are highest at PEAK with the gripper open."""
    near = -(actions[..., :-3] - PEAK).square().sum(dim=-1)
    return near - 5 * (1 - actions[..., OPEN])


def test_searched_negatives_lie_where_q_is_high():
    generator = torch.Generator().manual_seed(0)
    seen = torch.zeros(64, ACTION_DIM)
    seen[:, OPEN] = 1
    found = search_actions(_score, seen, 8, generator)
    uniform, _ = negative_actions(seen, MethodConfig(negatives=8, perturbed_share=0.0), generator)
    assert found.shape == (64, 8, ACTION_DIM)
    assert _score(found).mean() > _score(uniform).mean() + 1.5
    assert (found[..., OPEN] == 1).float().mean() > 0.9
    assert found[..., :-3].abs().max() <= 1


def test_candidates_are_as_many_as_asked_for_and_shares_beyond_one_are_refused():
    seen = torch.zeros(3, ACTION_DIM)
    seen[:, OPEN] = 1
    config = MethodConfig(negatives=12, perturbed_share=0.25, flipped_share=0.25, searched_share=0.5)
    candidates, far = negative_actions(seen, config, None, _score)
    assert candidates.shape == (3, 12, ACTION_DIM) and far.shape == (3, 12)
    with pytest.raises(AmRosError, match="data_share: their sum must not exceed 1"):
        negative_actions(seen, MethodConfig(negatives=12, flipped_share=0.5, searched_share=0.5), None, _score)


class NearGoals(torch.nn.Module):
    """Q is high for goals whose number is near that of the observation, whatever the action."""

    def encode(self, image, goal_image, state):
        return -(image - goal_image).abs()

    def score(self, encoding, actions):
        return encoding.expand(-1, actions.shape[1])


def _numbered(count):
    rows = torch.arange(count)
    return {
        "image": rows.float().unsqueeze(1),
        "goal_image": rows.roll(7).float().unsqueeze(1),
        "state": torch.zeros(count, 1),
        "action": torch.zeros(count, ACTION_DIM),
        "steps_to_goal": torch.where(rows % 4 == 0, 3, -1),
        "rewarded": rows % 10 == 9,
    }


def test_random_goals_are_skewed_to_those_that_q_calls_near():
    batch = _numbered(40)
    config = MethodConfig(goal_candidates=40, goal_temperature=0.01)
    skewed = skew_goals(NearGoals(), batch, config, torch.Generator().manual_seed(0))
    free = (batch["steps_to_goal"] < 0) & ~batch["rewarded"]
    assert torch.equal(skewed["goal_image"][~free], batch["goal_image"][~free])  # hindsight and rewards stay
    offered = batch["goal_image"][~batch["rewarded"]]  # hindsight goals are observations, too; no goal is none
    assert set(skewed["goal_image"][free].flatten().tolist()) <= set(offered.flatten().tolist())
    before = (batch["image"] - batch["goal_image"])[free].abs().mean()
    after = (skewed["image"] - skewed["goal_image"])[free].abs().mean()
    assert after < before / 2
    few = skew_goals(NearGoals(), batch, MethodConfig(goal_candidates=4), torch.Generator().manual_seed(0))
    own = set(batch["goal_image"][free].flatten().tolist())  # while the random goals suffice, no other is taken
    assert set(few["goal_image"][free].flatten().tolist()) <= own


def test_a_loss_with_both_options_is_finite_and_leaves_the_batch_alone():
    torch.manual_seed(0)
    network = make_network(NetworkConfig(preset="state", observation_size=1, width=16))
    batch = _numbered(40)
    batch |= {
        "state": torch.zeros(40, 6), "next_state": torch.zeros(40, 6), "next_image": batch["image"] + 1,
        "next_action": batch["action"], "other_actions": batch["action"].unsqueeze(1),
        "final": torch.zeros(40, dtype=torch.bool), "near_goal": torch.zeros(40, dtype=torch.bool),
        "ended": torch.zeros(40, dtype=torch.bool), "reward": torch.zeros(40),
    }  # fmt: skip
    goals = batch["goal_image"].clone()
    config = MethodConfig(negatives=8, searched_share=0.25, goal_candidates=4)
    total, parts = loss(network, network, batch, config, torch.Generator().manual_seed(0))
    total.backward()
    assert torch.isfinite(total) and all(torch.isfinite(v) for v in parts.values())
    assert torch.equal(goals, batch["goal_image"])


def test_near_candidates_share_the_target_of_the_seen_action_and_none_is_dropped():
    seen = torch.zeros(1, ACTION_DIM)
    seen[:, OPEN] = 1
    near, far, other = seen.clone(), seen.clone(), torch.zeros(1, ACTION_DIM)
    near[:, 0], far[:, 0], other[:, CLOSE] = 0.1, 1.0, 1
    candidates = torch.stack([near, far, other], dim=1)
    targets = _kernel_targets(seen, candidates, torch.tensor([0.8]), 0.25)
    assert targets[0, 0] == pytest.approx(0.8 * np.exp(-0.5 * 0.4**2)) and targets[0, 1] < 1e-3
    assert targets[0, 2] == 0, "another gripper command is another action"
    config = MethodConfig(negatives=3, data_share=1.0, perturbed_share=0.0, kernel_std=0.25)
    assert negative_actions(seen, config, None, None, candidates)[1].all()
    assert not negative_actions(seen, replace(config, kernel_std=0.0), None, None, candidates)[1][0, 0]


def test_ranking_asks_for_an_order_and_ignores_what_is_close():
    seen, unseen = torch.tensor([1.0]), torch.tensor([[0.0, 50.0]])
    far = torch.tensor([[True, False]])
    wanted = -torch.log_softmax(torch.tensor([1.0, 0.0]), dim=0)[0]
    torch.testing.assert_close(_ranking(seen, unseen, far), wanted[None])
    assert _ranking(seen, unseen, far & False) == 0, "nothing to be better than"


@pytest.mark.parametrize("prior", [False, True])
def test_q_sees_actions_beside_points_that_the_encoding_names(prior):
    torch.manual_seed(0)
    network = make_network(
        NetworkConfig(preset="state", observation_size=3, width=16, anchors=2, behaviour_prior=prior)
    )
    encoding = network.encode(torch.randn(4, 3), torch.randn(4, 3), torch.zeros(4, 6))
    actions = uniform_actions(4, 5)
    together = network.score(encoding, actions)
    alone = torch.stack([network.score(encoding, actions[:, i : i + 1]).squeeze(1) for i in range(5)], dim=1)
    torch.testing.assert_close(together, alone)
    together.sum().backward()
    assert network.anchors.points.weight.grad.abs().sum() > 0
    if prior:
        assert all(p.grad is None for p in network.prior_head.parameters()), "cloning alone moves its proposal"


@pytest.mark.parametrize("preset", ["small", "state"])
@pytest.mark.parametrize("factored", [0, 8])
def test_further_layers_lie_between_encoder_and_head(preset, factored):
    config = NetworkConfig(preset=preset, image_size=16, observation_size=3, width=16, factored=factored)
    plain, deep = make_network(config), make_network(replace(config, layers=2))
    new = deep.state_dict().keys() - plain.state_dict().keys()
    assert new and all("layers." in name for name in new), "a checkpoint without them still fits"
    inputs = (torch.randn(4, 3),) * 2 if preset == "state" else (torch.zeros(4, 16, 16, 3, dtype=torch.uint8),) * 2
    deep.score(deep.encode(*inputs, torch.zeros(4, 6)), uniform_actions(4, 2)).sum().backward()
    assert all(p.grad.abs().sum() > 0 for name, p in deep.named_parameters() if "layers.0.dense" in name)
