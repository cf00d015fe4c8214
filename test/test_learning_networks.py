"""What the networks compute, in one byte per pixel and in bf16."""

import torch

from am_ros.action import ACTION_DIM
from am_ros.learning.networks import NetworkConfig, Stem, make_network


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
