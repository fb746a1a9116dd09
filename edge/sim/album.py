"""Pictures of the simulated cameras, drawn ahead in a thread: drawing on the plant's loop would delay its triggers."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Album:
    """Pictures drawn a few ahead in a thread of its own, while somebody looks."""

    def __init__(self, draw: Callable[[int], bytes], ahead: int = 24) -> None:
        """Draw nothing until `start`. `draw` returns the pixels of a picture by its number."""
        self.drawn_late = 0
        self._draw_one = draw
        self._ahead = ahead
        self._ready: dict[int, bytes] = {}
        self._next = 1
        self._wanted = False
        self._open = True
        self._turn = threading.Condition()
        self._thread = threading.Thread(target=self._draw, name="sim-album", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> None:
        """Stop the thread and wait for it."""
        with self._turn:
            self._open = False
            self._turn.notify()
        self._thread.join(timeout=2.0)

    def want(self, wanted: bool) -> None:
        """Say whether anybody looks."""
        with self._turn:
            self._wanted = wanted
            self._turn.notify()

    def take(self, number: int) -> bytes:
        """Return the pixels of a picture; drawn on the spot, and counted, if the thread has not come that far."""
        with self._turn:
            pixels = self._ready.pop(number, None)
            for old in [known for known in self._ready if known < number]:
                del self._ready[old]
            self._next = max(self._next, number + 1)
            self._turn.notify()
        if pixels is None:
            self.drawn_late += 1
            pixels = self._draw_one(number)
        return pixels

    def _draw(self) -> None:
        while True:
            with self._turn:
                self._turn.wait_for(lambda: not self._open or (self._wanted and len(self._ready) < self._ahead))
                if not self._open:
                    return
                number, self._next = self._next, self._next + 1
            pixels = self._draw_one(number)
            with self._turn:
                self._ready[number] = pixels
