"""Which tags a MES is told, and when: the newest value of each, once it has moved. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from edge.mes.messages import iso_time, json_safe
from edge.plc.tags.deadband import deadbands, moved
from edge.plc.tags.tag import Tag
from schemas.fields import Value
from schemas.messages import MesTag, Quality, Reading

MAX_TAGS = 20_000
REFRESH_S = 60.0  # an unchanged tag is repeated this often, so that a reader sees that it is alive
Key = tuple[str, str]  # source, tag


class TagChanges:
    """The newest value of each tag until the next tick, and which of them are told then."""

    def __init__(self, lists: Mapping[str, Mapping[str, Tag]]) -> None:
        """`lists` are the sources' tags, for units and deadbands."""
        self.refused = 0
        self._units = {(source, tag.name): tag.unit for source, tags in lists.items() for tag in tags.values()}
        self._deadbands = deadbands(lists)
        self._known: set[Key] = set()  # ever: each has a topic of its own, which stays
        self._pending: dict[Key, MesTag] = {}
        self._told: dict[Key, tuple[Value, Quality, float]] = {}

    def take(self, reading: Reading) -> None:
        """Take a scan; tags past MAX_TAGS are refused and counted."""
        for name, sample in reading.tags.items():
            key = (reading.source, name)
            if key not in self._known:
                if len(self._known) >= MAX_TAGS:
                    self.refused += 1
                    continue
                self._known.add(key)
            self._pending[key] = MesTag(
                time=iso_time(reading.time_ns), source=reading.source, tag=name, value=json_safe(sample.value),
                unit=self._units.get(key, ""), quality=sample.quality, reason=sample.reason,
            )  # fmt: skip

    def due(self, now_s: float) -> dict[Key, MesTag]:
        """Return the tags that are new, have moved, or are to be repeated; what has not moved is forgotten."""
        pending, self._pending = self._pending, {}
        return {key: tag for key, tag in pending.items() if self._is_due(key, tag, now_s)}

    def told(self, key: Key, tag: MesTag, now_s: float) -> None:
        """Know that a tag has been published."""
        self._told[key] = (tag.value, tag.quality, now_s)

    def forget(self) -> None:
        """Know of none that has been published: each is due again."""
        self._told.clear()

    def _is_due(self, key: Key, tag: MesTag, now_s: float) -> bool:
        told = self._told.get(key)
        if told is None or told[1] is not tag.quality or now_s - told[2] >= REFRESH_S:
            return True
        return moved(told[0], tag.value, self._deadbands.get(key, 0.0))
