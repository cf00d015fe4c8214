"""What blocks is done beside the page's event loop, by a fixed number of threads."""

import asyncio
import threading
import time

import pytest

from am_ros.errors import AmRosError
from am_ros.page.aside import THREADS, aside


def _threads() -> int:
    return sum(thread.name.startswith("page: aside") for thread in threading.enumerate())


def test_the_threads_are_all_made_at_once_and_the_loop_goes_on():
    async def use() -> None:
        assert await aside(str, 1) == "1"
        assert _threads() == THREADS, "one question, and all of them are there"
        slow = [aside(time.sleep, 0.3) for _ in range(2 * THREADS)]
        done, ticks = asyncio.ensure_future(asyncio.gather(*slow)), 0
        while not done.done():
            ticks += 1
            await asyncio.sleep(0.01)
        assert ticks > 5 and _threads() == THREADS
        with pytest.raises(AmRosError, match="no"):
            await aside(_refuse)

    asyncio.run(use())


def _refuse() -> None:
    raise AmRosError("no")
