"""The file of a process's metrics: one writer, any readers, no lock. Native byte order: it never leaves the machine.

    0     header: magic, version, owner (process id, its start, boot, identity), capacities, bytes of records written
    256   cells: doubles. A counter or gauge is one, a histogram has one per bucket, one above all, and the sum
    then  records: (length, CRC-32, MessagePack) per series, only ever appended

Why a reader needs no lock. A cell is aligned, and read and written by one 8-byte load or store: it is never half of two
values. Cells are zero before they are named. A record is written first, the header's count of record bytes last; on a
processor that shows the two in the other order the CRC fails, and the series is seen at the next look. Between two
cells a reader may see one observation in a bucket and not yet in the sum; nothing of that adds up over time, because
cells hold totals.

It lies in memory (/dev/shm): a store to a mapped file on a disk waits, now and then, for the disk (measured while
others sync: worst 0.8 ms on ext4, 0.1 ms in memory), and flash would wear.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import shutil
import stat
import struct
import time
import zlib
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from edge.host.clock import boot_id
from edge.host.mapped_file import make_mapped

MAGIC: Final = b"PEMETRIC"
VERSION: Final = 1
HEADER: Final = struct.Struct("=8sIIQ16s64sIIQ")  # with WRITTEN as its last field
WRITTEN: Final = HEADER.size - 8  # where the count of record bytes is; a multiple of 8
CELLS_AT: Final = 256
CELLS: Final = 8_192
RECORD_BYTES: Final = 131_072
RECORD: Final = struct.Struct("=II")
MOST_BYTES: Final = 4 * 2**20  # a reader maps no more
MEMORY: Final = Path("/dev/shm")  # noqa: S108 - we use a private folder in it

_Text = Annotated[str, Meta(max_length=512)]


class Series(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """What a record says: the meaning of the cells from `index` on. `help` stands in the first record of a name."""

    name: Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]{0,127}$")]
    kind: Literal["counter", "gauge", "histogram"]
    help: _Text
    labels: tuple[Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]{0,31}$")], ...]
    values: tuple[_Text, ...]
    bounds: tuple[float, ...]
    index: Annotated[int, Meta(ge=0)] = 0

    @property
    def width(self) -> int:
        """How many cells it has."""
        return len(self.bounds) + 2 if self.kind == "histogram" else 1


class MetricFile:
    """The writer's side."""

    def __init__(self, path: Path, identity: str, *, cells: int = CELLS, record_bytes: int = RECORD_BYTES) -> None:
        """Make the file anew; a reader of the one before it keeps that one.

        Raises:
            OSError: it can't be made, or there is no memory for it.
        """
        self.path = path
        self._limits = cells, record_bytes
        self._used = 0
        self._told: set[str] = set()
        aside = path.with_suffix(".new")
        try:
            self._map = make_mapped(aside, CELLS_AT + 8 * cells + record_bytes)
        except FileNotFoundError:  # a process that ended has just taken the empty folder away
            self._map = make_mapped(aside, CELLS_AT + 8 * cells + record_bytes)
        HEADER.pack_into(
            self._map, 0, MAGIC, VERSION, os.getpid(), started_at(os.getpid()) or 0, boot_id().encode(),
            identity.encode(), cells, record_bytes, 0,
        )  # fmt: skip
        whole = memoryview(self._map)
        self.cells = whole[CELLS_AT : CELLS_AT + 8 * cells].cast("d")
        self._records = whole[CELLS_AT + 8 * cells :]
        self._written = whole[WRITTEN : WRITTEN + 8].cast("Q")
        aside.replace(path)

    def add(self, series: Series) -> int | None:
        """Give a series its cells; return the index of the first, or None where there is no room."""
        cells, record_bytes = self._limits
        told = msgspec.structs.replace(
            series, index=self._used, help="" if series.name in self._told else series.help
        )  # fmt: skip
        payload = msgspec.msgpack.encode(told)
        at = self._written[0]
        end = at + RECORD.size + len(payload)
        if self._used + series.width > cells or end > record_bytes:
            return None
        self._records[at + RECORD.size : end] = payload
        self._records[at : at + RECORD.size] = RECORD.pack(len(payload), zlib.crc32(payload))
        self._used += series.width
        self._told.add(series.name)
        self._written[0] = end
        return told.index

    def remove(self) -> None:
        """Take the file away, if it is still ours; the mapping lives as long as somebody counts in it."""
        try:
            with self.path.open("rb") as file:
                owner = read_owner(file.read(HEADER.size))
            if owner is not None and owner.pid == os.getpid():
                self.path.unlink()
                self.path.parent.rmdir()
        except OSError:
            pass  # gone, or others still have files there


class Owner(msgspec.Struct, frozen=True):
    """Whose file it is: `start` in clock ticks since `boot`."""

    pid: int
    start: int
    boot: str
    identity: str
    cells: int
    record_bytes: int

    @property
    def lives(self) -> bool:
        """Whether the process that wrote it runs: a process id alone may be another's by now."""
        return self.boot == boot_id() and self.start != 0 and started_at(self.pid) == self.start


def read_owner(head: bytes) -> Owner | None:
    """Return what a header says, None if it is none of ours."""
    if len(head) < HEADER.size:
        return None
    magic, version, pid, start, boot, identity, cells, record_bytes, _ = HEADER.unpack_from(head)
    if magic != MAGIC or version != VERSION:
        return None
    return Owner(pid, start, _text(boot), _text(identity), cells, record_bytes)


def _text(raw: bytes) -> str:
    return raw.rstrip(b"\0").decode("ascii", "replace")


class MetricView:
    """The reader's side: one file, mapped once. `series` grows as its writer declares more."""

    def __init__(self, path: Path) -> None:
        """Map it.

        Raises:
            OSError: it can't be read.
            ValueError: it is no metric file of this version.
        """
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode) or not HEADER.size <= found.st_size <= MOST_BYTES:
                raise ValueError(f"{path}: {found.st_size} bytes are no metric file")
            self._map = mmap.mmap(descriptor, found.st_size, access=mmap.ACCESS_READ)
        finally:
            os.close(descriptor)
        self.file = (found.st_dev, found.st_ino)
        self.series: list[Series] = []
        self._help: dict[str, str] = {}
        self._read = 0
        owner = read_owner(self._map[: HEADER.size])
        if owner is None or found.st_size != CELLS_AT + 8 * owner.cells + owner.record_bytes:
            raise ValueError(f"{path}: no metric file of version {VERSION}")
        self.owner = owner
        whole = memoryview(self._map)
        self._cells = whole[CELLS_AT : CELLS_AT + 8 * owner.cells].cast("d")
        self._records = whole[CELLS_AT + 8 * owner.cells :]
        self._written = whole[WRITTEN : WRITTEN + 8].cast("Q")

    def refresh(self) -> list[Series]:
        """Take in what was declared since the last look; stop at a record that is not whole yet."""
        written = min(self._written[0], self.owner.record_bytes)
        while self._read + RECORD.size <= written:
            length, check = RECORD.unpack_from(self._records, self._read)
            end = self._read + RECORD.size + length
            if end > written:
                break
            payload = bytes(self._records[self._read + RECORD.size : end])
            if zlib.crc32(payload) != check:
                break
            self._take(payload)
            self._read = end
        return self.series

    def _take(self, payload: bytes) -> None:
        try:
            found = msgspec.msgpack.decode(payload, type=Series)
        except msgspec.DecodeError:
            return  # whole, but of a kind that we don't know
        if found.index + found.width > self.owner.cells or len(found.labels) != len(found.values):
            return
        text = self._help.setdefault(found.name, found.help)
        self.series.append(found if found.help == text else msgspec.structs.replace(found, help=text))

    def values(self, series: Series) -> list[float]:
        """Return a series' numbers now."""
        return [self._cells[index] for index in range(series.index, series.index + series.width)]


def started_at(pid: int) -> int | None:
    """Return when a process started, in clock ticks since boot (proc(5), stat field 22); None if it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        return None if fields[0] in (b"Z", b"X") else int(fields[19])
    except (OSError, IndexError, ValueError):
        return None


def metric_folder(home: Path, memory: Path = MEMORY) -> Path:
    """Return where a device's processes keep their numbers: in memory, or below its home where there is none.

    Everybody may write in /dev/shm: a folder there that somebody else made before us is not used.
    """
    name = hashlib.sha256(os.fsencode(home.resolve())).hexdigest()[:16]
    private = memory / f"plantedge-{os.getuid()}"
    try:
        private.mkdir(mode=0o700, exist_ok=True)
        found = private.lstat()
    except OSError:
        return home / "run" / "metrics"
    ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077
    return private / name if ours else home / "run" / "metrics"


def forget(home: Path) -> None:
    """Remove what killed processes of a device have left, once none of it runs."""
    folder = metric_folder(home)
    if not look(folder, {}):
        shutil.rmtree(folder, ignore_errors=True)


def look(folder: Path, held: dict[str, MetricView]) -> dict[str, MetricView]:
    """Return identity -> file of each process that lives; `held` is what the last look returned."""
    found: dict[str, MetricView] = {}
    for path in sorted(folder.glob("*.bin")):
        try:
            there = path.stat()
            view = held.get(path.stem)
            if view is None or view.file != (there.st_dev, there.st_ino):
                view = MetricView(path)
        except (OSError, ValueError):
            continue
        if view.owner.lives and view.owner.identity == path.stem:
            view.refresh()
            found[path.stem] = view
    return found


def age_s(owner: Owner) -> float:
    """Return for how long a process has run."""
    return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - owner.start / os.sysconf("SC_CLK_TCK"))
