"""Which version of each model the device shall run: the agent's durable file `state/slots.json`."""

from __future__ import annotations

from pathlib import Path

import msgspec

from edge.host.durable import write_durably

PINNED_FILE = "state/slots.json"  # in the device folder


class SlotStore:
    """Pinned versions; a model that is not pinned runs its newest."""

    def __init__(self, home: Path) -> None:
        """Read what is pinned; a file that can't be read is put aside and counts as empty."""
        self._path = home / PINNED_FILE
        try:
            self._pinned = msgspec.json.decode(self._path.read_bytes(), type=dict[str, str])
        except FileNotFoundError:
            self._pinned = {}
        except (OSError, msgspec.DecodeError):
            self._path.replace(self._path.with_suffix(".unreadable"))
            self._pinned = {}

    def pinned(self, model: str) -> str:
        """Return the pinned version, "" without one."""
        return self._pinned.get(model, "")

    def pin(self, model: str, version: str) -> None:
        """Keep `version` as the one to run, durably before it is announced."""
        if self._pinned.get(model) != version:
            self._pinned = self._pinned | {model: version}
            write_durably(self._path, msgspec.json.encode(self._pinned))
