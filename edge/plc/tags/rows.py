"""The rows of a tag list, as text and with their lines: CSV or TOML. What they mean is for `edge/plc/tags/lists.py`."""

from __future__ import annotations

import csv
import difflib
import re
import tomllib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import cast

Row = Mapping[str, object]


def nearest(key: str, known: Collection[str]) -> str:
    """Return a hint for a key that is not known."""
    match = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    return f"did you mean {match[0]}?" if match else f"known are {', '.join(known)}"


def read_rows(path: Path, keys: Collection[str], problems: list[str]) -> list[tuple[int, Row]]:
    """Return each row with its line; keys that are not known go to `problems`. Raises OSError, UnicodeDecodeError."""
    return list(_toml_rows(path, keys, problems) if path.suffix == ".toml" else _csv_rows(path, keys, problems))


def _csv_rows(path: Path, keys: Collection[str], problems: list[str]) -> Iterator[tuple[int, Row]]:
    header: list[str] = []
    with path.open(encoding="utf-8-sig", newline="") as text:
        reader = csv.reader(text)
        for raw in reader:
            where, cells = f"{path}:{reader.line_num}", [cell.strip() for cell in raw]
            if not any(cells) or cells[0].startswith("#"):
                continue
            if not header:
                header = [cell.lower() for cell in cells]
                wrong = [key for key in header if key not in keys]
                problems += [f"{where}: column {key!r} is not known; {nearest(key, keys)}" for key in wrong]
                continue
            if len(cells) > len(header):
                problems.append(f"{where}: {len(cells)} cells under {len(header)} columns; quote cells with commas")
            pairs = zip(header, cells, strict=False)
            yield reader.line_num, {key: cell for key, cell in pairs if cell and key in keys}


def _toml_rows(path: Path, keys: Collection[str], problems: list[str]) -> Iterator[tuple[int, Row]]:
    text = path.read_text(encoding="utf-8")
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        problems.append(f"{path}:{_line_of_error(error)}: not TOML ({error})")
        return
    others = [key for key in document if key != "tags"]
    problems += [f'{path}:1: table {key!r} is not known; tags stand in [tags."Name"]' for key in others]
    tags = document.get("tags", {})
    if not isinstance(tags, dict):
        problems.append(f'{path}:1: tags is not a table; write [tags."Name"]')
        return
    lines = text.splitlines()
    for name, row in cast(dict[str, object], tags).items():
        line = _line_of_tag(lines, name)
        if not isinstance(row, dict):
            problems.append(f'{path}:{line}: tags.{name} is not a table; write [tags."{name}"]')
            continue
        held = cast(dict[str, object], row)
        wrong = [key for key in held if key not in keys]
        problems += [f"{path}:{line}: {name}: key {key!r} is not known; {nearest(key, keys)}" for key in wrong]
        yield line, {key: value for key, value in held.items() if key in keys} | {"name": name}


def _line_of_error(error: tomllib.TOMLDecodeError) -> int:
    match = re.search(r"line (\d+)", str(error))
    return int(match[1]) if match else 1


def _line_of_tag(lines: list[str], name: str) -> int:
    header = re.compile(rf"""^\s*(\[\s*tags\s*\.)?\s*["']?{re.escape(name)}["']?\s*(\]|=)""")
    return next((number for number, line in enumerate(lines, 1) if header.match(line)), 1)
