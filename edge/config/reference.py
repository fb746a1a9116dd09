"""Writes docs/reference/settings.md from the settings' own classes: `python -m edge.config.reference`.

tests/edge/test_settings_reference.py compares. A table's text is its class's docstring; a key's bounds are its type's.
"""

from __future__ import annotations

import types
from collections.abc import Iterator, Sequence
from inspect import cleandoc
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from edge.config.section import Section
from edge.inference.steps import load_op, op_names
from edge.settings import Settings

FILE: Final = Path("docs/reference/settings.md")
_ROOT: Final = Path(__file__).resolve().parent.parent.parent
_HEAD: Final = """<!-- Generated, do not edit: python -m edge.config.reference -->
# Settings

What may stand in a device folder's `device.toml` and `pipelines/*.toml` (a pipeline's file is its table; the file's
name is the pipeline's). Every problem of every file is reported at once, with its line and the nearest key.
`plantedge doctor --home DIR` reads a folder without starting it.
"""
_BOUNDS: Final = {"gt": "over", "ge": "from", "lt": "under", "le": "to"}
_DEEPER: Final[dict[object, str]] = {dict: ".NAME", list: "[]"}
_NAMES: Final[dict[object, str]] = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true or false",
    type(None): "nothing",
}


def reference() -> str:
    """Return the whole page."""
    tables: dict[type[Section], str] = {}
    for place, kind in _places():
        if len(place) < len(tables.get(kind, place + ".")):  # of several places, the one that is nearest to the root
            tables[kind] = place
    parts = [_HEAD, *(_table(place, kind) for kind, place in tables.items())]
    parts.append("## Ops\n\nWhat `op` of a step may name; `options` are the op's own.\n")
    for name in op_names():
        op = load_op(name)
        parts.append(f"### `{name}`\n\n{cleandoc(op.__doc__ or '')}\n\n{_keys(op.Options)}")
    return "\n".join(parts)


def _places() -> Iterator[tuple[str, type[Section]]]:
    """Each table with the way to it, as TOML writes it, in the order of the classes."""
    waiting: list[tuple[str, type[Section]]] = [("", Settings)]
    while waiting:
        place, kind = waiting.pop(0)
        if place:
            yield place, kind
        inner: list[tuple[str, type[Section]]] = []
        for key, field in kind.model_fields.items():
            for name, below in _sections(field.annotation):
                path = f"{place}.{key}{name}".removeprefix(".").removeprefix("pipelines.NAME.")
                inner.append((path, below))
        waiting = inner + waiting


def _sections(annotation: Any, name: str = "") -> Iterator[tuple[str, type[Section]]]:
    """The tables that a key may hold; `.NAME` where each has a name of its own, `[]` in a list."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        yield name, annotation
        return
    deeper = _DEEPER.get(get_origin(annotation), name)
    for inner in get_args(annotation):
        yield from _sections(inner, deeper)


def _table(place: str, kind: type[Section]) -> str:
    title = "a pipeline's file, `pipelines/NAME.toml`" if kind.__name__ == "Pipeline" else f"`{place}`"
    return f"## {title}\n\n{cleandoc(kind.__doc__ or '')}\n\n{_keys(kind)}"


def _keys(kind: type[Section]) -> str:
    if not kind.model_fields:
        return "No keys.\n"
    fields = kind.model_fields.items()
    rows = [f"| `{key}` | {_kind(field.annotation, field)} | {_default(field)} |" for key, field in fields]
    return "\n".join(["| key | value | without it |", "|---|---|---|", *rows]) + "\n"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "must be there"
    value = field.default
    if isinstance(value, Section):
        return "that table's own"
    if value in ("", None) or value == [] or value == {}:
        return ""
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _kind(annotation: Any, field: FieldInfo | None = None) -> str:
    bounds = _bounds(field.metadata if field else [])
    return (_plain(annotation) + (f", {bounds}" if bounds else "")).replace("|", "or")


def _plain(annotation: Any) -> str:
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        held = [found.metadata if isinstance(found, FieldInfo) else [found] for found in inner[1:]]
        bounds = _bounds([extra for metadata in held for extra in metadata])
        return _plain(inner[0]) + (f", {bounds}" if bounds else "")
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in inner)
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(_plain(one) for one in inner if one is not type(None)))
    if origin is list:
        return f"list of: {_plain(inner[0])}"
    if origin is dict:
        return f"table of name = {_plain(inner[1])}"
    if annotation in _NAMES:
        return _NAMES[annotation]
    return "a table" if isinstance(annotation, type) and issubclass(annotation, Section) else "a value"


def _number(value: float) -> str:
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:g}"


def _bounds(metadata: Sequence[Any]) -> str:
    known = [(one, key) for one in metadata for key in _BOUNDS if hasattr(one, key)]
    found = [f"{_BOUNDS[key]} {_number(getattr(one, key))}" for one, key in known]
    if any(getattr(one, "pattern", None) for one in metadata):
        found.append("of a-z, 0-9, _ and -")
    return " ".join(found)


if __name__ == "__main__":
    (_ROOT / FILE).write_text(reference(), encoding="utf-8")
