"""Batches on their way to the device: the same pixels whoever shifts them, and memory that is used again."""

from dataclasses import fields

import numpy as np
import pytest
import torch
from learning_data import random_episodes

from am_ros.learning.loader import Loader, shifted, to_tensors
from am_ros.replay.gather import Gather, shift_into
from am_ros.replay.prefetch import Prefetcher
from am_ros.replay.sampling import GoalConfig, Sampler
from am_ros.replay.store import ReplayStore


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    store = ReplayStore.create(tmp_path_factory.mktemp("loader") / "store", (16, 16))
    store.append(random_episodes(8, steps=6, size=16))
    return store


def _padded_and_cut(image, down, right, most=40):
    padded = np.pad(image, ((most, most), (most, most), (0, 0)), mode="edge")
    return padded[most + down :, most + right :][: len(image), : image.shape[1]]


def test_a_shift_repeats_the_border_on_the_way_and_on_the_device_alike():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (40, 16, 24, 3), dtype=np.uint8)
    shift = np.concatenate([rng.integers(-5, 6, (36, 2)), [(0, 0), (-40, 30), (15, -15), (16, 24)]])
    expected = np.stack([_padded_and_cut(image, *by) for image, by in zip(images, shift, strict=True)])
    on_the_way = np.empty_like(images)
    for place, image, (down, right) in zip(on_the_way, images, shift.tolist(), strict=True):
        shift_into(place, image, down, right)
    np.testing.assert_array_equal(on_the_way, expected)
    np.testing.assert_array_equal(shifted(torch.from_numpy(images), torch.from_numpy(shift)).numpy(), expected)


@pytest.mark.parametrize("photometric", [0.0, 0.5])
def test_a_batch_is_the_same_with_the_shift_on_the_device_and_with_more_threads(store, photometric):
    config = GoalConfig(random_shift_px=3, photometric=photometric)
    sampler = Sampler(store, config, 21, seed=4)
    plain = to_tensors(sampler.batch(2), "cpu")
    sampler.gather = Gather(threads=3, shifts=False)
    raw = sampler.batch(2)
    assert raw.shift.any() and not np.array_equal(raw.image, plain["image"].numpy())
    later = to_tensors(raw, "cpu")
    for name in set(plain) - {"shift"}:
        assert torch.equal(plain[name], later[name]), name


def test_batches_come_in_order_and_each_is_whole_until_the_next(store):
    sampler = Sampler(store, GoalConfig(), 8, seed=1)
    with Prefetcher(sampler, 5) as prefetcher:
        for step in range(5, 15):
            got, expected = prefetcher.next(), Sampler(store, GoalConfig(), 8, seed=1).batch(step)
            for f in fields(got):
                np.testing.assert_array_equal(getattr(got, f.name), getattr(expected, f.name))


def test_the_loader_hands_over_what_a_thread_of_it_met(store):
    sampler = Sampler(store, GoalConfig(), 8, seed=1)
    with Loader(sampler, 0, torch.device("cpu"), threads=2) as loader:
        loader.next()
        sampler.store = None
        with pytest.raises(AttributeError):
            for _ in range(5):
                loader.next()
