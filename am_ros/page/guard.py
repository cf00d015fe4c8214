"""Who may talk to the page: every request and websocket passes here before anything else looks at it.

A browser that shows a foreign site can be made to send requests here, too. So the Host must be a name of ours (against
DNS rebinding), an Origin must be that same host, bodies are bounded, and where the page is to be had from other hosts a
token is asked for, kept by the browser in a cookie that no other site can have sent (SameSite=Strict).
"""

import hmac
import ipaddress
import os
import secrets
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

from am_ros.errors import AmRosError
from am_ros.page.config import PageConfig

COOKIE = "am_ros_page"
MAX_BODY = 64_000  # bytes of a request: a note of a goal is the longest thing that is sent
MAX_MESSAGE = 256_000  # bytes of a websocket message
MAX_CLIENTS = 16  # browsers at a time
_TOKEN_BYTES = 32
_HEADERS = [
    (b"x-frame-options", b"DENY"),  # no other site may lay the page under its own
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    # NiceGUI builds its page from inline scripts; nothing comes from, or goes to, another host.
    (
        b"content-security-policy",
        b"default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
        b"img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' ws: wss:; frame-ancestors 'none'; "
        b"base-uri 'self'; form-action 'self'",
    ),
]
_ASK = b"""<!doctype html><html lang="en"><meta charset="utf-8"><title>am_ros</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:32rem;margin:15vh auto;padding:0 1rem}
input,button{font:inherit;padding:.5rem .7rem}input{width:100%;box-sizing:border-box;margin:.3rem 0 .8rem}</style>
<h1>am_ros</h1><form method="get" action="/"><label for="token">Token, as the page printed it when it started</label>
<input id="token" name="token" type="password" autocomplete="off" autofocus><button>Enter</button></form></html>"""


def read_token(path: str) -> tuple[str, bool]:
    """The token in a file that nobody else may read, and whether it was made just now.

    Raises AmRosError that names the file if others may read it, it holds no token, or it cannot be made.
    """
    file = Path(path).expanduser()
    try:
        if file.exists():
            if file.stat().st_mode & 0o077:
                raise AmRosError(f"parameter page_token_file: {file} can be read by others: chmod 600 {file}")
            token = file.read_text(encoding="utf-8").strip()
            if len(token) < 20:
                raise AmRosError(f"parameter page_token_file: {file} holds no token: delete it, and one is made")
            return token, False
        file.parent.mkdir(parents=True, exist_ok=True)
        token = secrets.token_urlsafe(_TOKEN_BYTES)
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
            stream.write(token + "\n")
        return token, True
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "is not text"
        raise AmRosError(f"parameter page_token_file: {file}: {reason}") from None


class Guard:
    """An ASGI application around another. `token`: empty where none is asked for."""

    def __init__(self, app, config: PageConfig, token: str = ""):
        self._app, self._config, self._token = app, config, token
        self.port = config.page_port

    async def __call__(self, scope, receive, send):
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
        refused = self._refuse(scope, headers)
        if refused:
            await _answer(scope, send, 403, refused.encode())
            return
        if self._token and not self._known(headers):
            await self._ask(scope, send)
            return
        if scope["type"] == "websocket":
            await self._app(scope, receive, send)
            return
        if scope["method"] not in ("GET", "HEAD", "POST") or "/upload/" in scope["path"]:
            await _answer(scope, send, 405, b"refused: the page takes no uploads")
            return
        length = headers.get(b"content-length", "0")
        if not length.isdigit() or int(length) > MAX_BODY:
            await _answer(scope, send, 413, f"refused: more than {MAX_BODY} bytes".encode())
            return
        await self._app(scope, _bounded(receive), _with_headers(send))

    def _refuse(self, scope, headers) -> str:
        """Why a request is not from a browser that shows this very page; empty: it may be."""
        host = headers.get(b"host", "")
        if not self._is_ours(host):
            return f"refused: {host[:100]!r} is no name of this host (parameter page_names)"
        origin = headers.get(b"origin")
        if origin is None:
            # Browsers send an Origin with each websocket and each request that changes something.
            needs = scope["type"] == "websocket" or scope["method"] not in ("GET", "HEAD")
            return "refused: without an Origin" if needs else self._refuse_site(headers)
        scheme = "https" if self._config.secure else "http"
        if origin.lower() != f"{scheme}://{host.lower()}":
            return f"refused: the origin {origin[:100]!r} is another site"
        return ""

    @staticmethod
    def _refuse_site(headers) -> str:
        """Pictures and data are no matter for other sites; a link may lead here."""
        site, mode = headers.get(b"sec-fetch-site", "none"), headers.get(b"sec-fetch-mode", "navigate")
        if site in ("same-origin", "none") or mode == "navigate":
            return ""
        return "refused: asked for by another site"

    def _is_ours(self, host: str) -> bool:
        try:
            parts = urlsplit(f"//{host}")
            name, port = (parts.hostname or "").lower(), parts.port
        except ValueError:
            return False
        if parts.path or parts.username is not None or (port or (443 if self._config.secure else 80)) != self.port:
            return False
        if name in {n.lower() for n in self._config.page_names}:
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        listens = ipaddress.ip_address(
            "127.0.0.1" if self._config.page_address == "localhost" else self._config.page_address
        )
        # An address is no name that DNS could turn round; on all interfaces, any of them may be meant.
        return address == listens or address.is_loopback or listens.is_unspecified

    def _known(self, headers) -> bool:
        try:
            morsel = SimpleCookie(headers.get(b"cookie", "")).get(COOKIE)
        except CookieError:
            return False
        return morsel is not None and self._is_token(morsel.value)

    def _is_token(self, text: str) -> bool:
        return hmac.compare_digest(text.encode(), self._token.encode())

    async def _ask(self, scope, send) -> None:
        """The token in the address becomes a cookie, and goes out of the address; else it is asked for."""
        query = parse_qs(scope.get("query_string", b"").decode("latin-1"))
        if scope["type"] == "http" and scope["method"] == "GET" and self._is_token(query.pop("token", [""])[0]):
            secure = "; Secure" if self._config.secure else ""
            cookie = f"{COOKIE}={self._token}; Path=/; HttpOnly; SameSite=Strict{secure}"
            rest = urlencode(query, doseq=True)
            # "//host" would lead elsewhere.
            where = "/" + scope["path"].lstrip("/\\") + (f"?{rest}" if rest else "")
            more = [(b"location", where.encode("latin-1", "ignore")), (b"set-cookie", cookie.encode())]
            await _answer(scope, send, 303, b"", more)
            return
        await _answer(scope, send, 401, _ASK, [(b"content-type", b"text/html; charset=utf-8")])


async def _answer(scope, send, status: int, body: bytes, more=()) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})  # before it is accepted: HTTP 403
        return
    headers = [*_HEADERS, (b"cache-control", b"no-store"), *more]
    if not any(name == b"content-type" for name, _ in headers):
        headers.append((b"content-type", b"text/plain; charset=utf-8"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _bounded(receive):
    """A body that came without its length, or longer than it said, ends the connection."""
    left = MAX_BODY

    async def bounded():
        nonlocal left
        message = await receive()
        left -= len(message.get("body", b""))
        return {"type": "http.disconnect"} if left < 0 else message

    return bounded


def _with_headers(send):
    async def sending(message):
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message["headers"], *_HEADERS]}
        await send(message)

    return sending
