"""The node's side of a Sparkplug session (Sparkplug 3.0, 5): what is said, in which order, under which number. Pure.

A session is one CONNECT: `will` first, then `births`, then `data` and `death` of devices as they come, `will` again as
the goodbye. Numbers go from 0 to 255 and around; a birth of the node starts them anew, the session's own `bdSeq` does
not change by it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final

from edge.sparkplug.metrics import BDSEQ, REBIRTH, Held, Table
from edge.sparkplug.payload import Command, Metric, Quality, encode

NAMESPACE: Final = "spBv1.0"
_NUMBERS: Final = 256


@dataclass(frozen=True)
class Message:
    """What is published: always QoS 0 and never retained, but for the will (QoS 1)."""

    topic: str
    payload: bytes


@dataclass(frozen=True)
class Names:
    """Where the node stands in the topics."""

    group: str
    node: str

    def topic(self, kind: str, device: str = "") -> str:
        """Return a topic of the node, or of one of its devices."""
        topic = f"{NAMESPACE}/{self.group}/{kind}/{self.node}"
        return f"{topic}/{device}" if device else topic


def state_topic(host: str) -> str:
    """Return where a host application says whether it is there."""
    return f"{NAMESPACE}/STATE/{host}"


class EdgeNode:
    """One node over all its sessions. Times are milliseconds UTC."""

    def __init__(self, names: Names, table: Table, *, aliases: bool = True) -> None:
        """Start before the first session."""
        self._names, self._table, self._aliases = names, table, aliases
        self._bdseq, self._seq = -1, 0

    def open(self, now_ms: int) -> Message:
        """Begin a session: return its will, the node's death."""
        self._bdseq = (self._bdseq + 1) % _NUMBERS
        self._table.node[BDSEQ].take(self._bdseq, Quality.GOOD, now_ms)
        return self.death(now_ms)

    def death(self, now_ms: int) -> Message:
        """Return the death of this session's node; it alone has no number, and its metric no alias."""
        return Message(self._names.topic("NDEATH"), encode([self._table.node[BDSEQ].born(now_ms, False)], now_ms, None))

    def births(self, dead: Collection[str], now_ms: int) -> list[Message]:
        """Return the births of the node and of its devices but the `dead`, with the newest value of everything."""
        self._seq = 0
        metrics = [held.born(now_ms, self._aliases) for held in self._table.node.values()]
        node = Message(self._names.topic("NBIRTH"), encode(metrics, now_ms, self._number()))
        return [node, *(self.device_birth(name, now_ms) for name in self._table.devices if name not in dead)]

    def device_birth(self, device: str, now_ms: int) -> Message:
        """Return the birth of a device that is there, or is there again."""
        metrics = [held.born(now_ms, self._aliases) for held in self._table.devices[device]]
        return Message(self._names.topic("DBIRTH", device), encode(metrics, now_ms, self._number()))

    def device_death(self, device: str, now_ms: int) -> Message:
        """Return the death of a device that does not answer."""
        return Message(self._names.topic("DDEATH", device), encode([], now_ms, self._number()))

    def data(self, device: str, metrics: Iterable[Metric], now_ms: int) -> Message:
        """Return what has changed of a device, of the node itself for ""."""
        topic = self._names.topic("DDATA", device) if device else self._names.topic("NDATA")
        return Message(topic, encode(metrics, now_ms, self._number()))

    def metrics(self, held: Iterable[Held]) -> list[Metric]:
        """Return values as data says them."""
        return [one.changed(self._aliases) for one in held]

    def commands_topic(self) -> str:
        """Return where hosts speak to the node."""
        return self._names.topic("NCMD")

    def device_commands_topic(self) -> str:
        """Return where hosts speak to its devices."""
        return self._names.topic("DCMD", "+")

    def _number(self) -> int:
        number, self._seq = self._seq, (self._seq + 1) % _NUMBERS
        return number


def asks_rebirth(commands: Iterable[Command]) -> bool:
    """Return whether a host wants everything to be said anew."""
    return any(command.name == REBIRTH and command.value is True for command in commands)
