"""Why nothing was found in the history: a name that it does not know, or the time."""

from __future__ import annotations

import difflib
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from edge.history.export import Asked
    from edge.history.query import History

_MOST: Final = 20  # names in a sentence
_LOOKED_AT: Final = 2_000  # newest readings: each tag is stored at least every ten seconds
_QUALITY: Final = ".quality"


def why_nothing(history: History, asked: Asked) -> str:
    """Return what to tell a person who asked for this and got nothing."""
    wrong = _unknown_tag(history, *asked.tag) if asked.tag else _unknown(history, asked)
    if wrong:
        return wrong
    if asked.tier is not None and not _aggregated(history, asked):
        return f"{'/'.join(asked.tag) if asked.tag else asked.field} has no aggregates: they are made of numbers"
    if asked.tier is not None:
        return f"nothing in this time; aggregates come some seconds after their {asked.tier.name.lower()} is over"
    return "nothing in this time; `plantedge history query` says what there is"


def _unknown_tag(history: History, source: str, name: str) -> str:
    sources = {one.tags.get("source", "") for one in history.series("reading")}
    if source not in sources:
        return _not_there(f"source {source!r}", source, sources)
    newest = history.rows("reading", 0, time.time_ns(), where={"source": source}, backward=True, limit=_LOOKED_AT)
    tags = {field for row in newest.items for field in row.fields if not field.endswith(_QUALITY)}
    return "" if name in tags else _not_there(f"tag {name!r} of {source}", name, tags)


def _unknown(history: History, asked: Asked) -> str:
    if asked.code:
        codes = {one.tags.get("code", "") for one in history.series("event")}
        return "" if asked.code in codes else _not_there(f"event {asked.code!r}", asked.code, codes)
    if not asked.pipeline:
        return ""
    series = history.series("result")
    pipelines = {one.tags.get("pipeline", "") for one in series}
    if asked.pipeline not in pipelines:
        return _not_there(f"pipeline {asked.pipeline!r}", asked.pipeline, pipelines)
    newest = history.rows("result", 0, time.time_ns(), where={"pipeline": asked.pipeline}, backward=True, limit=50)
    fields = {field for row in newest.items for field in row.fields}
    return "" if not asked.field or asked.field in fields else _not_there(f"field {asked.field!r}", asked.field, fields)


def _aggregated(history: History, asked: Asked) -> bool:
    """Return whether there are aggregates of what is asked for, at any time."""
    trend = asked.trend()
    if trend is None or asked.tier is None:
        return False
    return bool(history.buckets(trend, asked.tier, 0, time.time_ns(), backward=True, limit=1).items)


def _not_there(what: str, name: str, known: Iterable[str]) -> str:
    names = sorted(one for one in known if one)
    if near := difflib.get_close_matches(name, names, 1):
        return f"the history has no {what}; did you mean {near[0]}?"
    more = f" and {len(names) - _MOST} more" if len(names) > _MOST else ""
    return f"the history has no {what}; there is {', '.join(names[:_MOST]) or 'none'}{more}"
