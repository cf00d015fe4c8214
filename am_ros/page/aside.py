"""What blocks is done aside, in a few threads that are made once: a page that is open for days grows by none."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

THREADS = 6


@cache
def _pool() -> ThreadPoolExecutor:
    """All of its threads at once; by itself a pool makes one whenever it finds none idle, for hours."""
    pool, all_there = ThreadPoolExecutor(THREADS, "page: aside"), threading.Barrier(THREADS)
    for _ in range(THREADS):
        pool.submit(all_there.wait)
    return pool


async def aside(function: Callable[..., Any], *arguments: Any) -> Any:
    """What the function returns, without the event loop having waited for it."""
    return await asyncio.get_running_loop().run_in_executor(_pool(), function, *arguments)
