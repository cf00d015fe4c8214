"""Actions of other moments, for a price that does not grow with the store.

A batch wants thousands of them, and each lies somewhere else: in a store that no cache holds, fetching them took longer
than all else. So they are drawn from a pool of 32 768 that is drawn anew from the whole store every 256 batches.
"""

from collections.abc import Callable

import numpy as np

POOL, BATCHES = 32_768, 256  # actions, and batches that draw from the same ones


class ActionPool:
    """Draws from `count` actions, of which `fetch` gives those numbered int64 [n]: float32 [n, D + 3].

    What it gives for a batch is a function of `key`, of the batch's number and of what is drawn for it. It may be asked
    from several threads.
    """

    def __init__(self, count: int, fetch: Callable[[np.ndarray], np.ndarray], key: tuple[int, ...]) -> None:
        self._count, self._fetch, self._key = count, fetch, key
        self._pools: dict[int, np.ndarray] = {}

    @property
    def size(self) -> int:
        """How many there are to draw from at a time; `take` wants numbers below it."""
        return min(self._count, POOL)

    def take(self, step: int, numbers: np.ndarray) -> np.ndarray:
        """The actions of batch `step` with these numbers [...]: float32 [..., D + 3]."""
        if self._count <= POOL or not numbers.size:
            flat = self._fetch(numbers.ravel())
        else:
            flat = self._pool(step // BATCHES).take(numbers.ravel(), axis=0)
        return flat.reshape(*numbers.shape, flat.shape[-1])

    def _pool(self, turn: int) -> np.ndarray:
        found = self._pools.get(turn)
        if found is None:
            drawn = np.random.default_rng((*self._key, turn, POOL)).integers(self._count, size=POOL)
            found = self._fetch(np.sort(drawn))  # in the order in which they lie in the store
            # Loader threads are a batch or two apart: the last turn may still be asked for.
            self._pools = {number: pool for number, pool in self._pools.items() if number == turn - 1} | {turn: found}
        return found
