"""Where results go beside OPC UA: one file per sink, its name is its name in `[mirror] sinks` of device.toml.

A sink file offers `def open_sink(process: Process) -> Sink`. The mirror calls a sink with what arrives on the bus, on
its loop: a sink must not block, bounds what it queues, and never raises for what its far side does.
"""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import Protocol, cast

from edge.process import Process
from schemas.errors import SettingsError
from schemas.messages import Event, Reading, Result


class Sink(Protocol):
    """Takes what the site's bus says, and passes it on in its own form."""

    def reading(self, reading: Reading) -> None:
        """Take one poll of one source."""
        ...

    def result(self, result: Result) -> None:
        """Take one result."""
        ...

    def event(self, event: Event) -> None:
        """Take one event."""
        ...

    async def run(self) -> None:
        """Do what needs time (ticks, connections) until cancelled."""
        ...


class _SinkFile(Protocol):
    def open_sink(self, process: Process) -> Sink: ...


def sink_names() -> list[str]:
    """Return the names of all sinks that ship."""
    return sorted(path.stem for path in Path(__file__).parent.glob("[a-z]*.py"))


def open_sink(name: str, process: Process) -> Sink:
    """Load the file `edge/sinks/<name>.py` and open its sink.

    Raises:
        SettingsError: there is no such sink.
    """
    if name not in sink_names():
        raise SettingsError([f"device.toml: mirror.sinks: no sink {name!r}, there are {', '.join(sink_names())}"])
    module = cast(_SinkFile, importlib.import_module(f"edge.sinks.{name}"))
    return module.open_sink(process)
