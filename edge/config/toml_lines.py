"""Where each key of a TOML file stands: `tomllib` gives values without lines, and a person needs the line.

`key_lines` is for text that `tomllib` has already accepted. It reads keys (bare, quoted, dotted), tables, arrays of
tables, inline tables and arrays, and skips values and comments. Source: the TOML 1.0 grammar.
"""

from __future__ import annotations

import contextlib
import re
import tomllib
from typing import Final

KeyPath = tuple[str | int, ...]

_BLANK: Final = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_SPACE: Final = re.compile(r"[ \t]*")
_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")
_STRING: Final = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}|\'\'\'.*?\'{3,5}|"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\'',
    re.DOTALL,
)
_SCALAR: Final = re.compile(r"[^,\]}#\n]+")


def key_lines(text: str) -> dict[KeyPath, int]:
    """Return the line (from 1) of every key and array item; of the first of several places of one table."""
    scanner = _Scanner(text.replace("\r\n", "\n"))
    with contextlib.suppress(IndexError):  # a grammar newer than this one: the lines up to there are still right
        scanner.scan()
    return scanner.lines


def error_line(error: tomllib.TOMLDecodeError, text: str) -> int:
    """Return the line that a syntax error speaks of; the last one for an unexpected end."""
    at = re.search(r"at line (\d+)", str(error))
    return int(at[1]) if at else max(1, text.rstrip("\n").count("\n") + 1)


class _Scanner:
    """One pass over a text. `_at` is the place in it; `_table` what the last header opened."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._line, self._counted = 1, 0
        self._table: KeyPath = ()
        self._items: dict[KeyPath, int] = {}  # array of tables -> its number of tables so far
        self.lines: dict[KeyPath, int] = {}

    def scan(self) -> None:
        self._skip(_BLANK)
        while self._at < len(self._text):
            if self._text[self._at] == "[":
                self._header()
            else:
                self._pair(self._table)
            self._skip(_BLANK)

    def _header(self) -> None:
        several = self._text.startswith("[[", self._at)
        line = self._now()
        self._at += 2 if several else 1
        keys = self._key()
        self._at += 2 if several else 1
        path: KeyPath = ()
        for position, key in enumerate(keys):
            path = self._note((*path, key), line)
            if path in self._items and not (several and position == len(keys) - 1):
                path = (*path, self._items[path] - 1)  # a key into an array of tables means its last table
        if several:
            count = self._items.get(path, 0)
            self._items[path] = count + 1
            path = self._note((*path, count), line)
        self._table = path

    def _pair(self, table: KeyPath) -> None:
        """Read `key = value`; the line of a value is the one of its key."""
        line = self._now()
        path = table
        for key in self._key():
            path = self._note((*path, key), line)
        self._at += 1  # the equals sign
        self._skip(_SPACE)
        self._value(path)

    def _key(self) -> list[str]:
        """Read a dotted key and stop at what follows it."""
        parts: list[str] = []
        while True:
            self._skip(_SPACE)
            quoted = self._text[self._at] in "\"'"
            word = self._take(_STRING if quoted else _BARE)
            parts.append(str(tomllib.loads(f"k = {word}")["k"]) if quoted else word)
            self._skip(_SPACE)
            if self._text[self._at] != ".":
                return parts
            self._at += 1

    def _value(self, path: KeyPath) -> None:
        opening = self._text[self._at]
        if opening == "{":
            self._list(path, "}", inline_table=True)
        elif opening == "[":
            self._list(path, "]", inline_table=False)
        elif opening in "\"'":
            self._take(_STRING)
        else:
            self._take(_SCALAR)

    def _list(self, path: KeyPath, closing: str, *, inline_table: bool) -> None:
        """Read an inline table's pairs, or an array's items under their index."""
        self._at += 1
        count = 0
        self._skip(_BLANK)
        while self._text[self._at] != closing:
            if self._text[self._at] == ",":
                self._at += 1
            elif inline_table:
                self._pair(path)
            else:
                self._value(self._note((*path, count), self._now()))
                count += 1
            self._skip(_BLANK)
        self._at += 1

    def _note(self, path: KeyPath, line: int) -> KeyPath:
        self.lines.setdefault(path, line)
        return path

    def _now(self) -> int:
        self._line += self._text.count("\n", self._counted, self._at)
        self._counted = self._at
        return self._line

    def _skip(self, what: re.Pattern[str]) -> None:
        match = what.match(self._text, self._at)
        if match:
            self._at = match.end()

    def _take(self, what: re.Pattern[str]) -> str:
        match = what.match(self._text, self._at)
        if match is None:
            raise IndexError(self._at)
        self._at = match.end()
        return match[0]
