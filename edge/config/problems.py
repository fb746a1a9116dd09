"""pydantic's problems in a person's words: what is wrong at which key, and what to write instead."""

from __future__ import annotations

import difflib
import types
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from edge.config.section import Section
from edge.config.toml_lines import KeyPath
from edge.config.tree import is_list, is_tree
from edge.settings import Settings

Location = tuple[int | str, ...]

# pydantic's type of a problem -> what should stand there
_WANTED = {
    "string_type": "text in quotes",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "dict_type": "a table",
    "model_type": "a table",
    "list_type": "a list [...]",
}
_SLUG = "1 to 64 of a-z, 0-9, _ and -"


@dataclass(frozen=True)
class Problem:
    """What is wrong at `path`. `needs`: the path that it refers to and that is not there."""

    path: KeyPath
    text: str
    needs: KeyPath | None = None


def explain(error: ValidationError, tree: object) -> list[Problem]:
    """Return one problem per mistake, from all that pydantic found in `tree`."""
    found = _of_meant_members([_Found(detail, tree) for detail in error.errors(include_url=False)])
    misspelt = _misspelt(found)
    told: dict[KeyPath, Problem] = {}
    for one in found:
        if one.path not in misspelt.values():
            told.setdefault(one.path, Problem(one.path, _say(one, misspelt.get(one.path), found)))
    return list(told.values())


def nearest(word: str, known: Iterable[str]) -> str:
    """Return the one of `known` that was probably meant, "" if none is near."""
    return next(iter(difflib.get_close_matches(word, list(known), 1, 0.6)), "")


def dotted(path: KeyPath) -> str:
    """Return a path as TOML writes it."""
    return ".".join(str(part) for part in path)


class _Found:
    """One of pydantic's problems; `path` is its location without the names of a union's members."""

    def __init__(self, detail: ErrorDetails, tree: object) -> None:
        self.detail = detail
        self.kind = detail["type"]
        self.location: Location = detail["loc"]
        self.member: tuple[KeyPath, str] | None = None
        path: list[str | int] = []
        for position, part in enumerate(self.location):
            missing = position == len(self.location) - 1 and self.kind == "missing"
            inside = _child(tree, part)
            if inside is None and not missing:
                if part != "[key]":
                    self.member = (tuple(path), str(part))
                continue
            path.append(part)
            tree = inside[0] if inside else None
        self.path: KeyPath = tuple(path)


def _child(tree: object, key: object) -> tuple[object] | None:
    if is_tree(tree) and key in tree:
        return (tree[str(key)],)
    if is_list(tree) and isinstance(key, int) and key < len(tree):
        return (tree[key],)
    return None


def _of_meant_members(found: list[_Found]) -> list[_Found]:
    """Drop what pydantic says of members of a union that were not meant: the one with the fewest problems was."""
    counts: dict[KeyPath, dict[str, int]] = {}
    for one in found:
        if one.member is not None:
            members = counts.setdefault(one.member[0], {})
            members[one.member[1]] = members.get(one.member[1], 0) + 1
    meant = {path: min(members, key=lambda name: members[name]) for path, members in counts.items()}
    scalars = {path for path, members in counts.items() if not set(members) & _sections()}
    return [
        one for one in found if one.member is None or one.member[0] in scalars or meant[one.member[0]] == one.member[1]
    ]


def _sections() -> set[str]:
    return {kind.__name__ for kind in Section.__subclasses__()}


def _misspelt(found: list[_Found]) -> dict[KeyPath, KeyPath]:
    """Return unknown key -> the missing key that was meant: one mistake, told once."""
    missing = {one.path for one in found if one.kind == "missing"}
    pairs: dict[KeyPath, KeyPath] = {}
    for one in found:
        if one.kind != "extra_forbidden":
            continue
        beside = [str(path[-1]) for path in missing - set(pairs.values()) if path[:-1] == one.path[:-1]]
        near = nearest(str(one.path[-1]), beside)
        if near:
            pairs[one.path] = (*one.path[:-1], near)
    return pairs


def _say(one: _Found, meant: KeyPath | None, found: list[_Found]) -> str:
    key = dotted(one.path)
    if one.kind == "missing":
        return f"{key} is missing; add `{one.path[-1]} = ...`"
    if one.kind == "extra_forbidden":
        return f"{key}: unknown key; {_did_you_mean(one, meant)}"
    if one.location[-1] == "[key]":
        return f"{key}: the name {str(one.path[-1])!r} can't stand in a topic; use {_SLUG}"
    wanted = " or ".join(dict.fromkeys(_wanted(other.detail) for other in found if other.path == one.path))
    return f"{key}: {_shown(one.detail['input'])} will not do; write {wanted}"


def _did_you_mean(one: _Found, meant: KeyPath | None) -> str:
    if meant is not None:
        return f"did you mean {meant[-1]}?"
    known = [name for name in _fields(one.location[:-1]) if name not in ("", one.path[-1])]
    near = nearest(str(one.path[-1]), known)
    return f"did you mean {near}?" if near else f"this table has {', '.join(known)}"


def _wanted(detail: ErrorDetails) -> str:
    """Return what should stand there, as the end of "write ..."."""
    limits: dict[str, Any] = detail.get("ctx") or {}
    known = {
        "greater_than": "a number over {gt}",
        "greater_than_equal": "{ge} or more",
        "less_than_equal": "{le} or less",
        "less_than": "a number under {lt}",
        "literal_error": "{expected}",
        "too_short": "at least {min_length} of them",
    }
    if detail["type"] == "string_pattern_mismatch":
        return _SLUG if "{1,64}" in str(limits["pattern"]) else f"what matches {limits['pattern']}"
    if detail["type"] in known:
        return known[detail["type"]].format(**limits)
    return _WANTED.get(detail["type"], detail["msg"])


def _shown(value: object) -> str:
    """Return a value as TOML would show it, shortened."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a table"
    text = f'"{value}"' if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _fields(location: Location) -> list[str]:
    """Return the keys that the table at a location of pydantic may have."""
    kind: object = Settings
    for part in location:
        kind = _step(kind, part)
    model = _model(kind)
    return list(model.model_fields) if model else []


def _step(kind: object, part: int | str) -> object:
    """Return the type below `kind` at one part of a location; None where there is no table."""
    kind = _bare(kind)
    if model := _model(kind):
        found = model.model_fields.get(str(part))
        return found.annotation if found else None
    members = get_args(kind)
    if _is_union(kind):
        return next((member for member in members if getattr(member, "__name__", "") == part), None)
    return members[-1] if members else None


def _bare(kind: object) -> object:
    """Strip `Annotated` and `| None`."""
    if get_origin(kind) is Annotated:
        return _bare(get_args(kind)[0])
    if _is_union(kind):
        rest = [member for member in get_args(kind) if member is not type(None)]
        return _bare(rest[0]) if len(rest) == 1 else kind
    return kind


def _is_union(kind: object) -> bool:
    return get_origin(kind) in (Union, types.UnionType)


def _model(kind: object) -> type[BaseModel] | None:
    kind = _bare(kind)
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None
