"""The PLC asks for a result: `request` rises, `busy` answers, then `done`, with `error` where none came. Pure.

The answer is the first decision about what came after the question. `busy` falls and `error` is put before `done`,
which the PLC looks at; `done` stands until `request` falls.
"""

from __future__ import annotations

from dataclasses import dataclass

from edge.settings import Outputs

_MS = 1_000_000


@dataclass(frozen=True)
class Put:
    """One write to one tag."""

    tag: str
    value: bool | int


class RequestBits:
    """One pipeline's request and its answer."""

    def __init__(self, outputs: Outputs) -> None:
        """Nobody has asked."""
        self._outputs = outputs
        self._timeout_ns = int(outputs.request_timeout_ms * _MS)
        self._high = False
        self._low_ns = 0
        self._since_ns = 0
        self._due_ns: int | None = None

    @property
    def due_ns(self) -> int | None:
        """When the question is given up."""
        return self._due_ns

    def begin(self) -> tuple[Put, ...]:
        """Forget the question; a request that is still there is asked anew."""
        self._high, self._due_ns, self._low_ns = False, None, 0
        return self._bits(busy=False, error=False, done=False)

    def read(self, request: bool, scan_ns: int, now_ns: int) -> tuple[Put, ...]:
        """Take the PLC's bit as read by a scan that began at `scan_ns`."""
        was, self._high = self._high, request
        if not request:
            self._low_ns, self._due_ns = scan_ns, None
            return self._bits(busy=False, error=False, done=False) if was else ()
        if was:
            return ()
        self._since_ns = self._low_ns or scan_ns  # it rose in between
        self._due_ns = now_ns + self._timeout_ns
        return self._bits(done=False, error=False, busy=True)

    def settle(self, trigger_ns: int, *, good: bool) -> tuple[Put, ...]:
        """A decision stands in the outputs; `good`: its own verdict does."""
        if self._due_ns is None or trigger_ns < self._since_ns:
            return ()
        self._due_ns = None
        return self._bits(busy=False, error=not good, done=True)

    def tick(self, now_ns: int) -> tuple[Put, ...]:
        """Give up a question that nobody answers."""
        if self._due_ns is None or now_ns < self._due_ns:
            return ()
        self._due_ns = None
        return self._bits(busy=False, error=True, done=True)

    def _bits(self, **values: bool) -> tuple[Put, ...]:
        if not self._outputs.request:
            return ()
        return tuple(Put(tag, value) for key, value in values.items() if (tag := str(getattr(self._outputs, key))))
