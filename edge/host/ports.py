"""TCP ports on this machine: whether one is free, who has it, and another one in its place."""

from __future__ import annotations

import contextlib
import socket

import psutil

from bus.mosquitto import free_port
from schemas.errors import StartError


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Return whether a server may listen on a port of `host`."""
    with socket.socket() as candidate:
        candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            candidate.bind((host, port))
        except OSError:
            return False
    return True


class PortChoice:
    """Chooses ports that are free and that no other `plantedge up` of this machine has chosen.

    A program binds its port seconds after it was chosen; a name per port keeps two starts apart for that long. It is a
    socket's abstract name (unix(7)): like the port itself it is one for every user and container of a network
    namespace.
    """

    def __init__(self) -> None:
        """Choose nothing yet."""
        self._held: list[socket.socket] = []

    def choose(self, port: int) -> int:
        """Return `port` if it is free, another one if not."""
        while not (is_free(port) and self._reserve(port)):
            port = free_port()
        return port

    def release(self) -> None:
        """Give all chosen ports back."""
        while self._held:
            self._held.pop().close()

    def _reserve(self, port: int) -> bool:
        name = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            name.bind(f"\0plantedge-port-{port}")
        except OSError:
            name.close()
            return False
        self._held.append(name)
        return True


def holder(port: int) -> str:
    """Return who listens on a port, "another program" where the system does not tell us."""
    with contextlib.suppress(psutil.Error, OSError):
        for link in psutil.net_connections("tcp"):
            if link.status == psutil.CONN_LISTEN and link.laddr and link.laddr.port == port and link.pid:
                return f"{psutil.Process(link.pid).name()} (process {link.pid})"
    return "another program"


def insist(port: int, what: str, remedy: str) -> None:
    """Refuse to start where a port that somebody chose is taken.

    Raises:
        StartError: with who has it and what to do.
    """
    if not is_free(port):
        raise StartError(f"port {port} of {what} is taken by {holder(port)}; {remedy}")
