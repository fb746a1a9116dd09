"""TCP ports on this machine: whether one is free, who has it, and another one in its place."""

from __future__ import annotations

import contextlib
import fcntl
import socket
from pathlib import Path
from typing import IO

import psutil

from bus.mosquitto import free_port
from edge.host.socket_path import private_folder
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
    """Chooses ports that are free and that no other `plantedge up` of this user has chosen.

    A program binds its port seconds after it was chosen; a lock per port keeps two starts apart for that long.
    """

    def __init__(self, folder: Path | None = None) -> None:
        """Choose nothing yet; the locks lie in `folder`."""
        self._folder = folder or private_folder()
        self._held: list[IO[bytes]] = []

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
        lock = (self._folder / f"port-{port}.lock").open("wb")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            return False
        self._held.append(lock)
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
