"""Which configuration of the fleet the agent has carried out: `state/desired.json`.

What the fleet desires is retained and comes again at each start; it must not undo what the site has set since then.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import msgspec

from edge.host.durable import write_durably
from schemas.messages import Desired


class _Held(msgspec.Struct, frozen=True):
    generation: int
    config: dict[str, dict[str, object]]


class Fulfilled:
    """The last configuration that was carried out, whatever came of it."""

    def __init__(self, home: Path) -> None:
        """Read it; a file that can't be read counts as none: the configuration is then applied once more."""
        self._path = home / "state" / "desired.json"
        self._held: _Held | None = None
        with contextlib.suppress(OSError, msgspec.DecodeError):
            self._held = msgspec.json.decode(self._path.read_bytes(), type=_Held)

    def has(self, desired: Desired) -> bool:
        """Return whether this was carried out. A new fleet begins anew with its generations: the values count too."""
        return self._held == _Held(desired.generation, desired.config)

    def note(self, desired: Desired) -> None:
        """Keep it, durably."""
        self._held = _Held(desired.generation, desired.config)
        write_durably(self._path, msgspec.json.encode(self._held))
