"""Which version of each model the device shall run: the agent's durable files.

`state/slots.json` holds what somebody has pinned, `state/served.json` what has served, so that a device that starts
beside a broken version has one to fall back to, and a person one to roll back to.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, TypeVar

import msgspec

from edge.host.durable import write_durably

T = TypeVar("T")
MODELS: Final = "models"  # asked for as a section of the settings is: which version of each model runs
PINNED_FILE = "state/slots.json"  # in the device folder
SERVED_FILE = "state/served.json"
_KEPT: Final = 2


class Served(msgspec.Struct, frozen=True, kw_only=True):
    """How often pins were changed, and the versions of each model that served last, newest first."""

    version: int = 0
    models: dict[str, list[str]] = {}


class SlotStore:
    """Pinned versions, and those that served; a model that is not pinned runs its newest."""

    def __init__(self, home: Path) -> None:
        """Read what is held; a file that can't be read is put aside and counts as empty."""
        self._pins, self._past = home / PINNED_FILE, home / SERVED_FILE
        self._pinned = _read(self._pins, dict[str, str]) or {}
        self._served = _read(self._past, Served) or Served()

    @property
    def version(self) -> int:
        """How often somebody has changed what is pinned."""
        return self._served.version

    def pinned(self, model: str) -> str:
        """Return the pinned version, "" without one."""
        return self._pinned.get(model, "")

    def served(self, model: str) -> list[str]:
        """Return the versions that served last, newest first; at most two."""
        return self._served.models.get(model, [])

    def models(self) -> list[str]:
        """Return the models of which something is known."""
        return sorted(self._pinned.keys() | self._served.models.keys())

    def pin(self, pins: dict[str, str]) -> None:
        """Keep these versions as the ones to run, durably; "" lets a model run its newest again."""
        pinned = {model: version for model, version in (self._pinned | pins).items() if version}
        if pinned != self._pinned:
            self._pinned = pinned
            write_durably(self._pins, msgspec.json.encode(pinned))
            self._keep(Served(version=self._served.version + 1, models=self._served.models))

    def note_served(self, model: str, version: str) -> None:
        """Keep that a version has served, durably."""
        before = self.served(model)
        if before[:1] != [version]:
            held = [version, *(other for other in before if other != version)][:_KEPT]
            self._keep(Served(version=self._served.version, models=self._served.models | {model: held}))

    def _keep(self, served: Served) -> None:
        self._served = served
        write_durably(self._past, msgspec.json.encode(served))


def _read(path: Path, kind: type[T]) -> T | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError):
        path.replace(path.with_suffix(".unreadable"))
        return None
