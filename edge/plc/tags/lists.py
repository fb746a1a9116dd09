"""Tag lists: what a source's tags are called, where they lie in the PLC, and what may be done with them.

A list is CSV (first row: the keys of `Tag`) or TOML (`[tags."Line.Speed"]` tables with the same keys). `#` begins a
comment line in both. `load_tags` reports every problem at once, as `file:line: what, what to do`. The keys and types
are explained in docs/reference/tag-lists.md.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

from edge.plc.tags.coercion import coerce
from edge.plc.tags.forms import INTEGERS, TYPES
from edge.plc.tags.parsing import parse_row
from edge.plc.tags.rows import read_rows
from edge.plc.tags.tag import KEYS, ORDERS, Access, Limit, Native, Tag
from edge.settings import Settings
from schemas.errors import SettingsError, TagError

__all__ = [
    "INTEGERS", "KEYS", "ORDERS", "TYPES", "Access", "CheckAddress", "Limit", "Native", "Tag", "coerce", "load_tags",
    "source_tags",
]  # fmt: skip
CheckAddress = Callable[[Tag], None]


def load_tags(path: Path, groups: Collection[str], check_address: CheckAddress | None = None) -> dict[str, Tag]:
    """Read a tag list; `groups` are the source's poll groups, `check_address` raises TagError for a wrong address.

    Raises:
        SettingsError: every problem of the file.
    """
    problems: list[str] = []
    tags: dict[str, Tag] = {}
    try:
        rows = read_rows(path, KEYS, problems)
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError([f"{path}: the tag list can't be read ({error}); mend the path or the file"]) from error
    for line, row in rows:
        found: list[str] = []
        tag = parse_row(row, line, groups, found)
        if tag is not None and check_address is not None:
            _call(check_address, tag, found)
        if tag is not None and tag.name in tags:
            found.append(f"{tag.name} stands already in line {tags[tag.name].line}; name each tag once")
        elif tag is not None:
            tags[tag.name] = tag
        problems += [f"{path}:{line}: {problem}" for problem in found]
    if not rows and not problems:
        problems.append(f"{path}:1: no tags; add at least one")
    if problems:
        raise SettingsError(problems)
    return tags


def source_tags(settings: Settings, home: Path) -> dict[str, dict[str, Tag]]:
    """Return the tags of every source of a device folder, for those who only look at them.

    Raises:
        SettingsError: problems of a list; addresses are their driver's to check, in `connect`.
    """
    return {name: load_tags(home / source.tags, source.groups) for name, source in settings.sources.items()}


def _call(check: CheckAddress, tag: Tag, found: list[str]) -> None:
    try:
        check(tag)
    except TagError as error:
        found.append(str(error))
