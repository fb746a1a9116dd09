"""Keeps what the watches of a runtime have learned in `state/drift/<pipeline>.json`; the lane never waits for the disk.

Writing is one named thread's. Of two versions that wait, the newer wins; what has not been written when the power
goes is learned again.
"""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

from edge.host.durable import write_durably
from edge.host.priority import step_back
from edge.inference.drift.baselines import BaselineFile, Baselines

if TYPE_CHECKING:
    from pathlib import Path

FOLDER: Final = "state/drift"  # in the device folder
log = logging.getLogger(__name__)


class Keeper:
    """The files of one runtime."""

    def __init__(self, home: Path) -> None:
        """Touch nothing yet."""
        self._folder = home / FOLDER
        self._waiting: dict[str, BaselineFile] = {}
        self._wake = asyncio.Event()
        self._written = asyncio.Event()
        self._written.set()

    def read(self, pipeline: str) -> Baselines:
        """Return what is kept; a file that can't be read is put aside, and all is learned anew."""
        path = self._path(pipeline)
        try:
            return Baselines(path.read_bytes())
        except FileNotFoundError:
            return Baselines()
        except (OSError, ValueError) as error:
            log.warning("%s can't be read (%s): %s learns again what is normal", path, error, pipeline)
            path.replace(path.with_suffix(".unreadable"))
            return Baselines()

    def keep(self, pipeline: str, baselines: Baselines) -> None:
        """Have a pipeline's baselines written soon."""
        self._waiting[pipeline] = baselines.file()
        self._written.clear()
        self._wake.set()

    async def idle(self) -> None:
        """Wait until everything is written."""
        await self._written.wait()

    async def run(self) -> None:
        """Write what is to be kept, until cancelled."""
        run = asyncio.get_running_loop().run_in_executor
        with ThreadPoolExecutor(1, "drift", step_back) as thread:
            while await self._wake.wait():
                self._wake.clear()
                while self._waiting:
                    pipeline = next(iter(self._waiting))
                    await run(thread, self._write, pipeline, self._waiting.pop(pipeline))
                self._written.set()

    def _write(self, pipeline: str, file: BaselineFile) -> None:
        try:
            write_durably(self._path(pipeline), file.encode())
        except OSError as error:
            log.warning("%s can't be written: %s; after a restart %s learns again", self._folder, error, pipeline)

    def _path(self, pipeline: str) -> Path:
        return self._folder / f"{pipeline}.json"
