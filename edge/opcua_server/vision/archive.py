"""The results of one pipeline that clients may ask for: the newest in memory, all others in the historian's store.

What reads the store blocks for milliseconds and belongs on a thread.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from edge.history.query import History, Row
from edge.opcua_server.vision.results import Record, stored

KEPT: Final = 500  # results in memory
PAGE: Final = 250  # results that are read of the store at once: a list that stands still holds as many
LONGEST_ID: Final = 200
_CLOSE_NS: Final = 2_000_000_000  # of the store, what is looked through once the place of a result is found
_MOST_PAGES: Final = 80


class Archive:
    """Remembers results and finds them."""

    def __init__(self, history: History, pipeline: str) -> None:
        """Remember nothing yet."""
        self._history, self._pipeline = history, pipeline
        self._where = {"pipeline": pipeline}
        self._kept: dict[str, Record] = {}

    def add(self, record: Record) -> None:
        """Remember a result; the oldest gives way."""
        self._kept[record.result_id] = record
        if len(self._kept) > KEPT:
            del self._kept[next(iter(self._kept))]

    def kept(self, result_id: str) -> Record | None:
        """Return a result that is in memory."""
        return self._kept.get(result_id)

    def newest_first(self, until_ns: int) -> Iterator[Record | None]:
        """Walk over all results before a time, None after each page of the store.

        Raises:
            HistoryError: the store can't be read, once the walk has come to it.
        """
        return self._walk(list(reversed(self._kept.values())), until_ns)

    def _walk(self, kept: list[Record], until_ns: int) -> Iterator[Record | None]:
        yield from kept
        told, after = {one.result_id for one in kept}, ""
        while True:
            records, after = self._page(until_ns, after)
            yield from (one for one in records if one.result_id not in told)
            if not after:
                return
            yield None

    def _page(self, until_ns: int, after: str) -> tuple[list[Record], str]:
        page = self._history.rows("result", 0, until_ns, where=self._where, backward=True, limit=PAGE, after=after)
        return [stored(row) for row in page.items], page.next

    def find(self, result_id: str, now_ns: int) -> Record | None:
        """Return a result of the store, which has no index by id: the id says where among the others it is.

        Raises:
            HistoryError: the store can't be read.
        """
        wanted = place_of(result_id, self._pipeline)
        if wanted is None:
            return None
        low, high = 0, now_ns  # not from the epoch on: the clock may have been set back since
        while high - low > _CLOSE_NS:
            middle = (low + high) // 2
            found = self._first(middle, high)
            place = None if found is None else self._place(found)
            if found is None or place is None or place > wanted:
                high = middle
            elif place == wanted:
                return stored(found)
            else:
                low = found.time_ns
        return self._among(result_id, low - _CLOSE_NS, high + _CLOSE_NS)

    def _first(self, start_ns: int, end_ns: int) -> Row | None:
        return next(iter(self._history.rows("result", start_ns, end_ns, where=self._where, limit=1).items), None)

    def _place(self, row: Row) -> Place | None:
        return place_of(str(row.fields.get("result_id")), self._pipeline)

    def _among(self, result_id: str, start_ns: int, end_ns: int) -> Record | None:
        after = ""
        for _ in range(_MOST_PAGES):
            page = self._history.rows("result", start_ns, end_ns, where=self._where, limit=PAGE, after=after)
            for row in page.items:
                if row.fields.get("result_id") == result_id:
                    return stored(row)
            after = page.next
            if not after:
                break
        return None


class Place(NamedTuple):
    """Where a result stands among its pipeline's: since when its source counts, and its number since."""

    epoch: int
    seq: int


def place_of(result_id: str, pipeline: str) -> Place | None:
    """Return the place that an id names (schemas/messages.py, Result), None where it is none of the pipeline's."""
    if len(result_id) > LONGEST_ID:
        return None
    head, _, seq = result_id.rpartition("-")
    name, _, epoch = head.rpartition("-")
    try:
        return Place(int(epoch, 16), int(seq)) if name == pipeline else None
    except ValueError:
        return None
