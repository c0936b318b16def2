"""Who may talk to the server: the Host header, the cookie of this run, the size of what is sent, the headers.

It stands before the routes as plain ASGI, so that nothing behind it sees a request that is refused.
"""

from __future__ import annotations

import hmac
import json
import secrets
import time
from collections import deque
from dataclasses import dataclass, field
from urllib.parse import parse_qs

from fastapi import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY = 8 * 2**20
MAX_IMPORT = 64 * 2**20
# Wrong passwords in a minute from one address before no more are looked at, and addresses remembered.
MAX_ATTEMPTS = 10
MAX_PEERS = 1000

_CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": _CSP,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",  # with less, Chromium sends the login with the origin "null"
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}

_PAGE = (
    '<!doctype html><html lang="en"><meta charset="utf-8"><title>ultrasam annotate</title>'
    '<meta name="viewport" content="width=device-width, initial-scale=1">'
    '<link rel="stylesheet" href="/static/style.css">'
    '<main class="door"><h1>ultrasam annotate</h1>{}</main></html>'
)
_FORM = (
    '<p role="alert">{}</p><form method="post" action="/login"><label>Password '
    '<input type="password" name="password" required autofocus autocomplete="current-password"></label> '
    "<button>Open</button></form>"
)
_ENDED = (
    "<p>You are not signed in, or this run of ultrasam has ended.</p>"
    "<p>Open the address that <code>ultrasam annotate</code> printed when it was started.</p>"
)


@dataclass(frozen=True)
class Keys:
    """What opens the door: the token of the printed address, or a `password`; `cookie` is given for it.

    `hosts` are the values of the Host header that are served, such as "127.0.0.1:8321".
    """

    hosts: frozenset[str]
    cookie_name: str = "ultrasam"
    password: str | None = field(default=None, repr=False)
    token: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)
    cookie: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)


class Gate:
    """The ASGI application behind it gets only requests of somebody who is signed in."""

    def __init__(self, app: ASGIApp, keys: Keys) -> None:
        self.app = app
        self.keys = keys
        self._wrong: dict[str, deque[float]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":  # there is no websocket here
            await receive()
            await send({"type": "websocket.close", "code": 1008})
            return
        headers = {
            name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]
        }
        answer = _Answer(send)
        host = headers.get("host", "").lower()
        if host not in self.keys.hosts:
            served = ", ".join(sorted(f"http://{name}/" for name in self.keys.hosts))
            await answer.error(421, "host", f"this address is not served: open {served}")
            return
        origin = headers.get("origin")
        if origin is not None and origin.lower() not in (f"http://{host}", f"https://{host}"):
            await answer.error(403, "origin", "another site may not use this server")
            return
        limit = MAX_IMPORT if scope["path"] == "/api/import" else MAX_BODY
        if _is_longer(headers.get("content-length"), limit):
            await answer.error(413, "too-large", f"this is too large: at most {limit >> 20} MB are taken")
            return
        limited = _limited(receive, limit)
        try:
            await self._serve(scope, headers, limited, answer)
        except HTTPException as error:
            await answer.error(error.status_code, "too-large", error.detail)

    async def _serve(self, scope: Scope, headers: dict[str, str], receive: Receive, answer: _Answer) -> None:
        path, method = scope["path"], scope["method"]
        token = parse_qs(scope["query_string"].decode("latin-1")).get("token")
        if path == "/" and token is not None:
            if _same(token[0], self.keys.token):
                await answer.sign_in(self.keys)
            else:
                await answer.page(401, _ENDED)
        elif path == "/login" and method == "GET":
            await answer.lead_to("/")
        elif path == "/login" and method == "POST" and self.keys.password is not None:
            peer = scope.get("client")
            await self._login(receive, answer, peer[0] if peer else "")
        elif self._is_signed_in(headers.get("cookie", "")) or path.startswith("/static/"):
            await self.app(scope, receive, answer.send)
        elif path == "/":
            await answer.page(401, _ENDED if self.keys.password is None else _FORM.format(""))
        else:
            await answer.error(
                401,
                "unauthorised",
                "this run of ultrasam has ended or you are not signed in: open the address that it printed",
            )

    def _is_signed_in(self, header: str) -> bool:
        # By hand: other programs on this computer set cookies too, in forms that parsers stop at.
        for part in header.split(";"):
            name, _, value = part.strip().partition("=")
            if name == self.keys.cookie_name and _same(value, self.keys.cookie):
                return True
        return False

    async def _login(self, receive: Receive, answer: _Answer, peer: str) -> None:
        body = b""
        more = True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False) and message["type"] == "http.request"
        given = parse_qs(body.decode("utf-8", "replace")).get("password", [""])[0]
        # Nothing is awaited from here to the judgement, so that nobody slips in between.
        now = time.monotonic()
        wrong = self._wrong.setdefault(peer, deque(maxlen=MAX_ATTEMPTS))
        if len(wrong) == MAX_ATTEMPTS and now - wrong[0] < 60:
            await answer.page(429, _FORM.format("Too many wrong passwords: wait a minute."))
        elif _same(given, self.keys.password or ""):
            await answer.sign_in(self.keys)
        else:
            wrong.append(now)
            if len(self._wrong) > MAX_PEERS:
                self._wrong.pop(next(iter(self._wrong)))
            await answer.page(401, _FORM.format("That is not the password."))


class _Answer:
    """Sends answers, all with the headers of this server."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._started = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._started = True
            own = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
            message = {**message, "headers": [*message.get("headers", []), *own]}
        await self._send(message)

    async def error(self, status: int, code: str, text: str) -> None:
        if not self._started:
            body = json.dumps({"error": text, "code": code}).encode()
            await self._whole(status, body, [(b"content-type", b"application/json")])

    async def page(self, status: int, content: str) -> None:
        body = _PAGE.format(content).encode()
        await self._whole(status, body, [(b"content-type", b"text/html; charset=utf-8")])

    async def sign_in(self, keys: Keys) -> None:
        """Give the cookie, and lead to the page without the token in its address."""
        cookie = f"{keys.cookie_name}={keys.cookie}; HttpOnly; SameSite=Strict; Path=/"
        await self.lead_to("/", (b"set-cookie", cookie.encode()))

    async def lead_to(self, place: str, *headers: tuple[bytes, bytes]) -> None:
        await self._whole(303, b"", [(b"location", place.encode()), *headers])

    async def _whole(self, status: int, body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
        length = (b"content-length", str(len(body)).encode())
        await self.send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
        await self.send({"type": "http.response.body", "body": body})


def _limited(receive: Receive, limit: int) -> Receive:
    """What is received, but no more than `limit` bytes: the length that a request says may be wrong."""
    received = 0

    async def receive_some() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > limit:
            raise HTTPException(413, f"this is too large: at most {limit >> 20} MB are taken")
        return message

    return receive_some


def _is_longer(length: str | None, limit: int) -> bool:
    try:
        return length is not None and int(length) > limit
    except ValueError:
        return True


def _same(given: str, expected: str) -> bool:
    """Compared in a time that tells nothing."""
    return bool(expected) and hmac.compare_digest(given.encode(), expected.encode())
