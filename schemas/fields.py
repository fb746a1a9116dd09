"""What the fields of messages are made of, where a plain type says too little.

MessagePack carries integers of 64 bits without a sign and floats that are no numbers; databases, clocks and JSON hold
neither, so that a message with one of them is refused where it is read.
"""

from __future__ import annotations

import sys
from typing import Annotated

from msgspec import Meta

_LARGEST = sys.float_info.max

SLUG = r"^[a-z0-9_-]{1,64}$"
Slug = Annotated[str, Meta(pattern=SLUG)]
Whole = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Integer = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
Number = Annotated[float, Meta(ge=-_LARGEST, le=_LARGEST)]  # neither infinite nor none
Duration = Annotated[float, Meta(ge=-1e12, le=1e12)]  # 31 years of milliseconds: its nanoseconds are an `Integer`
Value = bool | int | float | str | list[bool | int | float] | None  # of a tag: what its PLC holds
