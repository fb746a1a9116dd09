"""Secrets of a device for what it seals for itself: files of 32 random bytes in a folder of one purpose, 0600.

A key's id is derived from it: a file that holds another key than its name says is noticed. Only files and
cryptography here: no network. Source of the derivation: RFC 5869 (HKDF) with SHA-256.
"""

from __future__ import annotations

import os
import re
import secrets
import stat
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from edge.host.durable import sync_folder
from schemas.errors import PlantEdgeError

if TYPE_CHECKING:
    from collections.abc import Collection

KEY_BYTES: Final = 32
ID_BYTES: Final = 8
_ID_INFO: Final = b"plantedge key id 1"
_NAME: Final = re.compile(r"(\d{6})-([0-9a-f]{16})\.key")


class KeyUnusable(PlantEdgeError):
    """A key that is not there, or can't be used; the message names the file and says what to do."""


@dataclass(frozen=True)
class DeviceKey:
    """One secret. `made_s`: wall clock, of its file."""

    id: bytes
    made_s: float
    secret: bytes = field(repr=False)

    def derive(self, salt: bytes, info: bytes, length: int = KEY_BYTES) -> bytes:
        """Return a key for one use: another salt or info gives another key."""
        return HKDF(SHA256(), length, salt, info).derive(self.secret)


class DeviceKeys:
    """The keys of one purpose; the newest seals, the older ones still open what they sealed."""

    def __init__(self, folder: Path) -> None:
        """`folder` is made with the first key."""
        self.folder = folder

    def ids(self) -> list[bytes]:
        """Return the ids of all keys, the oldest first."""
        return [bytes.fromhex(named[2]) for _, named in self._files()]

    def key(self, key_id: bytes) -> DeviceKey:
        """Return a key by its id.

        Raises:
            KeyUnusable: it is gone, or its file can't be read or has been changed.
        """
        for path, named in self._files():
            if named[2] == key_id.hex():
                return _read(path, key_id)
        raise KeyUnusable(f"{self.folder} has no key {key_id.hex()}; what it sealed can't be opened without it")

    def newest(self, max_age_s: float = 0.0) -> DeviceKey:
        """Return the key that seals; make one where there is none, or none younger than `max_age_s` (0: any age).

        Raises:
            KeyUnusable: it can't be read, or the folder can't be written.
        """
        if ids := self.ids():
            key = self.key(ids[-1])
            if not max_age_s or time.time() - key.made_s <= max_age_s:
                return key
        return self.make()

    def make(self) -> DeviceKey:
        """Make a key that seals from now on.

        Raises:
            KeyUnusable: the folder can't be written.
        """
        secret = secrets.token_bytes(KEY_BYTES)
        last = max((int(named[1]) for _, named in self._files()), default=0)
        path = self.folder / f"{last + 1:06}-{_id_of(secret).hex()}.key"
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            _write(path, secret)
        except OSError as error:
            raise KeyUnusable(f"{path}: can't be written: {error.strerror}; check owner and disk") from error
        return _read(path, _id_of(secret))

    def keep(self, needed: Collection[bytes]) -> None:
        """Destroy every key but the newest and those `needed`: what they sealed is gone for good."""
        for path, named in self._files()[:-1]:
            if bytes.fromhex(named[2]) not in needed:
                path.unlink(missing_ok=True)

    def _files(self) -> list[tuple[Path, re.Match[str]]]:
        try:
            found = [(path, _NAME.fullmatch(path.name)) for path in sorted(self.folder.iterdir())]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise KeyUnusable(f"{self.folder}: can't be read: {error.strerror}; run as its owner") from error
        return [(path, named) for path, named in found if named]


def _id_of(secret: bytes) -> bytes:
    return HKDF(SHA256(), ID_BYTES, None, _ID_INFO).derive(secret)


def _read(path: Path, key_id: bytes) -> DeviceKey:
    try:
        with path.open("rb") as file:
            told = os.fstat(file.fileno())
            secret = file.read(KEY_BYTES + 1)
    except OSError as error:
        raise KeyUnusable(f"{path}: can't be read: {error.strerror}; run as the owner of the device folder") from error
    if stat.S_IMODE(told.st_mode) & 0o077:
        raise KeyUnusable(f"{path}: others may read it ({stat.S_IMODE(told.st_mode):o}); chmod 600 it")
    if len(secret) != KEY_BYTES or _id_of(secret) != key_id:
        raise KeyUnusable(f"{path}: is not the key that its name says; put the right file back from a backup")
    return DeviceKey(key_id, told.st_mtime, secret)


def _write(path: Path, secret: bytes) -> None:
    """The file never exists half written or with wider rights, and is on the disk before anything is sealed by it."""
    aside = path.with_suffix(".new")
    aside.unlink(missing_ok=True)
    with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(secret)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)
    sync_folder(path.parent)
