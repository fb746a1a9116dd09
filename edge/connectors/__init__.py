"""Connectors to PLCs: one file per protocol, whose name is the `driver` in the settings; loaded when it is used.

A file offers `check_address(tag)` and `open_connector(source)`, and may offer `planned(source, tags)` and its URLs
(`PORT`, `URL_PATH`); its connector may offer `survey` and `browse`;
tests/edge/connectors/ holds each one to the same conformance suite. A connector is used by one thread. After a
ConnectorError it is closed and a new one is opened.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Iterator, Sequence
from typing import Protocol, cast, runtime_checkable

from edge.plc.browsing import Bounds, Offered
from edge.plc.planning import Planned
from edge.plc.tags.lists import Native, Tag
from edge.settings import Source
from schemas.errors import SettingsError
from schemas.messages import Sample


class Connector(Protocol):
    """A link to one PLC. Every call blocks for at most about the source's `timeout_ms`."""

    def connect(self) -> None:
        """Open the link.

        Raises:
            ConnectorError: it can't be opened.
        """
        ...

    def read(self, tags: Sequence[Tag]) -> Iterator[dict[str, Sample]]:
        """Yield the samples of one request after the other, so that the caller can write between two.

        A tag that can't be read is Bad with its reason, alone.

        Raises:
            ConnectorError: the link failed.
        """
        ...

    def write(self, tag: Tag, value: Native) -> None:
        """Write one value in engineering units, of the type that `coerce` gives it; the PLC has acknowledged it then.

        Raises:
            TagError: the PLC refused.
            ConnectorError: the link failed; whether the value arrived is not known.
        """
        ...

    def close(self) -> None:
        """Close the link; never raises."""
        ...


class Driver(Protocol):
    """What a file of this folder offers."""

    def check_address(self, tag: Tag) -> None:
        """Raise TagError where a tag's address can't be one of this protocol."""
        ...

    def open_connector(self, source: Source) -> Connector:
        """Return a connector that is not connected yet; raise SettingsError for options that it does not know."""
        ...


@runtime_checkable
class Plans(Protocol):
    """What a driver may offer besides: its requests before there is a PLC, for `plantedge plc check`."""

    def planned(self, source: Source, tags: Sequence[Tag]) -> list[Planned]:
        """Return the requests of one scan of a poll group."""
        ...


@runtime_checkable
class Surveys(Protocol):
    """What a connector may offer besides: to see all tags of its source before `connect`."""

    def survey(self, tags: Sequence[Tag]) -> None:
        """Note what several devices behind one link are there for."""
        ...


@runtime_checkable
class Located(Protocol):
    """What a driver may say besides: how `plantedge plc read DRIVER://HOST:PORT/PATH` names a PLC.

    `PORT`: the protocol's own, 0 where there are no hosts. `URL_PATH`: the option that a path stands for, "" for none.
    """

    PORT: int
    URL_PATH: str


@runtime_checkable
class Browses(Protocol):
    """What a connector may offer besides: to say what its PLC has, for `plantedge plc browse`."""

    def browse(self, bounds: Bounds) -> Iterator[Offered]:
        """Yield what there is, asking `bounds` before each request.

        Raises:
            ConnectorError: the link failed.
            TimeIsUp: out of `bounds`; what was found before counts.
        """
        ...


@runtime_checkable
class Follows(Protocol):
    """What a connector may offer besides: to go on with what another one to the same source has planned."""

    def follow(self, before: Connector) -> None:
        """Take over what follows from tags and options alone; what the PLC had answered is found out anew."""
        ...


class Opener:
    """Opens one connector to a source after the other; each of them is asked for once the last one is lost.

    Planning 5,000 tags takes a tenth of a second of a core that other sources need, and that a link that is back has
    to wait for: it is done once.
    """

    def __init__(self, driver: Driver, source: Source, tags: Sequence[Tag]) -> None:
        """Open none yet."""
        self._driver, self._source, self._tags = driver, source, tags
        self._last: Connector | None = None

    def open(self) -> Connector:
        """Return a connector that is not connected yet and knows whose tags it will read."""
        if self._last is None or not isinstance(self._last, Follows):
            self._last = open_surveyed(self._driver, self._source, self._tags)
            return self._last
        connector = self._driver.open_connector(self._source)
        if isinstance(connector, Follows):
            connector.follow(self._last)
        self._last = connector
        return connector


def open_surveyed(driver: Driver, source: Source, tags: Sequence[Tag]) -> Connector:
    """Return a connector that is not connected yet and knows whose tags it will read."""
    connector = driver.open_connector(source)
    if isinstance(connector, Surveys):
        connector.survey(tags)
    return connector


def driver_names() -> list[str]:
    """Return the names of all drivers."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def load_driver(name: str) -> Driver:
    """Import a driver by its file's name.

    Raises:
        SettingsError: there is none.
    """
    known = driver_names()
    if name not in known:
        nearest = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {nearest[0]}?" if nearest else f"there are {', '.join(known)}"
        raise SettingsError([f"driver {name!r} is not known; {hint}"])
    return cast(Driver, importlib.import_module(f"{__name__}.{name}"))
