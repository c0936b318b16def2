"""Serve a project: which address, which keys, and until when."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Thread
from types import FrameType

import numpy as np
import uvicorn

from ultrasam.annotate.gate import Keys
from ultrasam.annotate.project import Project
from ultrasam.annotate.server import make_app, make_desk
from ultrasam.core.errors import UltrasamError
from ultrasam.predict.model import Model

DEFAULT_PORT = 8321
LOCAL = "127.0.0.1"
MIN_PASSWORD = 12
EVERYWHERE = ("0.0.0.0", "::")


@dataclass(frozen=True)
class Address:
    """Where the server listens. `port` None: the usual one, or a free one if that is taken; 0: a free one.

    `names` are further host names by which it is reached. A `host` other than that of this computer needs a
    `password`.
    """

    host: str = LOCAL
    port: int | None = None
    names: Sequence[str] = ()
    password: str | None = None

    @property
    def is_local(self) -> bool:
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    def checked(self) -> Address:
        """Itself. Raises UltrasamError for an address of others without a good password, and a bad port."""
        if not self.is_local and self.password is None:
            raise UltrasamError(
                f"--host {self.host} lets others reach these images: set a password with --password-file FILE"
            )
        if self.password is not None and len(self.password) < MIN_PASSWORD:
            raise UltrasamError(f"the password is too short: at least {MIN_PASSWORD} letters")
        if self.port is not None and not 0 <= self.port <= 65535:
            raise UltrasamError(f"--port {self.port}: give a number from 0 to 65535, 0 for a free one")
        for name in self.names:
            if not _is_host(name):
                raise UltrasamError(f"--name {name!r:.60} is no host name or address, without a port")
        if self.host in EVERYWHERE and not self.names:
            raise UltrasamError(
                f"--host {self.host} listens everywhere: say with --name HOST by which name or address it is "
                "reached"
            )
        return self


def _is_host(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?", name) is not None
    return True


def listen(address: Address) -> socket.socket:
    """A socket that is bound to the address. Raises UltrasamError if it cannot be."""
    wanted = [DEFAULT_PORT, 0] if address.port is None else [address.port]
    problem = OSError()
    for port in wanted:
        try:
            return _bound(address.host, port)
        except OSError as error:
            problem = error
    raise UltrasamError(
        f"{address.host}:{wanted[0]} cannot be used ({problem.strerror or problem}): choose another --port"
    )


def _bound(host: str, port: int) -> socket.socket:
    family, _, _, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    # With the protocol named, asyncio turns off Nagle's algorithm, which holds answers back for 40 ms.
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(place)
        bound.listen(128)
    except BaseException:
        bound.close()
        raise
    return bound


def keys_for(address: Address, port: int) -> Keys:
    """The keys of a run that listens on this port."""
    names = {address.host, *address.names} - set(EVERYWHERE)
    if address.is_local or address.host in EVERYWHERE:
        names |= {LOCAL, "localhost", "::1"}
    shown = {f"[{name}]" if ":" in name else name for name in map(str.lower, names)}
    hosts = {f"{name}:{port}" for name in shown} | (shown if port == 80 else set())
    # Cookies do not know ports: two runs on one computer need two names.
    return Keys(frozenset(hosts), f"ultrasam-{port}", address.password)


class _Server(uvicorn.Server):
    """Ends what goes on for long before it waits for the connections."""

    def __init__(self, config: uvicorn.Config, stop: Callable[[], None]) -> None:
        super().__init__(config)
        self._stop = stop

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._stop()
        super().handle_exit(sig, frame)


def _warm_up(model: Model) -> None:
    """Let the model answer once before anybody waits for it: its files are read at their first use."""
    model.session(np.zeros((64, 64), np.uint8)).click(32, 32)


def serve(project: Project, model: Model, address: Address, started: Callable[[str], None]) -> None:
    """Serve until it is interrupted. `started` gets the address to open once it can be opened."""
    bound = listen(address.checked())
    port = bound.getsockname()[1]
    keys = keys_for(address, port)
    desk = make_desk(project, model)
    config = uvicorn.Config(
        make_app(desk, keys),
        log_level="error",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        lifespan="off",
        timeout_graceful_shutdown=3,
    )
    host = next(iter(address.names), address.host) if address.host in EVERYWHERE else address.host
    host = f"[{host}]" if ":" in host else host
    Thread(target=_warm_up, args=[model], daemon=True).start()
    started(f"http://{host}:{port}/?token={keys.token}")
    try:
        _Server(config, desk.assistant.stop).run(sockets=[bound])
    finally:
        desk.frames.close()
        bound.close()
