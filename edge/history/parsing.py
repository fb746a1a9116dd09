"""Stored text back into names and values: what `edge.history.points` wrote, read again.

Source: InfluxDB line protocol reference (escaping of measurement, keys and string fields).
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

from edge.history.points import key
from schemas.messages import Quality

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from schemas.fields import Value

QUALITIES: Final = {"0i": Quality.BAD, "1i": Quality.UNCERTAIN, "2i": Quality.GOOD}
_PART: Final = re.compile(r"((?:\\.|[^\\,=])+)(?:=((?:\\.|[^\\,])*))?(?:,|$)")
_FIELD: Final = re.compile(r'((?:\\[,= ]|[^,=])+)=("(?:\\.|[^"\\])*"|[^,]*)(?:,|$)', re.DOTALL)
_ESCAPED: Final = re.compile(r"\\([,= ])")
_QUOTED: Final = re.compile(r"\\([\\\"])")
_QUALITY: Final = ".quality"


class Series(NamedTuple):
    """A series of the store: measurement and tags, by its number there."""

    id: int
    measurement: str
    tags: Mapping[str, str]


def series(number: int, text: str) -> Series:
    """Return a series of its key in line protocol."""
    (measurement, _), *tags = _PART.findall(text)
    return Series(number, _plain(measurement), {_plain(name): _plain(tag) for name, tag in tags})


def value(text: str) -> Value:
    """Return a field's value."""
    if text[-1:].isdigit():
        return float(text)
    if text in ("true", "false"):
        return text == "true"
    if text.startswith('"'):
        return _QUOTED.sub(r"\1", text[1:-1])
    return int(text[:-1]) if text.endswith("i") else float(text)


def fields(text: str) -> dict[str, Value]:
    """Return all fields of a point, by their plain names."""
    return {_plain(name): value(held) for name, held in _FIELD.findall(text)}


@lru_cache(maxsize=4_096)
def picker(name: str) -> Callable[[str], tuple[str | None, Quality] | None]:
    """Return what finds one field in a point's text: its text there and its quality, None where it is not.

    A tag that is Bad has a quality and no value. A point without a quality of the tag is Good.
    """
    escaped = key(name)
    sign, quality_sign = escaped + "=", f"{escaped}{_QUALITY}="
    of_value = re.compile(rf"(?:^|,){re.escape(escaped)}=([^,]*)")
    of_quality = re.compile(rf"(?:^|,){re.escape(escaped + _QUALITY)}=([^,]*)")

    def pick(text: str) -> tuple[str | None, Quality] | None:
        with_quality = quality_sign in text
        if not with_quality and sign not in text:
            return None
        if '"' in text:  # a name may stand inside a text
            found = dict(_FIELD.findall(text))
            held, said = found.get(escaped), found.get(escaped + _QUALITY)
        elif with_quality:
            first, second = of_value.search(text), of_quality.search(text)
            held, said = first[1] if first else None, second[1] if second else None
        elif not (begin := text.find(sign)) or text[begin - 1] == ",":  # a third of what the expression takes
            end = text.find(",", begin + len(sign))
            return text[begin + len(sign) : end if end >= 0 else None], Quality.GOOD
        else:
            first = of_value.search(text)
            return (first[1], Quality.GOOD) if first else None
        if held is None and said is None:
            return None
        return held, QUALITIES.get(said or "2i", Quality.BAD)

    return pick


@lru_cache(maxsize=4_096)
def column(name: str) -> Callable[[Sequence[str]], list[float] | None]:
    """Return what finds one field in many points at once: a number of each, or None if anything is less plain.

    Plain are points that all have the field, as a number that is no whole one, Good, and without texts beside it.
    """
    escaped = key(name)
    of_value = re.compile(rf"(?:^|,){re.escape(escaped)}=([^,\n]*)", re.MULTILINE)
    odd = f"{escaped}{_QUALITY}="

    def numbers(texts: Sequence[str]) -> list[float] | None:
        joined = "\n".join(texts)
        if '"' in joined or "\\" in joined or odd in joined:
            return None
        found = of_value.findall(joined)
        if len(found) != len(texts):
            return None
        try:
            return list(map(float, found))
        except ValueError:  # a whole number, yes or no
            return None

    return numbers


def _plain(name: str) -> str:
    return _ESCAPED.sub(r"\1", name) if "\\" in name else name
