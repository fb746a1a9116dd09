"""What a source's thread is given, and what it tells: see `edge/plc/source.py`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from edge.plc.outputs.machine import Change, Ownership
from edge.plc.tags.lists import Native, Tag
from schemas.fields import Value
from schemas.messages import Decision, Output, Reading, ReplyCode


@dataclass(frozen=True)
class Decided:
    """A decision for the thread."""

    decision: Decision
    received_ns: int


@dataclass(frozen=True)
class WriteJob:
    """A write that the write path has admitted; `key` (origin, request id), `note`, `on_behalf` are for who asked."""

    key: tuple[str, str]
    tag: Tag
    value: Native
    note: str = ""
    on_behalf: str = ""


@dataclass(frozen=True)
class Written:
    """What became of a write: the value read back, or the problem and its code."""

    job: WriteJob
    value: Value = None
    problem: str = ""
    code: ReplyCode = ReplyCode.REFUSED


@dataclass(frozen=True)
class LinkChange:
    """The link came up, or went down for `reason`."""

    up: bool
    reason: str = ""


@dataclass(frozen=True)
class FailsafeChange:
    """The fail-safe of a pipeline's outputs was latched or released."""

    pipeline: str
    change: Change


@dataclass(frozen=True)
class OwnerChange:
    """The outputs of a pipeline have become manual, or automatic again."""

    pipeline: str
    owner: Ownership


@dataclass(frozen=True)
class TagsFailsafe:
    """The fail-safe values of tags were written for `reason`; `refused`: tag -> what the PLC said."""

    tags: tuple[str, ...]
    refused: dict[str, str]
    reason: str


@dataclass(frozen=True)
class OutputRefused:
    """The PLC refused the write of an output's tag (`problem`), or takes it again ("")."""

    pipeline: str
    tag: str
    problem: str


@dataclass(frozen=True)
class Counters:
    """Counters since the start, and maxima of the last second."""

    values: dict[str, float]


Told = Reading | Output | Written | LinkChange | FailsafeChange | OwnerChange | TagsFailsafe | OutputRefused | Counters
Tell = Callable[[Told], None]
