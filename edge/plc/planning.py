"""Few requests for many tags: neighbours read together, and what one packet can carry. Pure; each driver has its units.

`runs` merges spots of one area (registers, bits, bytes of a data block) whose gaps are small into ranges that one read
can take. `packets` puts ranges or tags that have no neighbours (Logix) into requests that carry several (S7 multi-read,
multiple service packet). Both cover each spot exactly once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, Protocol, TypeVar

from edge.plc.tags.tag import Tag


class Spot(Protocol):
    """Where a tag lies: the units from `address` up to `end` (which is the first after it) of an area."""

    @property
    def area(self) -> str:
        """What a read can't leave: a table of registers, a data block."""
        ...

    @property
    def address(self) -> int:
        """The first unit."""
        ...

    @property
    def end(self) -> int:
        """The unit after the last."""
        ...


SpotT = TypeVar("SpotT", bound=Spot)
ItemT = TypeVar("ItemT")
KeyT = TypeVar("KeyT")
HeldT = TypeVar("HeldT")
_PLANS_KEPT: Final = 64
_LOOK_BACK: Final = 16  # packets that a further item may still fill; more cost time and save next to nothing


@dataclass(frozen=True)
class Reach:
    """What one range may be: up to `gap` unwanted units between two spots, `size` units in all."""

    gap: int
    size: int


@dataclass(frozen=True)
class Room:
    """What is left for items in one request (`asked`) and its reply (`answered`), in bytes, and how many it takes."""

    asked: int
    answered: int
    items: int


@dataclass(frozen=True)
class Planned:
    """One request of a scan as `plantedge plc check` shows it: tags that it answers, bytes of the request and reply."""

    tags: int
    asked: int
    answered: int


class Plans(Generic[ItemT]):
    """What was planned for the tags of a scan. A poll group hands in the same tuple each time: it is found as itself.

    5,000 names put together and hashed at each scan would take longer than half of their values.
    """

    def __init__(self) -> None:
        """Start without any."""
        self._of_tuple: dict[int, tuple[Sequence[Tag], ItemT]] = {}
        self._of_names: dict[tuple[str, ...], ItemT] = {}

    def get(self, tags: Sequence[Tag]) -> ItemT | None:
        """Return the plan of these tags, None where there is none yet."""
        found = self._of_tuple.get(id(tags))
        if found is not None and found[0] is tags:
            return found[1]
        plan = self._of_names.get(tuple(tag.name for tag in tags))
        if plan is not None:
            self._keep_tuple(tags, plan)
        return plan

    def keep(self, tags: Sequence[Tag], plan: ItemT) -> None:
        """Keep a plan; the oldest gives way once there are many, as from a person who reads this and that."""
        _bounded(self._of_names)[tuple(tag.name for tag in tags)] = plan
        self._keep_tuple(tags, plan)

    def _keep_tuple(self, tags: Sequence[Tag], plan: ItemT) -> None:
        if isinstance(tags, tuple):
            _bounded(self._of_tuple)[id(tags)] = tags, plan


def _bounded(held: dict[KeyT, HeldT]) -> dict[KeyT, HeldT]:
    if len(held) >= _PLANS_KEPT:
        del held[next(iter(held))]
    return held


def runs(spots: Iterable[SpotT], reach_of: Callable[[SpotT], Reach]) -> list[tuple[SpotT, ...]]:
    """Return spots in as few ranges as gaps and sizes allow, by area and address.

    A spot that is larger than a range may be has one of its own: its driver has to split or refuse it.
    """
    found: list[list[SpotT]] = []
    end = 0
    for spot in sorted(spots, key=lambda one: (one.area, one.address, one.end)):
        if found and _joins(found[-1][0], end, spot, reach_of(spot)):
            found[-1].append(spot)
            end = max(end, spot.end)
        else:
            found.append([spot])
            end = spot.end
    return [tuple(run) for run in found]


def _joins(first: SpotT, end: int, spot: SpotT, reach: Reach) -> bool:
    near = spot.area == first.area and spot.address - end <= reach.gap
    return near and max(spot.end, end) - first.address <= reach.size


@dataclass
class _Packet(Generic[ItemT]):
    """A request that is being filled, and what room is left in it."""

    asked: int
    answered: int
    most: int
    items: list[ItemT]

    def takes(self, asked: int, answered: int) -> bool:
        return asked <= self.asked and answered <= self.answered and len(self.items) < self.most

    def add(self, item: ItemT, asked: int, answered: int) -> None:
        self.asked -= asked
        self.answered -= answered
        self.items.append(item)


def packets(items: Iterable[ItemT], cost_of: Callable[[ItemT], tuple[int, int]], room: Room) -> list[tuple[ItemT, ...]]:
    """Return items in as few requests as fit, the largest first; `cost_of` is what one asks and answers, in bytes.

    An item that fits into no request has one of its own: its driver has to split or refuse it.
    """
    found: list[_Packet[ItemT]] = []
    costs = [(cost_of(item), item) for item in items]
    for (asked, answered), item in sorted(costs, key=lambda one: max(one[0]), reverse=True):
        packet = next((one for one in found[-_LOOK_BACK:] if one.takes(asked, answered)), None)
        if packet is None:
            packet = _Packet[ItemT](room.asked, room.answered, room.items, [])
            found.append(packet)
        packet.add(item, asked, answered)
    return [tuple(packet.items) for packet in found]
