"""One tag: what it is called, where it lies in the PLC, and what may be done with it."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from enum import StrEnum
from functools import cached_property
from typing import Annotated, Final

from edge.plc.tags.forms import Form, form_of
from schemas.fields import Value

ORDERS: Final = ("ABCD", "CDAB", "BADC", "DCBA")
Native = bool | int | float | str | list[bool | int | float]  # a value that is there


class Access(StrEnum):
    """What may be done with a tag from the bus."""

    READ = "r"
    WRITE = "rw"


class Limit(StrEnum):
    """What becomes of a write outside the tag's range."""

    REFUSE = "refuse"
    CLAMP = "clamp"


@dataclass(frozen=True, kw_only=True)
class Tag:
    """One tag. `min`, `max`, `deadband` and `failsafe` are in engineering units; `line` is where it stands."""

    name: Annotated[str, "what it is called everywhere else: up to 128 characters, none of / + #"]
    address: Annotated[str, "where it lies, in the protocol's own words; a member of a structure is an address as well"]
    type: Annotated[str, "see below"]
    access: Annotated[Access, "`rw`: may be written from the bus"] = Access.READ
    group: Annotated[str, "poll group: one of the source's `groups`"] = ""
    scale: Annotated[float, "value = raw * scale + offset; for numbers, also in arrays"] = 1.0
    offset: Annotated[float, "see `scale`"] = 0.0
    unit: Annotated[str, "as OPC UA and MES show it"] = ""
    order: Annotated[str, "byte order of numbers of two registers and more, see below"] = "ABCD"
    bit: Annotated[int | None, "of a bool in a register or word: its bit, from 0"] = None
    deadband: Annotated[
        float, "how far a number has to move to be stored and told again; `2%` is of `min` to `max`"
    ] = 0.0
    min: Annotated[float | None, "lowest value: bounds writes, and is shown as the range"] = None
    max: Annotated[float | None, "highest value, as `min`"] = None
    limit: Annotated[Limit, "a write outside `min` to `max`: `refuse` it, or `clamp` it to the nearer end"] = (
        Limit.REFUSE
    )
    failsafe: Annotated[Value, "what is written when nobody answers for the tag, see below"] = field(
        default=None, hash=False
    )
    description: Annotated[str, "for people"] = ""
    line: int = 0

    @cached_property
    def form(self) -> Form:
        """What the type means; raises TagError where there is no such type."""
        return form_of(self.type)

    @property
    def length(self) -> int:
        """Characters of a text, else 0."""
        return self.form.length

    @property
    def count(self) -> int:
        """Elements of an array, 0 where the value is no list."""
        return self.form.count

    @property
    def scaled(self) -> bool:
        """Whether raw and engineering values differ."""
        return self.scale != 1.0 or self.offset != 0.0


KEYS: Final = tuple(one.name for one in fields(Tag) if one.name != "line")
