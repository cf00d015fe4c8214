"""Light, noise and a camera that was bumped: what may differ between a picture and its goal, on uint8 pixels.

A goal is recorded in the morning and pursued in the evening. Each light is a table from pixel values to pixel values,
so any of them costs one look-up per pixel.
"""

from functools import lru_cache

import numpy as np

_BANK = 1 << 20  # noise that is there already: pictures take it from places drawn at random


def light_tables(rng: np.random.Generator, count: int, strength: float) -> np.ndarray:
    """Lights as tables from pixel values to pixel values, uint8 [count, 3, 256], a table for each channel.

    At strength 1: gain 0.7 ... 1.3 for all channels and 0.9 ... 1.1 for each, offset of 0.1, gamma 0.7 ... 1.4.
    """
    spread = strength * rng.uniform(-1, 1, (count, 6))
    gain = (1 + 0.3 * spread[:, :1]) * (1 + 0.1 * spread[:, 1:4])  # [count, 3]
    offset, gamma = 0.1 * spread[:, 4, None, None], 1.4 ** spread[:, 5, None, None]
    values = (np.arange(256) / 255)[None, None] ** gamma
    return (255 * (values * gain[..., None] + offset)).clip(0, 255).round().astype(np.uint8)


def light(images: np.ndarray, tables: np.ndarray) -> None:
    """Put images uint8 [B, H, W, 3] under the light of their tables [B, 3, 256]."""
    shape = images.shape[1:3]
    for image, of_channels in zip(images, tables, strict=True):
        for channel, table in enumerate(of_channels):
            # bytes.translate takes two thirds of the time of np.take, which makes 8-byte indices of the pixels
            seen = image[..., channel].tobytes().translate(table.tobytes())
            image[..., channel] = np.frombuffer(seen, np.uint8).reshape(shape)


def add_noise(images: np.ndarray, levels: int, places: np.ndarray) -> None:
    """Add uniform noise of -levels ... levels to images uint8 [B, H, W, 3], all channels apart.

    `places` in 0 ... 1 [B] say where in a bank of noise each picture takes its own. Pixels stay within 0 ... 255:
    those closer than `levels` to an end are moved there first.
    """
    bank = _bank(levels)
    for image, place in zip(images, places, strict=True):
        begin = int(place * (len(bank) - image.size)) if image.size < len(bank) else 0
        noise = np.resize(bank[begin : begin + image.size], image.shape)
        np.clip(image, levels, 255 - levels, out=image)
        image += noise
        image -= np.uint8(levels)


@lru_cache(maxsize=4)
def _bank(levels: int) -> np.ndarray:
    """Noise plus `levels`, uint8 [2^20], always the same."""
    return np.random.default_rng(levels).integers(0, 2 * levels + 1, _BANK, dtype=np.uint8)
