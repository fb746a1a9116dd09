"""The one filter grammar, of the page, REST, the CLI and rollout targets: `site:berlin state:alarm p99>5 press`.

Terms are joined by "and": `key:text` (a whole value, `*` matches anything, `a,b` either), `key>number` with
`>`, `>=`, `<`, `<=`, `=`, and free text found anywhere in a row. `-` before a term turns it round, quotes keep spaces.
"""

from __future__ import annotations

import difflib
import fnmatch
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass

from cloud.device import DeviceRow
from schemas.errors import PlantEdgeError

DAY_MS = 86_400_000
Predicate = Callable[[DeviceRow, int], bool]  # (row, now_ms)


class FilterError(PlantEdgeError):
    """A filter that can't be read; the message names the term and what to write instead."""


_TEXTS: dict[str, Callable[[DeviceRow], list[str]]] = {
    "id": lambda row: [row.node],
    "site": lambda row: [row.site],
    "line": lambda row: [row.line],
    "hardware": lambda row: [row.hardware],
    "software": lambda row: [row.software],
    "state": lambda row: [row.state.value],
    "reason": lambda row: [row.reason.lower()],
    "model": lambda row: [*row.versions, *(f"{model}@{version}" for model, version in row.versions.items())],
    "version": lambda row: [row.software, *row.versions.values()],
}
_NUMBERS: dict[str, Callable[[DeviceRow, int], float | None]] = {
    "p50": lambda row, _: row.p50_ms,
    "p99": lambda row, _: row.p99_ms,
    "misses": lambda row, _: row.misses,
    "rate": lambda row, _: row.rate_hz,
    "queue": lambda row, _: row.queue,
    "cpu": lambda row, _: row.cpu * 100,
    "memory": lambda row, _: row.memory * 100,
    "disk": lambda row, _: row.disk * 100,
    "temperature": lambda row, _: row.temperature_c,
    "mb": lambda row, _: row.upstream_bytes / 1e6,
    "alerts": lambda row, _: row.unacked,
    "certificate": lambda row, now_ms: (row.certificate_ms - now_ms) / DAY_MS if row.certificate_ms else None,
    "seen": lambda row, now_ms: (now_ms - row.seen_ms) / 1000 if row.seen_ms else None,
}
KEYS = (*_TEXTS, *_NUMBERS)
_COMPARE: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt, "=": operator.eq,
}  # fmt: skip
_TERM = re.compile(r'(?=\S)(-?)(?:([A-Za-z0-9_]+)(:|>=|<=|>|<|=))?("[^"]*"?|[^\s"]*)', re.ASCII)
MAX_LENGTH = 512


@dataclass(frozen=True)
class Filter:
    """A parsed filter; the empty one matches everything."""

    text: str
    predicates: tuple[Predicate, ...]

    def matches(self, row: DeviceRow, now_ms: int) -> bool:
        """Return whether a row matches at `now_ms` of the wall clock."""
        return all(predicate(row, now_ms) for predicate in self.predicates)


def parse(text: str) -> Filter:
    """Read a filter.

    Raises:
        FilterError: an unknown key, a value that is no number, an open quote, or more than 512 characters.
    """
    if len(text) > MAX_LENGTH:
        raise FilterError(f"the filter has {len(text)} characters, at most {MAX_LENGTH} are read")
    predicates = [_term(match) for match in _TERM.finditer(text)]
    return Filter(text.strip(), tuple(predicates))


def _term(match: re.Match[str]) -> Predicate:
    minus, key, sign, raw = match.groups()
    if raw.startswith('"') and (len(raw) < 2 or not raw.endswith('"')):
        raise FilterError(f"{match[0]!r}: the quote is not closed")
    value = raw.strip('"').lower()
    if not value:
        raise FilterError(f"{match[0]!r} lacks a value: write {key + sign if key else ''}something")
    predicate = _free(value) if not key else _keyed(key.lower(), sign, value)
    return (lambda row, now_ms: not predicate(row, now_ms)) if minus else predicate


def _keyed(key: str, sign: str, value: str) -> Predicate:
    if key in _TEXTS and sign in (":", "="):
        return _text(key, value)
    if key in _NUMBERS:
        return _number(key, "=" if sign == ":" else sign, value)
    if key in _TEXTS:
        raise FilterError(f"{key} is text: write {key}:{value}")
    near = difflib.get_close_matches(key, KEYS, 1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(KEYS)}"
    raise FilterError(f"no key {key!r}; {hint}")


def _text(key: str, value: str) -> Predicate:
    read = _TEXTS[key]
    patterns = [re.compile(_glob(part)) for part in value.split(",") if part]
    return lambda row, _: any(pattern.match(text.lower()) for pattern in patterns for text in read(row))


def _glob(pattern: str) -> str:
    return fnmatch.translate(pattern.replace("[", "[[]").replace("?", "[?]"))


def _number(key: str, sign: str, value: str) -> Predicate:
    read, compare = _NUMBERS[key], _COMPARE[sign]
    try:
        limit = float(value)
    except ValueError:
        raise FilterError(f"{key} is a number: write {key}>5, not {key}{sign}{value}") from None

    def holds(row: DeviceRow, now_ms: int) -> bool:
        found = read(row, now_ms)
        return found is not None and compare(found, limit)

    return holds


def _free(value: str) -> Predicate:
    return lambda row, _: any(value in text.lower() for texts in _TEXTS.values() for text in texts(row))
