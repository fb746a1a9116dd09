"""The models folder, watched for development: a version that was put there or changed is told once it is whole.

Polling, because a folder that is mounted into a container or lies on a share sends no inotify events. A look costs a
stat per file; a folder is read only when it has changed since, and has been left alone for one look.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edge.models.contract import Contract, newest_version
from schemas.errors import ContractError

LOOK_S: Final = 1.0
PATIENCE_S: Final = 5.0  # a copy that has stalled for that long is told as what it is: a folder that can't be used
Stamp = tuple[str, frozenset[tuple[str, int, int, int]]]  # version; name, inode, size and time of each file


@dataclass(frozen=True)
class Change:
    """A model whose folder is another one now: its contract, or why it has none."""

    model: str
    contract: Contract | None
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Pending:
    stamp: Stamp
    since_s: float


class FolderWatch:
    """`look` from one thread, about once a second; what is there at the first look is no news."""

    def __init__(self, models: Path, version_of: Callable[[str], str]) -> None:
        """Watch `models/<name>/`; `version_of(name)` is the version to run, "" for the newest."""
        self._models, self._version_of = models, version_of
        self._told: dict[str, Stamp] = {}
        self._pending: dict[str, _Pending] = {}
        self._first = True

    def look(self, names: Iterable[str], now_s: float) -> list[Change]:
        """Return what has changed and settled since the last look; `now_s` is of a monotonic clock."""
        found: list[Change] = []
        for name in names:
            stamp = self._stamp(name)
            if self._first:
                self._told[name] = stamp
            elif stamp == self._told.get(name) or not stamp[0]:
                self._pending.pop(name, None)
            elif change := self._settled(name, stamp, now_s):
                found.append(change)
        self._first = False
        return found

    def _settled(self, name: str, stamp: Stamp, now_s: float) -> Change | None:
        pending = self._pending.get(name)
        if pending is None or pending.stamp != stamp:
            self._pending[name] = _Pending(stamp, now_s)
            return None
        change = self._read(name, stamp[0])
        if change.problems and now_s - pending.since_s < PATIENCE_S:
            return None
        if self._stamp(name) != stamp:  # it was read while somebody wrote
            return None
        self._told[name] = stamp
        del self._pending[name]
        return change

    def _read(self, name: str, version: str) -> Change:
        try:
            return Change(name, Contract.load(self._models / name / version))
        except ContractError as error:
            return Change(name, None, tuple(error.problems))

    def _stamp(self, name: str) -> Stamp:
        folder = self._models / name
        try:
            version = self._version_of(name) or newest_version(folder)
            stats = [(file.name, file.stat()) for file in (folder / version).iterdir()]
        except (OSError, ContractError):  # gone, or going: the next look sees what is left
            return "", frozenset()
        return version, frozenset((name, stat.st_ino, stat.st_size, stat.st_mtime_ns) for name, stat in stats)


def models_in(models: Path) -> list[str]:
    """Return the names of the models in a folder; hidden folders are nobody's."""
    return sorted(path.name for path in models.glob("[!.]*") if path.is_dir())
