"""Results one by one: the next is put once the PLC has answered the number of the last. Pure.

The device counts up from a number far from the last answer, so that no number of an earlier process, which the PLC may
still be about to see, is used again. A start, a missed answer and the end of manual begin with an empty result
(fail-safe verdict, no part), and nothing else is put before the PLC has answered it: then the two are in step.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

R = TypeVar("R")  # what is put
W = TypeVar("W")  # what waits to be put


@dataclass(frozen=True)
class _Put(Generic[R]):
    """What stands in the PLC and is not answered: its number, when it was put, None for an empty result."""

    number: int
    since_ns: int
    result: R | None


class Handshake(Generic[R, W]):
    """Numbers, answers, and what waits for them."""

    def __init__(self, limit: int, waiting: int, timeout_ns: int) -> None:
        """`limit`: the largest number that the tags hold; at most `waiting` results wait, the oldest gives way."""
        self.missed = 0  # results that the PLC did not answer in time
        self.dropped = 0  # results that gave way, or whose answer is no longer awaited
        self._limit = limit
        self._waiting = waiting
        self._timeout_ns = timeout_ns
        self._queue: deque[W] = deque()
        self._put: _Put[R] | None = None
        self._in_step = False
        self._number = 0

    @property
    def in_step(self) -> bool:
        """Whether the PLC has answered the last empty result."""
        return self._in_step

    @property
    def due_ns(self) -> int | None:
        """When `overdue` has something to say."""
        return self._put.since_ns + self._timeout_ns if self._put is not None else None

    def wait(self, result: W) -> None:
        """Let a result wait for its turn."""
        self._queue.append(result)
        while len(self._queue) > self._waiting:
            self._queue.popleft()
            self.dropped += 1

    def restart(self) -> list[W]:
        """Forget what was put, counted as dropped; return what waited. Nothing is put before an answer is read."""
        self.dropped += self.standing is not None
        waited = list(self._queue)
        self._queue.clear()
        self._put, self._in_step, self._number = None, False, 0
        return waited

    def next(self) -> W | None:
        """Return what is to be put now, None while an answer is awaited or nothing waits."""
        if not self._in_step or self._put is not None or not self._queue:
            return None
        return self._queue.popleft()

    def put(self, result: R, now_ns: int) -> int:
        """Take note that a result is put; return its number."""
        return self._place(result, self._number % self._limit + 1, now_ns)

    def put_empty(self, now_ns: int) -> int | None:
        """Take note that an empty result is put; return its number, None before any answer was read."""
        if not self._number:
            return None
        self._in_step = False
        return self._place(None, self._number % self._limit + 1, now_ns)

    def put_again(self, now_ns: int) -> int:
        """Take note that the empty result is put once more: a PLC that was restarted has lost its number."""
        return self._place(None, self._number, now_ns)

    def overwrite(self, result: R) -> None:
        """What stands in the PLC was overwritten before its answer: the answer is for this."""
        if self._put is not None:
            self._put = replace(self._put, result=result)

    @property
    def standing(self) -> R | None:
        """The result that stands in the PLC and is not answered."""
        return self._put.result if self._put is not None else None

    def answer(self, number: int) -> R | None:
        """Take the number that the PLC answers; return the result if it is that one's."""
        if not self._number:  # the first answer that was read: go on far from it
            self._number = (number + self._limit // 2 - 1) % self._limit + 1
            return None
        if self._put is None or number != self._put.number:
            return None
        result, self._put, self._in_step = self._put.result, None, True
        return result

    def overdue(self, now_ns: int) -> bool:
        """Whether a result has not been answered in time; counted."""
        due_ns = self.due_ns
        if due_ns is None or now_ns < due_ns:
            return False
        self.missed += self.standing is not None
        return True

    def _place(self, result: R | None, number: int, now_ns: int) -> int:
        self._number = number
        self._put = _Put(number, now_ns, result)
        return number
