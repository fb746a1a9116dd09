"""Evidence in the ring: how a message becomes a sealed record, and how it is found, listed and read again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from bus.codec import decode
from edge.history.ring import RingReader, RingWriter
from edge.history.sealed import Item, SealBroken
from edge.security.device_keys import DeviceKeys
from schemas.errors import CodecError, PlantEdgeError
from schemas.evidence import Evidence
from schemas.messages import Verdict
from schemas.topics import EVIDENCE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from edge.settings import Historian

RING: Final = "state/evidence"  # in the device folder
KEYS: Final = "state/keys/evidence"
_DAY_S: Final = 86_400.0


class EvidenceError(PlantEdgeError):
    """Evidence that is not there, or can't be believed or read; the message says what to do."""


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """What a list shows of a record without opening the rest."""

    result_id: str
    pipeline: str
    part_id: int | None
    kept_for: str
    verdict: Verdict
    label: str
    score: float
    model: str
    version: str
    time_ns: int


_encode = msgspec.msgpack.Encoder().encode
_summaries: Final = msgspec.msgpack.Decoder(Summary)


def keys_of(home: Path) -> DeviceKeys:
    """Return the keys that seal a device's evidence."""
    return DeviceKeys(home / KEYS)


def open_writer(home: Path, settings: Historian) -> RingWriter:
    """Return the ring of a device, to add to; there may be one at a time."""
    key_age_s = settings.evidence_key_days * _DAY_S
    return RingWriter(home / RING, keys_of(home), settings.evidence_mb * 1_000_000, key_age_s)


def to_item(evidence: Evidence, payload: bytes) -> Item:
    """Return what goes into the ring: a summary to be listed, and the message as it came."""
    judge = evidence.models[-1]
    summary = Summary(
        result_id=evidence.result_id, pipeline=evidence.pipeline, part_id=evidence.part_id,
        kept_for=evidence.kept_for, verdict=evidence.verdict, label=evidence.label, score=evidence.score,
        model=judge.name, version=judge.version, time_ns=evidence.time_ns,
    )  # fmt: skip
    return Item(evidence.result_id, evidence.time_ns, _encode(summary), payload)


class EvidenceReader:
    """Reads what a device has kept, also while its historian runs."""

    def __init__(self, home: Path) -> None:
        """Nothing is opened yet."""
        self._home = home
        self._ring = RingReader(home / RING, keys_of(home))

    @property
    def problems(self) -> list[str]:
        """What of the ring could not be read, for people."""
        return self._ring.problems

    def newest_first(self, pipeline: str = "") -> Iterator[Summary]:
        """Yield what is kept, of one pipeline or of all."""
        for listed in self._ring.newest_first():
            summary = _summaries.decode(listed.head)
            if pipeline in ("", summary.pipeline):
                yield summary

    def find(self, result_id: str) -> Evidence:
        """Return the evidence of a result.

        Raises:
            EvidenceError: it is not kept, or was changed or damaged, or is of another version of PlantEdge.
        """
        try:
            item = self._ring.find(result_id)
        except SealBroken as error:
            raise EvidenceError(str(error)) from error
        if item is None:
            raise EvidenceError(self._absent(result_id))
        try:
            return decode(EVIDENCE, Evidence, item.body)
        except CodecError as error:
            raise EvidenceError(f"{result_id}: was kept by another version of PlantEdge: {error}") from error

    def _absent(self, result_id: str) -> str:
        unread = "".join(f"; not readable: {problem}" for problem in self.problems)
        newest = next(self.newest_first(), None)
        if newest is None and not unread:
            return (
                f"{self._home / RING} holds nothing yet; what [pipelines.NAME.evidence] names is kept as it happens,"
                " while the historian runs"
            )
        return (
            f"{result_id} is not in {self._home / RING}: never kept, or gone to make room; `plantedge replay --list`"
            f" shows what is there{unread}"
        )
