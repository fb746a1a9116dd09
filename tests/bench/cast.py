"""The benchmark's other processes: each plays its part, told what to do through a pipe."""

import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

START_S = 60.0


class Cast:
    """Who was started; all of them end with it."""

    def __init__(self) -> None:
        """Start without anyone."""
        self.context = multiprocessing.get_context("spawn")
        self._players: list[tuple[Any, Connection]] = []

    def add(self, play: Callable[..., None], *told: Any) -> tuple[Connection, Any]:
        """Start `play(pipe, *told)`; return our end of the pipe and the first that came through it.

        Raises:
            RuntimeError: nothing came.
        """
        near, far = self.context.Pipe()
        child = self.context.Process(target=play, args=(far, *told), daemon=True)
        child.start()
        far.close()  # so that the end of a player is seen
        self._players.append((child, near))
        try:
            if near.poll(START_S):
                return near, near.recv()
        except EOFError:
            pass
        raise RuntimeError(f"{play.__name__} did not start within {START_S:g} s; what it said stands above")

    def close(self) -> None:
        """End all."""
        for child, near in self._players:
            near.close()
            child.terminate()
            child.join(5)
