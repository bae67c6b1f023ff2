"""A local server: it answers on this machine alone, unless somebody names another address and gives a key.

The key is in the environment variable ``BEDSIDE_WEB_KEY``; it is neither printed nor written to a file.
"""

import ipaddress
import socket
import webbrowser
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import uvicorn
from starlette.types import ASGIApp

from bedside.core.errors import ConfigError
from bedside.run import environment
from bedside.web.guard import Guard

KEY = "BEDSIDE_WEB_KEY"
LEAST_CHARACTERS = 16


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """Where a server listens."""

    host: str
    port: int

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach it."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @property
    def url(self) -> str:
        return f"http://{self._in_url(self.host)}:{self.port}"

    @property
    def hosts(self) -> frozenset[str]:
        """Values of the Host header by which it is asked."""
        names = {self.host, *(("localhost", "127.0.0.1", "::1") if self.is_local else ())}
        with_port = {f"{self._in_url(name)}:{self.port}".lower() for name in names}
        return frozenset(with_port | ({self._in_url(name).lower() for name in names} if self.port == 80 else set()))

    @staticmethod
    def _in_url(host: str) -> str:
        return f"[{host}]" if ":" in host else host


def key_for(address: ListenAddress) -> str | None:
    """The key that opens the pages; None where only this machine reaches them. ConfigError without one elsewhere."""
    if address.host in ("", "0.0.0.0", "::"):
        raise ConfigError(f"--host {address.host}: name one address of this machine, so that no other name opens it")
    if address.is_local:
        return None
    key = environment.secret(KEY) or ""
    if len(key) < LEAST_CHARACTERS:
        raise ConfigError(
            f"--host {address.host}: other machines could read patients' text there; set {KEY} to a key of "
            f"{LEAST_CHARACTERS} characters or more that readers type, or leave --host out"
        )
    return key


def serve(
    app: ASGIApp,
    address: ListenAddress,
    paths: Mapping[str, str],
    started: Callable[[Mapping[str, str]], None],
    *,
    browser: bool,
) -> None:
    """Serve ``app`` until Ctrl-C. ``started`` gets the addresses of ``paths``; port 0 is one that is free.

    ConfigError where the address cannot be had.
    """
    listening = _listen(address)
    at = ListenAddress(address.host, listening.getsockname()[1])
    addresses = {name: f"{at.url}{path}" for name, path in paths.items()}
    config = uvicorn.Config(
        Guard(app, at.hosts), log_level="warning", access_log=False, server_header=False, lifespan="off", ws="none"
    )
    started(addresses)
    if browser:
        webbrowser.open(next(iter(addresses.values())))
    try:
        uvicorn.Server(config).run(sockets=[listening])
    except KeyboardInterrupt:
        return
    finally:
        listening.close()


def _listen(address: ListenAddress) -> socket.socket:
    try:
        family = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((address.host, address.port), family=family)
    except OSError as error:
        cause = "the port is in use; name another with --port" if error.errno in (98, 48) else error.strerror
        raise ConfigError(f"{address.host}:{address.port}: {cause}") from None
