"""A serial cable that can be broken: two pseudo-terminals with a relay between them.

`cut` loses what is said, as an open wire does. `slow` delays each piece. `garbage` flips bits of what the PLC says.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import tty
from collections.abc import Callable
from pathlib import Path

from edge.sim.cable import Breakable

_PIECE = 4096


class SerialCable(Breakable):
    """Joins a device for the edge, behind a link in the file system, to one for the simulated PLC."""

    def __init__(self, seed: int = 1) -> None:
        """Join nothing until `lay`."""
        super().__init__(seed)
        self._link: Path | None = None
        self._open: list[int] = []
        self._near = self._far = -1

    def lay(self, link: Path) -> str:
        """Make `link` the edge's end; return the device of the PLC's end.

        Raises:
            OSError: something else stands at `link`.
        """
        if link.exists() and not link.is_symlink():
            raise OSError(f"{link} is there and is no link; name a path of its own for the serial face")
        self._near, near_device = self._end()
        self._far, far_device = self._end()
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(near_device)
        self._link = link
        loop = asyncio.get_running_loop()
        loop.add_reader(self._near, self._relay, self._near, self._far, bytes)
        loop.add_reader(self._far, self._relay, self._far, self._near, self._spoilt)
        return far_device

    def close(self) -> None:
        """Take both ends away."""
        super().close()
        if self._link is None:
            return
        loop = asyncio.get_running_loop()
        for end in (self._near, self._far):
            loop.remove_reader(end)
        for descriptor in self._open:
            os.close(descriptor)
        self._link.unlink(missing_ok=True)
        self._link = None

    def _end(self) -> tuple[int, str]:
        """Return our side of a pseudo-terminal and the device that the other opens; its own side is held open, too."""
        ours, theirs = os.openpty()
        tty.setraw(theirs)
        os.set_blocking(ours, False)
        self._open += [ours, theirs]
        return ours, os.ttyname(theirs)

    def _relay(self, from_end: int, to_end: int, change: Callable[[bytes], bytes]) -> None:
        with contextlib.suppress(BlockingIOError):
            piece = change(os.read(from_end, _PIECE))
            if self.fault is None or self.fault.kind == "garbage":
                self._say(to_end, piece)
            elif self.fault.kind == "slow":
                asyncio.get_running_loop().call_later(self.fault.delay_s, self._say, to_end, piece)

    def _say(self, end: int, piece: bytes) -> None:
        if self._link is not None:
            with contextlib.suppress(BlockingIOError):  # nobody reads there: a line keeps nothing
                os.write(end, piece)
