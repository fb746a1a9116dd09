"""A segment of the ring, byte by byte: a head, then records, each sealed with AES-256-GCM. Pure: bytes in, bytes out.

    segment: magic 8 | key id 8 | salt 32 | time_ns 8                              (56 bytes)
    record:  magic 4 | head size 4 | body size 4 | counter 8 | time_ns 8 | name tag 16 | CRC-32 4   (48 bytes)
             sealed head | sealed body                                     (each 16 bytes longer than what is in it)

Each segment has a key of its own, derived from the device's secret and the segment's random salt; a nonce is the part
(0 head, 1 body) and the record's counter, which only rises and is never used again: a segment is written by one
process from its beginning and never appended to by another. Segment head and record head are authenticated with both
parts. A name is found by its keyed tag, without opening anything. The CRC tells a torn or damaged record head from a
whole one, so that reading goes on behind it; what counts against a person's hand is the seal. Sources: NIST SP 800-38D.
"""

from __future__ import annotations

import hmac
import os
import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from schemas.errors import PlantEdgeError

if TYPE_CHECKING:
    import mmap
    from collections.abc import Iterator

    from edge.security.device_keys import DeviceKey

MAGIC: Final = b"PESEAL1\n"
RECORD: Final = b"REC1"
SEGMENT_HEAD: Final = struct.Struct("<8s8s32sq")
RECORD_HEAD: Final = struct.Struct("<4sIIQq16sI")
SEAL_BYTES: Final = 16
SALT_BYTES: Final = 32
_NONCE: Final = struct.Struct("<IQ")
_HEAD, _BODY = 0, 1
_CRC_AT: Final = RECORD_HEAD.size - 4
_INFO: Final = b"plantedge sealed segment 1"


class SealBroken(PlantEdgeError):
    """Sealed bytes that are not what was sealed, or not with this key."""


class Item(NamedTuple):
    """What is sealed: `name` finds it again, `head` is opened to list it, `body` to use it."""

    name: str
    time_ns: int
    head: bytes
    body: bytes


@dataclass(frozen=True, slots=True)
class Found:
    """Where a whole record lies in its segment."""

    at: int
    head_size: int
    body_size: int
    counter: int
    time_ns: int
    tag: bytes

    @property
    def head_at(self) -> int:
        """Offset of the sealed head."""
        return self.at + RECORD_HEAD.size

    @property
    def body_at(self) -> int:
        """Offset of the sealed body."""
        return self.head_at + self.head_size

    @property
    def end(self) -> int:
        """Offset of what follows."""
        return self.body_at + self.body_size


class Sealer:
    """Seals and opens the records of one segment, whose head it has made or been given."""

    def __init__(self, key: DeviceKey, head: bytes) -> None:
        """Derive the segment's own keys."""
        self.head = head
        derived = key.derive(head, _INFO, 64)
        self._cipher, self._tag_key = AESGCM(derived[:32]), derived[32:]
        self._counter = 0

    @classmethod
    def begin(cls, key: DeviceKey, time_ns: int) -> Sealer:
        """Begin a new segment."""
        return cls(key, SEGMENT_HEAD.pack(MAGIC, key.id, os.urandom(SALT_BYTES), time_ns))

    @property
    def key_id(self) -> bytes:
        """Which device key the segment's own is derived from."""
        found: bytes = SEGMENT_HEAD.unpack(self.head)[1]
        return found

    def tag(self, name: str) -> bytes:
        """Return what a name is found by in this segment."""
        return hmac.digest(self._tag_key, name.encode(), "sha256")[:16]

    def seal(self, item: Item) -> bytes:
        """Return the next record. The counter rises with each call, whether the bytes reach the disk or not."""
        self._counter += 1
        begun = struct.pack(
            "<4sIIQq16s", RECORD, len(item.head) + SEAL_BYTES, len(item.body) + SEAL_BYTES, self._counter,
            item.time_ns, self.tag(item.name),
        )  # fmt: skip
        head = begun + struct.pack("<I", zlib.crc32(begun))
        given = self.head + head
        sealed = self._cipher.encrypt(_NONCE.pack(_HEAD, self._counter), item.head, given)
        return b"".join((head, sealed, self._cipher.encrypt(_NONCE.pack(_BODY, self._counter), item.body, given)))

    def open_head(self, segment: bytes | mmap.mmap, found: Found) -> bytes:
        """Return a record's head.

        Raises:
            SealBroken: it was changed after it was sealed.
        """
        return self._open(_HEAD, segment, found, found.head_at, found.body_at)

    def open_body(self, segment: bytes | mmap.mmap, found: Found) -> bytes:
        """Return a record's body.

        Raises:
            SealBroken: it was changed after it was sealed.
        """
        return self._open(_BODY, segment, found, found.body_at, found.end)

    def _open(self, part: int, segment: bytes | mmap.mmap, found: Found, begin: int, end: int) -> bytes:
        given = self.head + segment[found.at : found.head_at]
        try:
            return self._cipher.decrypt(_NONCE.pack(part, found.counter), segment[begin:end], given)
        except InvalidTag as error:
            raise SealBroken(f"the record at byte {found.at} was changed or damaged after it was sealed") from error


def key_id(segment: bytes | mmap.mmap) -> bytes | None:
    """Return which key a segment is sealed with; None if its head is not whole (a crash as it began) or not ours."""
    if len(segment) < SEGMENT_HEAD.size or segment[: len(MAGIC)] != MAGIC:
        return None
    found: bytes = SEGMENT_HEAD.unpack(segment[: SEGMENT_HEAD.size])[1]
    return found


def records(segment: bytes | mmap.mmap) -> Iterator[Found]:
    """Yield the whole records of a segment, in the order of writing.

    A torn tail ends them. What is damaged in between is stepped over to the next record whose counter fits.
    """
    at, size, last = SEGMENT_HEAD.size, len(segment), 0
    while 0 <= at <= size - RECORD_HEAD.size:
        found = _record(segment, at)
        if found and found.counter > last and found.end <= size:
            yield found
            at, last = found.end, found.counter
        else:
            at = segment.find(RECORD, at + 1)


def _record(segment: bytes | mmap.mmap, at: int) -> Found | None:
    raw = segment[at : at + RECORD_HEAD.size]
    magic, head_size, body_size, counter, time_ns, tag, crc = RECORD_HEAD.unpack(raw)
    if magic != RECORD or crc != zlib.crc32(raw[:_CRC_AT]) or min(head_size, body_size) < SEAL_BYTES:
        return None
    return Found(at, head_size, body_size, counter, time_ns, tag)
