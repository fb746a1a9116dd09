"""Values and tables for a person's terminal. What a PLC says of itself never reaches the terminal as control codes."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from edge.plc.tags.tag import Tag
from schemas.fields import Value
from schemas.messages import Quality, Sample

STYLES: Final = {Quality.GOOD: "green", Quality.UNCERTAIN: "yellow", Quality.BAD: "bold red"}
_GAP: Final = 2
_SHOWN_ITEMS: Final = 8
_FLOAT32_DIGITS, _DIGITS = 7, 12


def clean(text: str) -> str:
    """Return a text without what a terminal obeys or shows nothing of: controls, and signs that turn its direction."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in _lone(text))


def _lone(text: str) -> str:
    """Return a text that can be encoded: halves of characters as question marks."""
    return text.encode("utf-8", errors="replace").decode()


def value_text(tag: Tag, value: Value) -> str:
    """Return a value as its type can tell it: a float32 has seven digits that mean something."""
    if isinstance(value, list):
        shown = [value_text(tag, item) for item in value[:_SHOWN_ITEMS]]
        return f"[{', '.join(shown)}{f', … {len(value)}' if len(value) > _SHOWN_ITEMS else ''}]"
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'"{clean(value)}"'
    if isinstance(value, int):
        return str(value)
    return f"{value:.{_FLOAT32_DIGITS if tag.form.element == 'float32' else _DIGITS}g}"


def quality_text(sample: Sample) -> Text:
    """Return quality and, where it is not Good, the reason."""
    text = Text(str(sample.quality).capitalize(), style=STYLES[sample.quality])
    if sample.reason:
        text.append(f"  {clean(sample.reason)}", style="default")
    return text


def clock(time_ns: int) -> str:
    """Return the time of day, to the millisecond."""
    return datetime.fromtimestamp(time_ns / 1e9).astimezone().strftime("%H:%M:%S.%f")[:-3]


def iso(time_ns: int) -> str:
    """Return a moment as ISO 8601 with its zone."""
    return datetime.fromtimestamp(time_ns / 1e9).astimezone().isoformat(timespec="milliseconds")


def sample_json(tag: Tag, sample: Sample, time_ns: int) -> dict[str, object]:
    """Return what programs get of a tag."""
    return {
        "name": tag.name, "address": tag.address, "type": tag.type, "value": sample.value, "unit": tag.unit,
        "quality": str(sample.quality), "reason": sample.reason, "time": iso(time_ns),
    }  # fmt: skip


def console() -> Console:
    """Return the terminal; without one, plain text of any width. Nothing in a text is taken for markup."""
    return Console(markup=False, highlight=False, emoji=False, soft_wrap=True, file=sys.stdout)


def table(heads: Sequence[str], rows: Iterable[Sequence[str | Text]], right: Sequence[str] = ()) -> list[Text]:
    """Return aligned lines; columns that are empty in every row are left out, those named in `right` end at it."""
    cells = [[cell if isinstance(cell, Text) else Text(cell) for cell in row] for row in rows]
    used = [at for at, _ in enumerate(heads) if any(row[at].plain for row in cells)]
    widths = {at: max(cell_len(heads[at]), *(cell_len(row[at].plain) for row in cells)) for at in used}
    top = [Text(head, style="dim") for head in heads]
    return [_line([(row[at], widths[at], heads[at] in right) for at in used]) for row in [top, *cells]] if cells else []


def _line(cells: Sequence[tuple[Text, int, bool]]) -> Text:
    line = Text()
    for cell, width, to_right in cells:
        pad = " " * (width - cell_len(cell.plain))
        line.append_text(Text(pad) + cell if to_right else cell + Text(pad))
        line.append(" " * _GAP)
    line.rstrip()
    return line
