"""A browser that draws nothing: opens the operator's page, takes its changes and its live pictures, and counts them.

    .venv/bin/python benchmarks/page_reader.py http://127.0.0.1:8080/ --cameras camera view

What the page does for it is what it does for a browser on another machine; what a browser costs on its own machine is
left out. It says `reading` when the first picture is there, and at Ctrl-C how many pictures and changes it took.
"""

import argparse
import ast
import asyncio
import json
import re
import signal
import sys
import uuid
from urllib.parse import urlsplit

import httpx
import socketio
import websockets


class Reader:
    """One client of the page."""

    def __init__(self, address: str):
        self._address = address
        self._origin = "{0.scheme}://{0.netloc}".format(urlsplit(address))
        self.pictures, self.changes = 0, 0

    async def run(self, cameras: list[str]) -> None:
        """Read until it is cancelled; OSError or ConnectionError if the page goes."""
        async with httpx.AsyncClient() as http:
            html = (await http.get(self._address)).raise_for_status().text
        found = re.search(r"query: (\{'[^}]*\})", html)
        if found is None:
            sys.exit(f"page_reader: {self._address}: is no page of NiceGUI")
        query = ast.literal_eval(found[1])
        handshake = query | {"tab_id": str(uuid.uuid4()), "document_id": str(uuid.uuid4())}
        client = socketio.AsyncClient()
        client.on("update", self._changed)
        parameters = "&".join(f"{name}={str(value).lower()}" for name, value in handshake.items())
        await client.connect(
            f"{self._address}?{parameters}", {"Origin": self._origin}, socketio_path="/_nicegui_ws/socket.io",
            transports=["websocket"],
        )  # fmt: skip
        if not query.get("implicit_handshake"):
            assert await client.call("handshake", handshake)
        await asyncio.gather(*(self._watch(camera) for camera in cameras))

    def _changed(self, _message) -> None:
        self.changes += 1

    async def _watch(self, camera: str) -> None:
        address = f"ws{self._origin.removeprefix('http')}/live/{camera}"
        async with websockets.connect(address, origin=self._origin) as socket:
            while True:
                await socket.send("next")
                if isinstance(await socket.recv(), bytes):
                    self.pictures += 1
                    if self.pictures == 1:
                        print("reading", flush=True)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("address", help="of the page, http://...")
    parser.add_argument("--cameras", nargs="+", default=["camera", "view"], choices=["camera", "view"])
    arguments = parser.parse_args()
    reader = Reader(arguments.address)
    task = asyncio.create_task(reader.run(arguments.cameras))
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        print(json.dumps({"pictures": reader.pictures, "changes": reader.changes}))


if __name__ == "__main__":
    asyncio.run(main())
