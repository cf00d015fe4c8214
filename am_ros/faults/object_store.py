"""A real S3 server on this host, moto's, that can be told to fail."""

import contextlib
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator

from am_ros.errors import AmRosError

try:
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import ThreadedWSGIServer, WSGIRequestHandler
except ImportError as error:
    raise AmRosError(f"an S3 server on this host needs moto: pip install 'am_ros[test]' ({error})") from error

EXPIRED = b"<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>"


class _Quiet(WSGIRequestHandler):
    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Nothing: there are thousands."""


class S3Server:
    """`url` is its endpoint; `fail(share, how)` makes a share of all requests fail, until the block ends."""

    def __init__(self) -> None:
        self._app = DomainDispatcherApplication(create_backend_app)
        self._server = ThreadedWSGIServer("127.0.0.1", 0, self, handler=_Quiet)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.port}"
        self._share, self._how, self._only = 0.0, "", ""
        self._random, self.failed, self.asked = random.Random(0), 0, 0
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End it."""
        self._server.shutdown()
        self._thread.join()

    @contextlib.contextmanager
    def fail(self, share: float, how: str, only: str = "") -> Iterator[None]:
        """`how`: 500, slow, cut (the body breaks off) or expired; `only`: requests whose path has this."""
        self._share, self._how, self._only, self.failed, self.asked = share, how, only, 0, 0
        try:
            yield
        finally:
            self._share = 0.0

    def __call__(self, environ: dict, start_response: Callable) -> Iterable[bytes]:
        """A request, by the rules of WSGI."""
        self.asked += 1
        wrong = self._only in environ["PATH_INFO"] and self._random.random() < self._share
        if not wrong or (self._how == "cut" and environ["REQUEST_METHOD"] != "GET"):
            return self._app(environ, start_response)
        self.failed += 1
        if self._how == "500":
            start_response("500 Internal Server Error", [("Content-Length", "0")])
            return [b""]
        if self._how == "expired":
            start_response("400 Bad Request", [("Content-Type", "application/xml")])
            return [EXPIRED]
        if self._how == "slow":
            time.sleep(1.0)
            return self._app(environ, start_response)
        body = b"".join(self._app(environ, start_response))
        return [body[: len(body) // 2]]  # of a length that the header does not say
