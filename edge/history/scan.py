"""Walking over rows of several series in the order of time, slice by slice, from any position on.

A slice is one statement that is read to its end, so that no reader of the WAL is held between two of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Generic, NamedTuple, TypeVar

from schemas.errors import PlantEdgeError

SLICE: Final = 4_000  # rows of a statement: a few milliseconds
SCAN: Final = 40_000  # rows that a walk looks at before it says how far it has come
FIRST: Final = 64  # rows of the first slice, where little is asked for
T = TypeVar("T")
Read = Callable[[str, tuple[int, ...]], Sequence[tuple[object, ...]]]  # runs a statement to its end


class HistoryError(PlantEdgeError):
    """The history can't be read: it is not there, its file is no store, or a token is not ours."""


class Position(NamedTuple):
    """The last row that was looked at: times of one series differ, so this is a total order."""

    time: int
    series: int

    @staticmethod
    def read(token: str) -> Position | None:
        """Return the position of a token, None of "".

        Raises:
            HistoryError: it is no token of ours.
        """
        if not token:
            return None
        try:
            time, number = token.split(".")
            return Position(int(time), int(number))
        except ValueError as error:
            raise HistoryError(f"{token!r} is no position in the history; begin again without one") from error

    def token(self) -> str:
        """Return it as text."""
        return f"{self.time}.{self.series}"


class Found(NamedTuple):
    """A row: `time` in the unit of its table, `held` what its statement selects after it."""

    time: int
    series: int
    held: tuple[object, ...]

    @property
    def position(self) -> Position:
        """Where it stands in the walk."""
        return Position(self.time, self.series)


@dataclass(frozen=True)
class Statements:
    """A table's statements: after their own values come low (included), high (excluded) and how many."""

    forward: str
    backward: str


@dataclass(frozen=True)
class Scan:
    """A walk over `[low, high)`. `series`: number -> the values with which its statement begins."""

    read: Read
    statements: Statements
    series: Mapping[int, tuple[int, ...]]
    low: int
    high: int
    backward: bool = False

    def rows(self, wanted: int, after: Position | None) -> Iterator[Found | Position]:
        """Yield rows after a position; the last is a position where the walk stops before its end."""
        waiting = list(self.series)
        size = max(FIRST, min(wanted + 1, self._share(waiting)))
        looked = 0
        while waiting:
            slices = {number: self._slice(number, after, size) for number in waiting}
            cut = [rows[-1].position for rows in slices.values() if len(rows) == size]
            edge = (max(cut) if self.backward else min(cut)) if cut else None
            found = sorted(row for rows in slices.values() for row in rows if self._within(row, edge))
            yield from reversed(found) if self.backward else found
            looked += sum(map(len, slices.values()))
            after = edge
            if edge is not None and looked >= SCAN:
                yield edge
                return
            waiting = [number for number, rows in slices.items() if len(rows) == size or self._cut_off(rows, edge)]
            size = self._share(waiting)

    def _slice(self, number: int, after: Position | None, size: int) -> list[Found]:
        low, high = self.low, self.high
        if after is not None and self.backward:
            high = min(high, after.time + (number < after.series))
        elif after is not None:
            low = max(low, after.time + (number <= after.series))
        statement = self.statements.backward if self.backward else self.statements.forward
        rows = self.read(statement, (*self.series[number], low, high, size))
        return [Found(int(str(time)), number, tuple(held)) for time, *held in rows]

    def _cut_off(self, rows: Sequence[Found], edge: Position | None) -> bool:
        return bool(rows) and not self._within(rows[-1], edge)

    def _within(self, row: Found, edge: Position | None) -> bool:
        if edge is None:
            return True
        return row.position >= edge if self.backward else row.position <= edge

    @staticmethod
    def _share(waiting: Sequence[int]) -> int:
        return max(FIRST, SLICE // max(1, len(waiting)))


@dataclass(frozen=True)
class Page(Generic[T]):
    """Items in order; `next` is the token of what comes after them, "" at the end."""

    items: Sequence[T]
    next: str = ""


def page(rows: Iterator[Found | Position], limit: int, make: Callable[[Found], T | None]) -> Page[T]:
    """Return what `make` makes of rows, up to `limit`; a row of which it makes nothing is passed over."""
    items: list[T] = []
    last: Position | None = None
    for row in rows:
        if isinstance(row, Position):
            return Page(items, row.token())
        if len(items) >= limit and last is not None:
            return Page(items, last.token())
        last = row.position
        if (item := make(row)) is not None:
            items.append(item)
    return Page(items)
