"""Configuration that came by topic: who may set what, its versions, and its one durable file.

The agent is the only writer of `state/config.json`; every process reads it through `load_settings`. A change is
written as pending before it is announced, so that a crash in the middle is undone at the next start.
"""

from __future__ import annotations

import fnmatch
from pathlib import Path
from typing import Any

import msgspec

from edge.config.files import read_settings
from edge.config.tree import is_tree, merged
from edge.host.durable import write_durably
from edge.processes import PROCESSES
from edge.settings import Settings
from schemas.errors import SettingsError
from schemas.topics import Role

SECTIONS = frozenset(section for row in PROCESSES for section in row.sections)

# What the fleet may set. Fail-safes, ranges, deadlines, endpoints and the residency policy are the site's alone: a
# compromised fleet must not be able to move a setpoint or to point the historian outside.
REMOTE = (
    "pipelines.*.decision.threshold",
    "pipelines.*.decision.clear",
    "pipelines.*.max_batch_size",
    "historian.quota_mb",
    "historian.raw_days",
    "historian.event_days",
    "historian.flush_ms",
    "mirror.tag_hz",
    "opcua.tick_ms",
)

Values = dict[str, Any]


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """One section's overrides; while `pending`, `previous` is what to go back to."""

    version: int
    values: Values
    previous: Values = {}
    pending: bool = False


class ConfigRefused(SettingsError):
    """A change that is not taken; `problems` says why."""


def leaves(values: Values, prefix: str = "") -> list[str]:
    """Return the dotted paths of all values."""
    found: list[str] = []
    for key, value in values.items():
        path = f"{prefix}.{key}" if prefix else key
        found += leaves(value, path) if is_tree(value) and value else [path]
    return found


class ConfigStore:
    """The overrides of one device."""

    def __init__(self, home: Path) -> None:
        """Read what is held; a file that can't be read counts as empty, for the base settings always hold."""
        self.home = home
        self._path = home / "state" / "config.json"
        try:
            self._held = msgspec.json.decode(self._path.read_bytes(), type=dict[str, Held])
        except FileNotFoundError:
            self._held = {}
        except (OSError, msgspec.DecodeError):
            self._path.replace(self._path.with_suffix(".unreadable"))
            self._held = {}

    def held(self, section: str) -> Held:
        """Return a section's overrides, version 0 without any."""
        return self._held.get(section, Held(version=0, values={}))

    def pending(self) -> list[str]:
        """Return the sections whose change was not confirmed."""
        return [section for section, held in self._held.items() if held.pending]

    def check(self, section: str, change: Values, base_version: int | None, role: Role) -> Settings:
        """Return the settings as they would be.

        Raises:
            ConfigRefused: the section, the writer's rights, the base version or the values are wrong: every reason.
        """
        held = self.held(section)
        if section not in SECTIONS:
            raise ConfigRefused(
                [f"no section {section!r} can be set by topic, there are {', '.join(sorted(SECTIONS))}"]
            )
        if base_version is not None and base_version != held.version:
            raise ConfigRefused(
                [f"{section}: the change is based on version {base_version}, the device has {held.version}; read again"]
            )
        if role is Role.UPLINK:
            refused = [path for path in leaves(change, section) if not any(fnmatch.fnmatch(path, r) for r in REMOTE)]
            if refused:
                raise ConfigRefused([f"{path}: is set on the site, not by the fleet" for path in refused])
        try:
            overrides = self._values() | {section: merged(held.values, change)}
            return read_settings(self.home, overrides, with_contents=True)
        except SettingsError as error:
            raise ConfigRefused(list(error.problems)) from error

    def begin(self, section: str, change: Values) -> Held:
        """Write a checked change as pending and return it."""
        old = self.held(section)
        return self._keep(
            section,
            Held(version=old.version + 1, values=merged(old.values, change), previous=old.values, pending=True),
        )

    def confirm(self, section: str) -> Held:
        """The pending change came up: it stays."""
        held = self.held(section)
        return self._keep(section, Held(version=held.version, values=held.values))

    def revert(self, section: str) -> Held:
        """The pending change did not come up: its previous values return, as a new version."""
        held = self.held(section)
        return self._keep(section, Held(version=held.version + 1, values=held.previous))

    def _values(self) -> dict[str, Values]:
        return {section: held.values for section, held in self._held.items()}

    def _keep(self, section: str, held: Held) -> Held:
        self._held = self._held | {section: held}
        write_durably(self._path, msgspec.json.encode(self._held))
        return held
