"""Whether a running device holds a PLC: its `connect` is found among this machine's processes, whoever started it."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import psutil

from edge.commands.plc.target import Target, place
from edge.connectors import load_driver
from edge.processes import CONNECT
from edge.settings import Source, load_settings
from schemas.errors import PlantEdgeError


def holder(target: Target) -> str:
    """Return who holds a PLC, "" for nobody here. A device on another machine is not seen."""
    wanted = _normal(place(target.source, target.driver))
    for pid, name, home in _connects():
        if target.home is not None and home == target.home and name == target.name:
            return f"{CONNECT.name}@{name} of {home} (process {pid})"
        try:
            source = load_settings(home).sources[name]
            same = _normal(_place(source)) == wanted
        except (PlantEdgeError, KeyError, OSError):
            continue  # its settings can't be read by us, or have changed since it started
        if same:
            return f"{CONNECT.name}@{name} of {home} (process {pid})"
    return ""


def _place(source: Source) -> str:
    return place(source, load_driver(source.driver))


def _connects() -> Iterator[tuple[int, str, Path]]:
    """Each running `connect`: its process, its source, its device's folder."""
    for process in psutil.process_iter(["cmdline", "cwd"]):
        words: list[str] = process.info["cmdline"] or []
        name = next((word for word in words if word.startswith(f"{CONNECT.name}@")), "")
        if not name or "--home" not in words[:-1]:
            continue
        home = Path(process.info["cwd"] or "/") / words[words.index("--home") + 1]
        yield process.pid, name.partition("@")[2], home.resolve()


def _normal(where: str) -> str:
    """Return a place by its address, or by the device that a link of /dev/serial stands for."""
    if where.startswith("/"):
        return str(Path(where).resolve())
    host, _, port = where.rpartition(":")
    try:
        return f"{socket.gethostbyname(host)}:{port}"
    except OSError:
        return where
