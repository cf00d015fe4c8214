"""Actions of other moments: each may come, a batch is a function of its number, a large store costs few fetches."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from am_ros.replay import pool
from am_ros.replay.pool import BATCHES, POOL, ActionPool

FEW, MANY = 1000, 40 * POOL


def _numbered(asked):
    def fetch(numbers):
        asked.append(len(numbers))
        return np.repeat(numbers[:, None], 7, axis=1).astype(np.float32)

    return fetch


def _batch(made, step, size=2048):
    return made.take(step, np.random.default_rng(step).integers(made.size, size=(size // 16, 16)))


def test_of_few_each_number_is_its_action():
    made = ActionPool(FEW, _numbered([]), (0,))
    assert made.size == FEW
    numbers = np.arange(FEW).reshape(-1, 10)
    assert (made.take(3, numbers)[..., 0] == numbers).all() and made.take(3, numbers).shape == (100, 10, 7)


def test_of_many_all_parts_come_alike_and_later_batches_see_others():
    asked = []
    made = ActionPool(MANY, _numbered(asked), (0,))
    assert made.size == POOL
    seen = np.concatenate([_batch(made, turn * BATCHES)[..., 0].ravel() for turn in range(20)])
    counts, _ = np.histogram(seen, bins=10, range=(0, MANY))
    assert len(asked) == 20 and np.abs(counts / len(seen) - 0.1).max() < 0.01
    first, later = (set(_batch(made, turn * BATCHES)[..., 0].ravel()) for turn in (0, 1))
    assert len(first & later) < 0.1 * len(first)


def test_a_batch_is_a_function_of_its_number_and_of_the_key():
    here, there, other = (ActionPool(MANY, _numbered([]), key) for key in ((0,), (0,), (1,)))
    for step in (BATCHES, 5, 7 * BATCHES + 1, 5):
        assert (_batch(here, step) == _batch(there, step)).all()
    assert not (_batch(here, 5) == _batch(other, 5)).all()


def test_threads_that_are_a_few_batches_apart_fetch_each_pool_hardly_more_than_once():
    asked = []
    made = ActionPool(MANY, _numbered(asked), (0,))
    alone = ActionPool(MANY, _numbered([]), (0,))
    steps = range(BATCHES - 40, BATCHES + 40)
    with ThreadPoolExecutor(4) as threads:
        drawn = list(threads.map(lambda step: _batch(made, step), steps))
    assert all((one == _batch(alone, step)).all() for one, step in zip(drawn, steps, strict=True))
    assert len(asked) <= 8 and max(asked) == pool.POOL
