"""What the networks compute, in one byte per pixel and in bf16."""

import pytest
import torch

from am_ros.action import ACTION_DIM
from am_ros.episode import STATE_DIM
from am_ros.errors import AmRosError
from am_ros.learning.layers import Stem
from am_ros.learning.networks import NetworkConfig, make_network


def test_the_stem_sees_every_pixel_value_centred():
    torch.manual_seed(0)
    stem, pixels = Stem(4), torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8)
    pixels[0, 0, 0] = torch.tensor([0, 128, 255], dtype=torch.uint8)
    before = pixels.clone()
    cells = (pixels.float() - 128).reshape(2, 32, 16, 6).permute(0, 3, 1, 2) / 64
    plain = torch.nn.functional.conv2d(cells, stem.conv.weight, stem.conv.bias / 64, stride=(4, 2), padding=(2, 1))
    assert torch.allclose(stem(pixels), plain, atol=1e-5)
    assert torch.equal(pixels, before)


def test_a_head_in_bf16_says_what_it_says_in_fp32():
    torch.manual_seed(0)
    network = make_network(NetworkConfig(image_size=16, width=64, channels=4))
    encoding, actions = torch.relu(torch.randn(8, 64)), torch.rand(8, 5, ACTION_DIM)
    exact = network.score(encoding, actions)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = network.score(encoding, actions)
    assert rounded.dtype == torch.bfloat16 and (rounded.float() - exact).abs().max() < 0.03


@pytest.mark.parametrize(
    ("size", "stem_stride", "stages", "cells"), [(64, 4, 0, 64), (128, 8, 0, 64), (128, 4, 1, 64), (64, 8, 2, 1)]
)
def test_a_larger_stride_or_a_stage_more_takes_larger_images_to_as_many_cells(size, stem_stride, stages, cells):
    config = NetworkConfig(image_size=size, stem_stride=stem_stride, stages=stages, width=16, channels=4)
    network, pixels = make_network(config), torch.randint(0, 256, (2, size, size, 3), dtype=torch.uint8)
    assert network.flat.in_features == 8 * cells
    state, last = torch.zeros(2, STATE_DIM), pixels.clone()
    last[:, size - 4 :] ^= 255
    before, after = (network.encode(image, pixels, state) for image in (pixels, last))
    assert before.shape == (2, 16) and not torch.equal(before, after), "it sees the last rows"


def test_an_image_that_is_no_whole_number_of_cells_is_refused_with_their_size():
    with pytest.raises(AmRosError, match="image_size: 72 is not a multiple of 16, as the small network needs"):
        make_network(NetworkConfig(image_size=72, stem_stride=8))
    with pytest.raises(AmRosError, match="image_size: 72 is not a multiple of 32"):
        make_network(NetworkConfig(image_size=72, stem_stride=4, stages=2))
