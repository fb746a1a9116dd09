"""Whether a value has moved enough to be stored and told again.

As OPC UA's absolute deadband (OPC 10000-4, 7.22.2): by more than the deadband since the last that was told; of an
array, any element. A model's window never sees it: readings carry every tag of every scan.
"""

from __future__ import annotations

from collections.abc import Mapping

from edge.plc.tags.tag import Tag
from schemas.fields import Value

_ROUNDING = 1e-9  # 20.2 - 20.0 is more than 0.2 in binary


def moved(last: Value, value: Value, deadband: float) -> bool:
    """Return whether a value is another than the last, for a number by more than its deadband."""
    if not deadband or last == value:
        return last != value
    if isinstance(last, list) and isinstance(value, list):
        return len(last) != len(value) or any(moved(*pair, deadband) for pair in zip(last, value, strict=True))
    if isinstance(last, bool) or isinstance(value, bool):
        return True
    if not isinstance(last, int | float) or not isinstance(value, int | float):
        return True
    return abs(value - last) - deadband > _ROUNDING * max(abs(value), abs(last))


def deadbands(lists: Mapping[str, Mapping[str, Tag]]) -> dict[tuple[str, str], float]:
    """Return (source, tag) -> deadband of the tags that have one; `lists` are the sources' tags."""
    return {(source, tag.name): tag.deadband for source, tags in lists.items() for tag in tags.values() if tag.deadband}
