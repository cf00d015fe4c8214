"""Services of other nodes, called from a thread that is not the executor's, so that no answer gets lost.

DDS tells a client that a server is there before the server knows where to answer: an answer that comes that early is
dropped. A server that was killed still looks ready for 20 s, and a request that only that one gets is lost too. So a
node is greeted before it is asked for anything: with a question that changes nothing, and may therefore be repeated.
"""

import math
import threading
import time
from collections.abc import Callable

from rcl_interfaces.srv import GetParameters
from rclpy.task import Future

from am_ros.errors import AmRosError

POLL_S = 0.01
GREET_AGAIN_S = 0.5
# A node of others may offer no parameters, by which nodes are greeted; so long it is looked for.
UNGREETED_S = 1.0


class Greeting:
    """Of the node that offers `name`, "node/service" or "node/action".

    Make it after the endpoints that the node is to know: DDS tells a process of another one's endpoints in the order
    in which they were made, so a node whose answer arrives knows the earlier ones too.
    """

    def __init__(self, node, name: str):
        self._node = node
        self._client = node.create_client(GetParameters, f"{name.rpartition('/')[0]}/get_parameters")

    def wait(self, deadline_s: float, stopped: Callable[[], bool] = lambda: False) -> bool:
        """Greet until the node answers; False at the deadline (time.monotonic()) or when `stopped`."""
        answered = threading.Event()
        asked: list[Future] = []
        ungreeted_s, again_s = time.monotonic() + UNGREETED_S, 0.0
        try:
            while (now_s := time.monotonic()) < deadline_s and not stopped():
                if not self._client.service_is_ready():
                    if not asked and now_s > ungreeted_s:
                        return True
                elif now_s > again_s:
                    asked.append(self._client.call_async(GetParameters.Request()))
                    asked[-1].add_done_callback(lambda _: answered.set())
                    again_s = now_s + GREET_AGAIN_S
                if answered.wait(POLL_S):
                    return True
            return False
        finally:
            for future in asked:
                self._client.remove_pending_request(future)

    def destroy(self) -> None:
        """Forget it; in the executor's thread."""
        self._node.destroy_client(self._client)


class RemoteService:
    """A service of another node; make it where the node makes its other endpoints."""

    def __init__(self, node, service_type, name: str):
        self.name = name
        self._client = node.create_client(service_type, name)
        self._greeting = Greeting(node, name)

    def is_offered(self) -> bool:
        """Whether some node offers it, as far as is known now."""
        return self._client.service_is_ready()

    def call(self, request, timeout_s: float, ready_s: float | None = None):
        """The response. Raises AmRosError that names the service if nobody offers it, or none comes in time.

        `ready_s`: how long to wait for a node that offers it, where that is less.
        """
        deadline_s, ready_s = time.monotonic() + timeout_s, timeout_s if ready_s is None else ready_s
        future = self.ask(request, timeout_s, ready_s=ready_s)
        if future is None:
            raise AmRosError(f"service {self.name}: no node offers it (waited {ready_s:g} s)")
        if not wait_for(future, deadline_s - time.monotonic()):
            self._client.remove_pending_request(future)
            raise AmRosError(f"service {self.name}: no answer within {timeout_s:g} s")
        return future.result()

    def ask(
        self, request, timeout_s: float, stopped: Callable[[], bool] = lambda: False, ready_s: float = math.inf
    ) -> Future | None:
        """Greet the node, then send the request; None if nobody offers the service in time or before `stopped`.

        Raises AmRosError if the node is there, but answers nothing in time.
        """
        began_s = time.monotonic()
        deadline_s = began_s + timeout_s
        while not self._client.service_is_ready():
            if time.monotonic() > began_s + min(timeout_s, ready_s) or stopped():
                return None
            time.sleep(POLL_S)
        if not self._greeting.wait(deadline_s, stopped):
            if stopped():
                return None
            raise AmRosError(f"service {self.name}: no answer within {timeout_s:g} s")
        return self._client.call_async(request)


def wait_for(future: Future, timeout_s: float, stopped: Callable[[], bool] = lambda: False) -> bool:
    """Whether the executor completed it in time and before `stopped`. Polled: a main thread must see signals."""
    done, deadline_s = threading.Event(), time.monotonic() + timeout_s
    future.add_done_callback(lambda _: done.set())
    while not done.wait(POLL_S):
        if time.monotonic() > deadline_s or stopped():
            return done.is_set()
    return True
