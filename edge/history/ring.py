"""A ring of sealed segments on disk: what is newest stays, the oldest segment goes when the quota is reached.

`RingWriter` is the historian's, one per folder; `RingReader` may read beside it. A crash at any instant leaves whole
records and at most one torn one at the end of the last segment, which nobody sees. Segments are `NNNNNNNN.seg`, 0600.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import time
from typing import TYPE_CHECKING, Final, NamedTuple

from edge.history.sealed import SEGMENT_HEAD, Found, Item, SealBroken, Sealer, key_id, records
from edge.host.durable import sync_folder
from edge.security.device_keys import DeviceKeys, KeyUnusable

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence
    from pathlib import Path

SUFFIX: Final = ".seg"
SEGMENTS: Final = 16  # a ring has about so many: one is what is lost at a time
_SMALLEST_SEGMENT: Final = 1_000_000
_MOST_SEGMENTS: Final = 1_024  # a process that is started again and again leaves small ones


def segments(folder: Path) -> list[Path]:
    """Return a ring's segments, the oldest first."""
    return sorted(folder.glob("[0-9]*" + SUFFIX))


class _Segment:
    """The segment that is written now."""

    def __init__(self, path: Path, sealer: Sealer) -> None:
        """Make its file."""
        self.path, self.sealer, self.size = path, sealer, 0
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)

    def write(self, data: bytes) -> None:
        """Append; not on the disk before `sync`."""
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._file, rest) :]
        self.size += len(data)

    def sync(self) -> None:
        """Wait for the disk."""
        os.fdatasync(self._file)

    def close(self) -> None:
        """Close the file."""
        with contextlib.suppress(OSError):
            os.close(self._file)


class RingWriter:
    """Appends to a ring. Every call blocks for the disk: use it from a thread of its own."""

    def __init__(self, folder: Path, keys: DeviceKeys, quota_bytes: int, key_age_s: float = 0.0) -> None:
        """`quota_bytes` holds for all segments together; a key older than `key_age_s` seals no new segment."""
        self._folder, self._keys, self._key_age_s = folder, keys, key_age_s
        self._quota = quota_bytes
        self._segment_bytes = max(_SMALLEST_SEGMENT, quota_bytes // SEGMENTS)
        self._closed = {path: path.stat().st_size for path in segments(folder)}
        self._open: _Segment | None = None
        self._make_room(0)

    @property
    def used_bytes(self) -> int:
        """What the segments hold together."""
        return sum(self._closed.values()) + (self._open.size if self._open else 0)

    def add(self, items: Sequence[Item]) -> None:
        """Seal and write; on the disk when this returns.

        Raises:
            OSError: the disk; not all of these items are kept.
            KeyUnusable: there is no key to seal with.
        """
        try:
            for item in items:
                self._write(item)
            if self._open:
                self._open.sync()
        except OSError:
            self.close()  # what of it reached the disk may be torn; the next item begins a segment
            raise

    def _write(self, item: Item) -> None:
        segment = self._open
        if segment is None or segment.size >= self._segment_bytes:
            segment = self._begin()
        data = segment.sealer.seal(item)
        self._make_room(len(data))
        segment.write(data)

    def _begin(self) -> _Segment:
        self.close()
        sealer = Sealer.begin(self._keys.newest(self._key_age_s), time.time_ns())
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        last = segments(self._folder)[-1:]
        self._make_room(len(sealer.head))
        self._open = _Segment(self._folder / f"{int(last[0].stem) + 1 if last else 1:08}{SUFFIX}", sealer)
        self._open.write(sealer.head)
        sync_folder(self._folder)
        return self._open

    def _make_room(self, size: int) -> None:
        """Remove the oldest segments until `size` more bytes fit, and the keys that seal nothing any more."""
        removed = False
        while self._closed and (self.used_bytes + size > self._quota or len(self._closed) >= _MOST_SEGMENTS):
            oldest = next(iter(self._closed))
            oldest.unlink(missing_ok=True)
            del self._closed[oldest]
            removed = True
        if removed:
            self._forget_keys()

    def _forget_keys(self) -> None:
        held = [_key_of(path) for path in self._closed]
        if all(held):  # of a segment that can't be read now the key is not known, and it may be needed
            self._keys.keep({*filter(None, held), *([self._open.sealer.key_id] if self._open else [])})

    def close(self) -> None:
        """End the segment; the next item begins one."""
        if self._open:
            self._open.close()
            if self._open.size > SEGMENT_HEAD.size:
                self._closed[self._open.path] = self._open.size
            else:
                self._open.path.unlink(missing_ok=True)
            self._open = None


class Listed(NamedTuple):
    """One record of a ring, its body not opened."""

    path: Path
    found: Found
    head: bytes


class RingReader:
    """Reads a ring, also while it is written."""

    def __init__(self, folder: Path, keys: DeviceKeys) -> None:
        """Nothing is opened yet."""
        self._folder, self._keys = folder, keys
        self.problems: list[str] = []  # what could not be read, for people

    def newest_first(self) -> Iterator[Listed]:
        """Yield every record that can be read; what can't is told in `problems`."""
        for path in reversed(segments(self._folder)):
            with _opened(path) as segment:
                sealer = self._sealer(path, segment)
                for found in reversed(list(records(segment))) if sealer else ():
                    try:
                        yield Listed(path, found, sealer.open_head(segment, found) if sealer else b"")
                    except SealBroken as error:
                        self.problems.append(f"{path}: {error}")

    def find(self, name: str) -> Item | None:
        """Return the newest record of a name, or None.

        Raises:
            SealBroken: it is there, but was changed or damaged after it was written.
        """
        for path in reversed(segments(self._folder)):
            with _opened(path) as segment:
                sealer = self._sealer(path, segment)
                tag = sealer.tag(name) if sealer else b""
                hits = [found for found in records(segment) if found.tag == tag] if sealer else []
                if sealer and hits:
                    return _item(path, segment, sealer, name, hits[-1])
        return None

    def _sealer(self, path: Path, segment: bytes | mmap.mmap) -> Sealer | None:
        found = key_id(segment)
        if found is None:
            if len(segment) >= SEGMENT_HEAD.size:
                self.problems.append(f"{path}: is no segment of this ring, or damaged where it begins")
            return None
        try:
            return Sealer(self._keys.key(found), segment[: SEGMENT_HEAD.size])
        except KeyUnusable as error:
            self.problems.append(f"{path}: {error}")
            return None


def _item(path: Path, segment: bytes | mmap.mmap, sealer: Sealer, name: str, found: Found) -> Item:
    try:
        return Item(name, found.time_ns, sealer.open_head(segment, found), sealer.open_body(segment, found))
    except SealBroken as error:
        raise SealBroken(f"{path}: {error}; it is not believed, and can't be replayed") from error


@contextlib.contextmanager
def _opened(path: Path) -> Generator[bytes | mmap.mmap]:
    """A segment's bytes; none if the writer has removed it meanwhile."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        yield b""
        return
    with file:
        if os.fstat(file.fileno()).st_size == 0:
            yield b""
            return
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as segment:
            yield segment


def _key_of(path: Path) -> bytes | None:
    with contextlib.suppress(OSError), path.open("rb") as file:
        return key_id(file.read(SEGMENT_HEAD.size))
    return None
