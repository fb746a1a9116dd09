"""Replays that the page was asked for: one at a time, each in a process of its own, of bounded time and answer."""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path
from typing import Final

import msgspec

from edge.config.held import HELD
from edge.operator_page.views import ReplayView
from edge.supervision.spawn import python
from schemas.errors import PlantEdgeError

TIMEOUT_S: Final = 60.0  # loading models on a small board that is busy
MOST_BYTES: Final = 65_536


class ReplayBusy(PlantEdgeError):
    """Another replay runs."""


class Replays:
    """Runs them."""

    def __init__(self, home: Path) -> None:
        """Run none yet."""
        self._home = home
        self._busy = False

    async def replay(self, result_id: str) -> ReplayView:
        """Return what came of it.

        Raises:
            ReplayBusy: one runs already; the message says what to do.
        """
        if self._busy:
            raise ReplayBusy("another part is being replayed; try again in a moment")
        self._busy = True
        try:
            return await self._run(result_id)
        finally:
            self._busy = False

    async def _run(self, result_id: str) -> ReplayView:
        environment = {name: value for name, value in os.environ.items() if name not in (HELD, "NOTIFY_SOCKET")}
        child = await asyncio.create_subprocess_exec(
            *python("edge.operator_page.run_again", str(self._home), result_id), stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL, env=environment,
        )  # fmt: skip
        try:
            async with asyncio.timeout(TIMEOUT_S):
                said, _ = await child.communicate()
            return msgspec.json.decode(said[:MOST_BYTES], type=ReplayView)
        except TimeoutError:
            return ReplayView(problem=f"it took longer than {TIMEOUT_S:g} s; the device is busy, try again later")
        except msgspec.DecodeError:
            return ReplayView(problem="the replay ended without an answer; try `plantedge replay` on the device")
        finally:
            if child.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    child.kill()
                await child.wait()
