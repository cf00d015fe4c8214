"""Weights in fewer bytes: how far they may be from what they were."""

import pytest
import torch

from am_ros.cli import main
from am_ros.errors import AmRosError
from am_ros.learning import checkpoint
from am_ros.learning.networks import NetworkConfig, make_network
from am_ros.learning.packing import SCALE, to_half, to_int8, unpacked
from am_ros.learning.policy import Policy


def test_a_number_of_a_row_is_off_by_half_a_step_of_that_row_at_most():
    torch.manual_seed(0)
    rows = torch.randn(64, 128) * torch.logspace(-6, 3, 64).unsqueeze(1)
    weights = {"flat": rows, "conv": torch.randn(32, 8, 4, 4)}
    packed = to_int8(weights)
    kinds = {"flat": torch.int8, f"flat{SCALE}": torch.float32, "conv": torch.int8, f"conv{SCALE}": torch.float32}
    assert {name: value.dtype for name, value in packed.items()} == kinds
    for name, value in unpacked(packed).items():
        rows, back = weights[name].flatten(1), value.flatten(1)
        step = rows.abs().amax(dim=1, keepdim=True) / 127
        assert ((back - rows).abs() <= 0.5001 * step).all() and value.shape == weights[name].shape


def test_small_tensors_zeros_and_numbers_without_a_point_stay():
    weights = {
        "bias": torch.randn(5000), "small": torch.randn(4, 4), "zeros": torch.zeros(64, 128),
        "count": torch.arange(8192).reshape(64, 128),
    }  # fmt: skip
    back = unpacked(to_int8(weights))
    assert back.keys() == weights.keys() and torch.equal(back["count"], weights["count"])
    assert torch.equal(back["zeros"], weights["zeros"])
    for name in ("bias", "small"):
        assert back[name].dtype == torch.float16 and torch.allclose(back[name].float(), weights[name], rtol=1e-3)


@pytest.mark.parametrize("pack", [to_half, to_int8])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_does_not_fit_is_named(pack, value):
    for weights in ({"flat.weight": torch.full((64, 128), value)}, {"bias": torch.full((3,), value)}):
        with pytest.raises(AmRosError, match=f"{next(iter(weights))} holds numbers that"):
            pack(weights)


def test_an_int8_copy_is_a_third_of_the_bytes_or_less_and_values_actions_alike(tmp_path, capsys):
    config = {"image_size": 16, "width": 128, "channels": 16, "prior_encoder": True}
    torch.manual_seed(0)
    meta = {
        "update": 5, "image_size": 16, "action_space": {"max_translation_m": [0.08] * 3, "max_rotation_rad": 0.5},
        "config": {"network": config},
    }  # fmt: skip
    weights = make_network(NetworkConfig(**config)).state_dict()
    whole = checkpoint.save(tmp_path / "whole", meta, {"model": weights})
    assert main(["model", "export", str(whole), str(tmp_path / "small"), "--int8"]) == 0
    sizes = [(folder / "model.safetensors").stat().st_size for folder in (whole, tmp_path / "small")]
    assert sizes[1] < 0.35 * sizes[0]
    one, two = (Policy.load(folder) for folder in (whole, tmp_path / "small"))
    images = torch.randint(0, 256, (2, 16, 16, 3), dtype=torch.uint8).numpy()
    values = [policy.q_of_terminating(*images) for policy in (one, two)]
    assert values[0] == pytest.approx(values[1], abs=0.01)
    before, after = one.network.state_dict(), two.network.state_dict()
    assert sum(not torch.equal(before[name], after[name]) for name in before) > 10, "all as before: nothing is tested"
