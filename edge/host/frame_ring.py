"""A ring of large pictures in memory: one camera writes, its pipelines' runtimes read. The bus carries the descriptor.

    0     header: magic, version, slots, bytes of a slot
    64    generations: one unsigned 64-bit number per slot, 0 while the slot is being written
    then  the slots, each beginning on a page

A picture is read as a copy, and the generation of its slot is compared before and after: what was overwritten meanwhile
is given up, so that a reader sees the picture that it was told of or none. A generation counts from the clock at the
ring's start, so that none of an earlier ring, which a killed camera has left, can be taken for one of this. The two
comparisons rest on the order in which a processor shows one process's loads and stores to another. x86 keeps it.
ARM does not promise it, and Python has no fence to ask for it; there it rests on the writer's using all other slots
before it comes back to one, and on the interpreter's hundreds of instructions between a copy and the second look.

It is a file in the private folder of the device's metrics (`edge/host/metric_file.py`): mode 0600 and the same user;
removed by the camera at its end, replaced by the next one at its first large picture.
"""

from __future__ import annotations

import mmap
import os
import stat
import struct
import time
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from edge.host.mapped_file import make_mapped
from edge.host.metric_file import metric_folder

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from schemas.messages import Frame

MAGIC: Final = b"PEFRAMES"
VERSION: Final = 1
HEADER: Final = struct.Struct("=8sIIQ")
GENERATIONS_AT: Final = 64
PAGE: Final = mmap.PAGESIZE
LEAST_SLOTS: Final = 3  # one is written, one is read, one waits on the bus
MOST_SLOTS: Final = 32
MOST_BYTES: Final = 2**31
SUFFIX: Final = ".frames"


def ring_path(home: Path, camera: str) -> Path:
    """Return where a camera process (its identity) keeps its ring."""
    return metric_folder(home) / f"{camera}{SUFFIX}"


def _begin(slots: int) -> int:
    """Return where the first slot begins."""
    return -(-(GENERATIONS_AT + 8 * slots) // PAGE) * PAGE


class FrameRing:
    """The writer's side."""

    def __init__(self, path: Path, picture_bytes: int, most_bytes: int) -> None:
        """Make a ring for pictures of a size; a reader of the one before it keeps that one until it looks again.

        Raises:
            OSError: it can't be made, or there is no memory for it.
            ValueError: not even a few pictures fit into `most_bytes`.
        """
        self.slot_bytes = -(-picture_bytes // PAGE) * PAGE
        self.slots = min(MOST_SLOTS, most_bytes // self.slot_bytes)
        if self.slots < LEAST_SLOTS:
            need_mb = -(-LEAST_SLOTS * self.slot_bytes // 2**20)
            raise ValueError(f"ring_mb is too small for pictures of {picture_bytes} bytes: write {need_mb} or more")
        self.path = path
        aside = path.with_suffix(".new")
        self._map = make_mapped(aside, _begin(self.slots) + self.slots * self.slot_bytes)
        HEADER.pack_into(self._map, 0, MAGIC, VERSION, self.slots, self.slot_bytes)
        self._whole = np.frombuffer(self._map, np.uint8)
        self._generations = self._whole[GENERATIONS_AT : GENERATIONS_AT + 8 * self.slots].view(np.uint64)
        self._generation = time.time_ns()
        aside.replace(path)
        self._file = path.stat().st_ino

    def put(self, pixels: NDArray[Any]) -> tuple[int, int]:
        """Copy a picture of at most `slot_bytes` into the oldest slot; return the slot and its generation."""
        self._generation += 1
        slot = self._generation % self.slots
        self._generations[slot] = 0
        begin = _begin(self.slots) + slot * self.slot_bytes
        flat = np.ascontiguousarray(pixels).reshape(-1).view(np.uint8)
        self._whole[begin : begin + flat.size] = flat
        self._generations[slot] = self._generation
        return slot, self._generation

    def remove(self) -> None:
        """Take the file away, if it is still ours; whoever has it mapped keeps what they see."""
        try:
            if self.path.stat().st_ino == self._file:
                self.path.unlink()
                self.path.parent.rmdir()
        except OSError:
            pass  # gone, or others still have files there


class _View:
    """One ring, mapped for reading."""

    def __init__(self, path: Path) -> None:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        try:
            found = os.fstat(descriptor)
            usable = stat.S_ISREG(found.st_mode) and found.st_uid == os.getuid()
            if not usable or not GENERATIONS_AT <= found.st_size <= MOST_BYTES:
                raise ValueError(f"{path} is no ring of ours")
            self._map = mmap.mmap(descriptor, found.st_size, access=mmap.ACCESS_READ)
        finally:
            os.close(descriptor)
        magic, version, self.slots, self.slot_bytes = HEADER.unpack_from(self._map)
        if magic != MAGIC or version != VERSION or found.st_size != _begin(self.slots) + self.slots * self.slot_bytes:
            raise ValueError(f"{path} is no ring of version {VERSION}")
        whole = np.frombuffer(self._map, np.uint8)
        self.generations = whole[GENERATIONS_AT : GENERATIONS_AT + 8 * self.slots].view(np.uint64)
        self._pixels = whole[_begin(self.slots) :]

    def copy(self, slot: int, generation: int, size: int) -> bytes | None:
        """Return a picture, None if it is not there, or not any more."""
        if generation <= 0 or not 0 <= slot < self.slots or not 0 <= size <= self.slot_bytes:
            return None  # generation 0 is that of a slot which is being written
        if self.generations[slot] != generation:
            return None
        found = self._pixels[slot * self.slot_bytes : slot * self.slot_bytes + size].tobytes()
        return found if self.generations[slot] == generation else None


class RingReader:
    """The rings of a device's cameras."""

    def __init__(self, home: Path) -> None:
        """Map nothing yet."""
        self._home = home
        self._views: dict[str, _View] = {}

    def pixels(self, frame: Frame) -> bytes | str:
        """Return the pixels that a frame describes, or why they can't be had."""
        view = self._views.get(frame.ring)
        found = view.copy(frame.slot, frame.generation, frame.size) if view else None
        if found is not None:
            return found
        try:  # the camera has begun again, or its pictures have grown: the ring is another file
            view = self._views[frame.ring] = _View(ring_path(self._home, frame.ring))
        except (OSError, ValueError) as error:
            return f"its ring can't be read: {error}"
        found = view.copy(frame.slot, frame.generation, frame.size)
        return "its slot in the ring was overwritten before it was read" if found is None else found
