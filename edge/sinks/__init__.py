"""Where data goes beside OPC UA: one file per sink, of one of two kinds.

A live sink offers `def open_sink(process: Process) -> Sink`; its file name is its name in `[mirror] sinks` of
device.toml. The mirror calls it with what arrives on the bus, on its loop: it must not block, bounds what it queues,
and never raises for what its far side does.

An archive offers `def open_archive(settings, home) -> Archive`; the historian calls it from a thread of its own with
lines that are in the local store already, again and again until they are taken.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Protocol, cast

from edge.process import Process
from schemas.errors import PlantEdgeError, SettingsError
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

    def trouble(self) -> str:
        """Say what keeps it from passing on, "" for nothing."""
        ...

    async def run(self) -> None:
        """Do what needs time (ticks, connections) until cancelled."""
        ...


class ArchiveError(PlantEdgeError):
    """The archive can't take anything now: try again later."""


class LinesRefused(ArchiveError):
    """The archive will never take these lines."""


class Archive(Protocol):
    """Takes stored points, in batches, at least once."""

    def write(self, lines: str) -> None:
        """Write lines of line protocol (nanoseconds), one below the other.

        Raises:
            LinesRefused: something in these lines is wrong for ever.
            ArchiveError: the archive is away or overloaded.
        """
        ...

    def close(self) -> None:
        """Close connections."""
        ...


class _SinkFile(Protocol):
    def open_sink(self, process: Process) -> Sink: ...


def sink_names() -> list[str]:
    """Return the names of all live sinks that ship."""
    files = Path(__file__).parent.glob("[a-z]*.py")
    return sorted(path.stem for path in files if "def open_sink(" in path.read_text())


def open_sink(name: str, process: Process) -> Sink:
    """Load the file `edge/sinks/<name>.py` and open its sink.

    Raises:
        SettingsError: there is no such sink.
    """
    if name not in sink_names():
        raise SettingsError([f"device.toml: mirror.sinks: no sink {name!r}, there are {', '.join(sink_names())}"])
    module = cast(_SinkFile, importlib.import_module(f"edge.sinks.{name}"))
    return module.open_sink(process)
