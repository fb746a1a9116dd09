"""What people and the line have done with alarms, over restarts of the server: `state/opcua/alarms.json`.

Who has acknowledged an alarm, and shelved or disabled another, is not asked again because the server was started anew.
It holds the alarms of the address space at most, each of bounded size.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import msgspec

from edge.host.durable import write_durably
from edge.opcua_server.alarms import Alarm

log = logging.getLogger(__name__)
FILE: Final = "state/opcua/alarms.json"  # in the device folder
SCHEMA: Final = "opcua_alarms/1"


class _Kept(msgspec.Struct, frozen=True, kw_only=True):
    """The file. `alarms`: by the identifiers of their nodes."""

    schema: str = SCHEMA
    alarms: dict[str, Alarm] = {}


class AlarmStore:
    """Keeps the alarms of a device durably."""

    def __init__(self, home: Path) -> None:
        """Read nothing yet."""
        self._path = home / FILE
        self._written = b""
        self._thread = ThreadPoolExecutor(1, "alarms")  # of its own: what was cancelled may still be writing
        self._failing = False

    def read(self) -> Mapping[str, Alarm]:
        """Return what was kept; a file that can't be read is put aside, and counts as none."""
        try:
            kept = msgspec.json.decode(self._path.read_bytes(), type=_Kept)
        except FileNotFoundError:
            return {}
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
            log.warning("%s can't be read (%s) and is put aside: alarms begin anew", self._path, error)
            self._path.replace(self._path.with_suffix(".unreadable"))
            return {}
        return kept.alarms if kept.schema == SCHEMA else {}

    async def keep(self, alarms: Mapping[str, Alarm]) -> None:
        """Return once `alarms` are on the disk, in place of what was; a disk that takes nothing is logged."""
        data = msgspec.json.encode(_Kept(alarms=dict(alarms)))
        await asyncio.get_running_loop().run_in_executor(self._thread, self._write, data)

    def _write(self, data: bytes) -> None:
        if data == self._written:
            return
        try:
            write_durably(self._path, data)
        except OSError as error:
            if not self._failing:
                log.warning("%s can't be written (%s): a restart forgets who acknowledged", self._path, error)
            self._failing = True
            return
        self._written, self._failing = data, False

    def close(self) -> None:
        """Write nothing more than what is being written."""
        self._thread.shutdown(wait=False)
