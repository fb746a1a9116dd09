"""Fail-safe values of tags that MES, OPC UA or a person write: what stands in the PLC when nobody answers for them.

They are written first after each connection to the PLC, when the process stops, and when the process has been without
its broker (or its loop without progress) for OWNER_LOST_S, to the tags that were written from the bus since. Nothing is
latched: who writes next is obeyed. The tags of a pipeline's outputs have their own rules, in
`edge/plc/outputs/machine.py`.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Final

from edge.connectors import Connector
from edge.plc.tags.tag import Native, Tag
from edge.plc.told import TagsFailsafe, Tell
from schemas.errors import TagError

OWNER_LOST_S: Final = 2.0
_NEVER_NS: Final = 2**63 - 1


class TagFailsafes:
    """Writes the fail-safe values of one source's tags, on its thread; `vouch` alone is called from the loop."""

    def __init__(self, tags: Iterable[Tag], tell: Tell, lost_s: float = OWNER_LOST_S) -> None:
        """Of `tags`, those that have a fail-safe value."""
        self._tags: dict[str, tuple[Tag, Native]] = {
            tag.name: (tag, tag.failsafe) for tag in tags if tag.failsafe is not None
        }
        self._tell = tell
        self._lost_ns = int(lost_s * 1e9)
        self._vouched_ns = time.monotonic_ns()
        self._written: set[str] = set()

    def vouch(self) -> None:
        """Who writes tags can reach us now."""
        self._vouched_ns = time.monotonic_ns()

    @property
    def due_ns(self) -> int:
        """When `tick` has something to do, unless somebody vouches before."""
        return self._vouched_ns + self._lost_ns if self._written else _NEVER_NS

    def written(self, tag: Tag) -> None:
        """A tag was written from the bus, or may have been."""
        if tag.name in self._tags:
            self._written.add(tag.name)

    def put_all(self, connector: Connector, reason: str) -> None:
        """Write all: what stands in the PLC is from before, or nobody will look after it from now on.

        Raises:
            ConnectorError: the link failed.
        """
        self._put(connector, list(self._tags), reason)

    def tick(self, connector: Connector, now_ns: int) -> None:
        """Write those that were written from the bus, once nobody has vouched for long.

        Raises:
            ConnectorError: the link failed.
        """
        if now_ns >= self.due_ns:
            self._put(connector, sorted(self._written), f"no broker for {self._lost_ns / 1e9:g} s")

    def _put(self, connector: Connector, names: list[str], reason: str) -> None:
        """Write in turn; what the PLC refuses is told and keeps none of the others."""
        refused: dict[str, str] = {}
        for name in names:
            tag, value = self._tags[name]
            try:
                connector.write(tag, value)
            except TagError as error:
                refused[name] = str(error)
        self._written.clear()
        if names:
            self._tell(TagsFailsafe(tuple(name for name in names if name not in refused), refused, reason))
