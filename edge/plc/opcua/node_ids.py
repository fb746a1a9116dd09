"""NodeIds as text (`ns=2;s=Line.Speed`), and what asking for one costs. Pure. Source: OPC 10000-6, 5.2.2."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote
from uuid import UUID

from edge.plc.planning import Planned
from edge.plc.tags.forms import Form, Kind
from edge.plc.tags.tag import Tag
from schemas.errors import TagError

Identifier = int | str | UUID | bytes

_NODE: Final = re.compile(r"(?:ns=(?P<index>[0-9]{1,5});|nsu=(?P<uri>[^;]+);)?(?P<kind>[isgb])=(?P<name>.+)", re.DOTALL)
_ASKED, _ANSWERED = 93, 64  # a Read without nodes: message, sequence and request header; its answer's
_ASKED_NODE, _ANSWERED_NODE = 14, 2  # attribute, index range and encoding of one; mask and type of its value
_SIZES: Final = {"bool": 1, "int8": 1, "uint8": 1, "int16": 2, "uint16": 2, "bcd16": 2, "float64": 8, "datetime": 8}
_WIDE: Final = ("int64", "uint64")


@dataclass(frozen=True)
class NodeName:
    """A NodeId whose namespace is an index, or a URI where `uri` is not empty."""

    identifier: Identifier
    index: int = 0
    uri: str = ""


def node_name(tag: Tag) -> NodeName:
    """Return the NodeId that a tag's address says.

    Raises:
        TagError: it is none, or the tag has what OPC UA does not have.
    """
    if tag.bit is not None:
        raise TagError(f"{tag.name}: OPC UA has no bits of a node; take the bool's own node")
    if tag.order != "ABCD":
        raise TagError(f"{tag.name}: OPC UA has no byte order; leave `order` out")
    if tag.form.layout:
        raise TagError(f"{tag.name}: OPC UA has one form of time; its type is datetime")
    found = _NODE.fullmatch(tag.address)
    index = int(found["index"] or 0) if found else 0
    identifier = _identifier(found["kind"], found["name"]) if found else None
    if found is None or identifier is None or index > 0xFFFF:
        raise TagError(f"{tag.name}: {tag.address!r} is no NodeId; write ns=2;s=Line.Speed, ns=3;i=1001 or nsu=URI;s=X")
    return NodeName(identifier, index, unquote(found["uri"] or ""))


def planned_reads(tags: Sequence[Tag], most: int) -> list[Planned]:
    """Return the Read requests of one scan, `most` nodes in one; a namespace by URI counts as its index."""
    batches = [tags[first : first + most] for first in range(0, len(tags), most)]
    return [
        Planned(
            len(batch),
            _ASKED + sum(_ASKED_NODE + _id_bytes(node_name(tag).identifier) for tag in batch),
            _ANSWERED + sum(_ANSWERED_NODE + _value_bytes(tag.form) for tag in batch),
        )
        for batch in batches
    ]


def _identifier(kind: str, name: str) -> Identifier | None:
    try:
        match kind:
            case "i":
                return int(name) if name.isascii() and name.isdecimal() and int(name) < 1 << 32 else None
            case "g":
                return UUID(name)
            case "b":
                return base64.b64decode(name, validate=True)
            case _:
                return name
    except (ValueError, binascii.Error):
        return None


def _id_bytes(identifier: Identifier) -> int:
    if isinstance(identifier, int):
        return 4 if identifier < 1 << 16 else 7
    if isinstance(identifier, UUID):
        return 19
    return 7 + len(identifier.encode() if isinstance(identifier, str) else identifier)


def _value_bytes(form: Form) -> int:
    """At most, for texts: a character of 16 bits may be three bytes of UTF-8."""
    if form.kind is Kind.TEXT:
        return 4 + form.length * (3 if form.element == "wstring" else 1)
    size = 8 if form.element in _WIDE else _SIZES.get(form.element, 4)
    return 4 + size * form.count if form.count else size
