"""The supervisor's end of sd_notify: one datagram socket, and the kernel says which process a message came from.

Source: sd_notify(3); SO_PASSCRED and SCM_CREDENTIALS in unix(7). The address is abstract (`@...`): it has no path that
could be too long, and is gone with the socket.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import struct
from collections.abc import Callable
from typing import Self

_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid


class NotifySocket:
    """Calls `heard(pid, state)` for each state line, such as `READY=1`, that a process of our user sends."""

    def __init__(self, heard: Callable[[int, str], None]) -> None:
        """Choose an address; `address` is the value of NOTIFY_SOCKET for children."""
        self.address = f"@plantedge-{os.getpid()}-{secrets.token_hex(6)}"
        self._heard = heard
        self._socket: socket.socket

    def __enter__(self) -> Self:
        """Listen on the running loop."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._socket.bind("\0" + self.address[1:])
        asyncio.get_running_loop().add_reader(self._socket.fileno(), self.drain)
        return self

    def __exit__(self, *exc: object) -> None:
        """Listen no more."""
        asyncio.get_running_loop().remove_reader(self._socket.fileno())
        self._socket.close()

    def drain(self) -> None:
        """Take everything that has arrived; call it before deciding that a process is silent."""
        while True:
            try:
                data, ancillary, _, _ = self._socket.recvmsg(4096, socket.CMSG_SPACE(_CREDENTIALS.size))
            except (BlockingIOError, InterruptedError):
                return
            for level, kind, payload in ancillary:
                if (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS):
                    pid, uid, _ = _CREDENTIALS.unpack(payload)
                    if uid in (os.getuid(), 0):
                        self._say(pid, data)

    def _say(self, pid: int, data: bytes) -> None:
        for line in data.decode(errors="replace").splitlines():
            self._heard(pid, line)
