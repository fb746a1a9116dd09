"""sd_notify: how a process tells its supervisor (systemd, or `plantedge up`) that it is ready and alive.

Source: sd_notify(3). Without NOTIFY_SOCKET it does nothing.
"""

from __future__ import annotations

import os
import socket


def notify(state: str) -> bool:
    """Send one state line, `READY=1` or `WATCHDOG=1`; return whether a supervisor listens. Never blocks or raises."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path:
        return False
    address = "\0" + path[1:] if path.startswith("@") else path
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sender:
        try:
            sender.sendto(state.encode(), address)
        except OSError:
            return False
    return True
