"""Serves the page: routes for pictures and Stop, the live websocket, the views; one server per process.

NiceGUI keeps its application in its module, so a process has one page.
"""

import asyncio
import json
import logging
import socket
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import uvicorn
from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from fastapi.responses import FileResponse, PlainTextResponse, Response
from nicegui import Client, core, ui
from nicegui import app as nicegui_app

from am_ros.bags.playback import Moment
from am_ros.errors import AmRosError
from am_ros.page.aside import aside
from am_ros.page.config import PageConfig
from am_ros.page.custody import Custody
from am_ros.page.guard import MAX_CLIENTS, MAX_MESSAGE, Guard, read_token
from am_ros.page.operators import Operators
from am_ros.page.shell import Page, header
from am_ros.page.source import CAMERA, VIEW, Source
from am_ros.page.views import VIEWS

_log = logging.getLogger(__name__)
STATIC = Path(__file__).parent / "static"
ASLEEP_S = 5.0  # a browser that asks for no picture for so long does not look
SILENT_S = 2.0  # without a picture for so long a browser is told so
# A browser is asked whether it is there, and has so long to answer: on a busy machine one is late.
PING_S, PONG_S = 4.0, 10.0
# From then on it commands no more. It finds its page as it was for so long, and gets a new one later.
RECONNECT_S = 30.0
# An arm that it teaches is let go sooner.
TEACH_S = 12.0
KEPT_EPISODES = 4  # that are looked at, in memory
START_S = 20.0
PICTURE_HEADERS = {"Cache-Control": "private, max-age=3600"}


class Server:
    """The page in threads of its own. `start` returns its address; raises AmRosError if it cannot be served."""

    def __init__(self, source: Source, config: PageConfig):
        self.source, self.config = source, config
        self.operators = Operators(config.page_read_only)
        self.token, self.token_is_new = ("", False) if config.local else read_token(config.page_token_file)
        self._playbacks: OrderedDict[int, list[Moment]] = OrderedDict()
        self._custody = Custody(source, self.operators, TEACH_S)
        # Stop waits behind nothing else.
        self._stopping = ThreadPoolExecutor(2, "page: stop")
        self._uvicorn: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None
        self._failed = ""

    def start(self) -> str:
        """Begin to serve; returns the address that a browser takes."""
        config, listener = self.config, _listen(self.config)
        port = listener.getsockname()[1]
        guard = Guard(self._make_app(), config, self.token)
        guard.port = port
        certificate, key = (_file(config.page_certificate), _file(config.page_key)) if config.secure else (None, None)
        self._uvicorn = uvicorn.Server(
            uvicorn.Config(
                guard, log_level="warning", access_log=False, ws_max_size=MAX_MESSAGE, ws_max_queue=8,
                timeout_graceful_shutdown=1, server_header=False, proxy_headers=False, lifespan="on",
                h11_max_incomplete_event_size=32_768, limit_concurrency=MAX_CLIENTS * 16,
                ssl_certfile=certificate, ssl_keyfile=key,
            )
        )  # fmt: skip
        self._thread = threading.Thread(target=self._serve, args=(self._uvicorn, listener), daemon=True, name="page")
        self._thread.start()
        deadline_s = time.monotonic() + START_S
        while not self._uvicorn.started:
            if self._failed or not self._thread.is_alive() or time.monotonic() > deadline_s:
                raise AmRosError(f"the page cannot be served: {self._failed or 'the server ended at once'}")
            time.sleep(0.02)
        core.sio.eio.ping_interval, core.sio.eio.ping_timeout = PING_S, PONG_S  # NiceGUI derives them from RECONNECT_S
        if self.source.live:
            self._custody.start()
        name = config.page_names[0] if config.page_names else config.page_address
        return f"{'https' if config.secure else 'http'}://{name}:{port}/"

    @property
    def running(self) -> bool:
        """Whether it serves."""
        return self._thread is not None and self._thread.is_alive()

    def close(self) -> None:
        """Stop serving, and close the source."""
        self._custody.close()
        if self._uvicorn is not None and self._thread is not None:
            self._uvicorn.should_exit = True
            self._thread.join(4.0)
        self.source.close()
        self._stopping.shutdown(wait=False, cancel_futures=True)

    def announce(self, address: str) -> str:
        """The sentence with the address; a token that was just made is told once."""
        if not self.token:
            return f"page: {address}"
        where = Path(self.config.page_token_file).expanduser()
        shown = f"?token={self.token}" if self.token_is_new else ""
        return f"page: {address}{shown} (the token is kept in {where})"

    def _serve(self, server: uvicorn.Server, listener: socket.socket) -> None:
        try:
            server.run(sockets=[listener])
        except (OSError, SystemExit, ValueError) as error:
            self._failed = str(error)
        finally:
            listener.close()

    def _make_app(self) -> FastAPI:
        app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
        app.post("/stop")(self._on_stop)
        app.websocket("/live/{camera}")(self._on_live)
        app.get("/page/{name}")(_static)
        app.get("/picture/goal/{goal_id}")(self._on_goal)
        app.get("/picture/step/{number}")(self._on_step)
        app.get("/picture/episode/{key}/{moment}")(self._on_moment)
        app.get("/picture/evaluation/{evaluation}/{picture}")(self._on_evaluation)
        nicegui_app.on_connect(self._presence)
        nicegui_app.on_disconnect(self._presence)
        nicegui_app.on_delete(self._left)
        ui.run_with(
            app, root=self._root, title="am_ros", dark=False, tailwind=False, reconnect_timeout=RECONNECT_S,
            binding_refresh_interval=None, show_welcome_message=False, message_history_length=1000, language="en-US",
            gzip_middleware_factory=None, favicon=STATIC / "icon.svg",
        )  # fmt: skip
        return app

    # -- one browser

    def _root(self) -> None:
        client = ui.context.client
        if self.operators.count >= MAX_CLIENTS:
            ui.label(f"{MAX_CLIENTS} browsers are open already: close one of them.")
            return
        address = client.ip or "?"
        browser = self.operators.enter(client.id, "this host" if address.startswith(("127.", "::1")) else address)
        ui.add_head_html('<link rel=stylesheet href="/page/page.css"><script src="/page/page.js"></script>')
        page = Page(self.source, self.operators, browser, self.playback)
        names = [(path, name) for path, name, _ in VIEWS]
        header(page, names)
        with ui.element("main"):
            ui.sub_pages({path: _bind(make, page) for path, _, make in VIEWS})

    def _presence(self, client: Client) -> None:
        """A connection came or broke; a browser that has made a new one is there, whenever the end of the old comes."""
        self.operators.connected(client.id, client.has_socket_connection)
        self.source.watched(self.operators.count)

    def _left(self, client: Client) -> None:
        self.operators.leave(client.id)
        self.source.watched(self.operators.count)

    # -- what is not a view

    async def _on_stop(self) -> Response:
        try:
            said = await asyncio.get_running_loop().run_in_executor(self._stopping, self.source.stop)
        except AmRosError as error:
            return PlainTextResponse(str(error), 409)
        return Response(json.dumps({"said": said}), media_type="application/json")

    async def _on_live(self, socket: WebSocket, camera: str) -> None:
        if camera not in (CAMERA, VIEW):
            await socket.close(1008)
            return
        await socket.accept()
        frames, pause_s, number = self.source.frames, 1 / self.config.page_rate_hz, 0
        looks = False
        try:
            while True:
                asked = asyncio.ensure_future(socket.receive_text())
                if looks and not (await asyncio.wait({asked}, timeout=ASLEEP_S))[0]:
                    frames.look_away(camera)  # it sleeps, or lies behind another: its camera need not be listened to
                    looks = False
                await asked
                if not looks:
                    frames.look(camera)
                    looks, number = True, 0
                began_s = time.monotonic()
                frame = await frames.next(camera, number, SILENT_S)
                if frame is None:
                    await socket.send_text("silent")
                    continue
                number = frame.number
                await socket.send_bytes(frame.data)
                await asyncio.sleep(max(0.0, pause_s - (time.monotonic() - began_s)))
        except (WebSocketDisconnect, RuntimeError):  # RuntimeError: it went while something was sent
            pass
        finally:
            asked.cancel()
            if looks:
                frames.look_away(camera)

    async def _on_goal(self, goal_id: str) -> Response:
        return await _send(self.source.goal_picture, goal_id)

    async def _on_step(self, number: int) -> Response:
        return await _send(self.source.step_picture, number)

    async def _on_moment(self, key: int, moment: int) -> Response:
        return await _send(lambda: self._moment(key, moment))

    async def _on_evaluation(self, evaluation: int, picture: int) -> Response:
        return await _send(self.source.evaluation_picture, abs(evaluation), abs(picture))

    def playback(self, key: int) -> list[Moment]:
        """The moments of an episode; those looked at last are kept."""
        if key not in self._playbacks:
            self._playbacks[key] = self.source.playback(key)
            while len(self._playbacks) > KEPT_EPISODES:
                self._playbacks.popitem(last=False)
        return self._playbacks[key]

    def _moment(self, key: int, moment: int) -> bytes:
        moments = self.playback(key)
        if not 0 <= moment < len(moments):
            raise AmRosError(f"moment {moment}: the episode has {len(moments)}")
        return moments[moment].picture


def _bind(make: Callable, page: Page) -> Callable:
    def view() -> None:
        make(page)

    return view


async def _send(read: Callable, *arguments) -> Response:
    try:
        data = await aside(read, *arguments)
    except AmRosError as error:
        return PlainTextResponse(str(error), 404)
    kind = "image/png" if data.startswith(b"\x89PNG") else "image/jpeg"
    return Response(data, media_type=kind, headers=PICTURE_HEADERS)


def _static(name: str) -> Response:
    known = {path.name: path for path in STATIC.iterdir()}  # no path of the browser's is used as one
    if name not in known:
        return PlainTextResponse("no such file", 404)
    return FileResponse(known[name], headers={"Cache-Control": "no-cache"})


def _listen(config: PageConfig) -> socket.socket:
    family = socket.AF_INET6 if ":" in config.page_address else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((config.page_address, config.page_port))
        return listener
    except OSError as error:
        listener.close()
        raise AmRosError(
            f"parameter page_port: {config.page_address}:{config.page_port} cannot be listened on ({error.strerror}): "
            "another page may be open; give another port, or 0 for a free one"
        ) from None


def _file(path: str) -> str | None:
    return str(Path(path).expanduser()) if path else None
