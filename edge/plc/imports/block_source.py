"""The declarations of S7 block sources (.db, .udt, .scl): user types and data blocks with their members, no layout."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from schemas.errors import SettingsError

_TOKEN: Final = re.compile(
    r"(?P<space>\s+)|//(?P<comment>[^\n]*)|(?P<block>\(\*.*?\*\))|(?P<attributes>\{[^}]*\})|\"(?P<quoted>[^\"\n]*)\""
    r"|(?P<text>'(?:[^'$\n]|\$.)*')|(?P<word>\w[\w#]*(?:\.\w+)*)|(?P<sign>:=|\.\.|.)",
    re.DOTALL,
)  # fmt: skip
_MAX_DEPTH: Final = 64


class Token(NamedTuple):
    """`kind`: word, quoted, sign, text or attributes; `text` without quotes."""

    kind: str
    text: str
    line: int

    def says(self, *words: str) -> bool:
        """Whether it is one of these words or signs."""
        return self.kind in ("word", "sign") and self.text.upper() in words


@dataclass
class Member:
    """One member: `kind` is its type as written, `members` those of a structure; `comment` stands behind it."""

    name: str
    kind: str
    line: int
    members: list[Member] = field(default_factory=list["Member"])
    comment: str = ""


@dataclass
class Block:
    """A user type (`is_type`) or a data block; `like`: the user type or function block that it is made of."""

    name: str
    line: int
    is_type: bool
    optimized: bool = False
    like: str = ""
    members: list[Member] = field(default_factory=list[Member])


def blocks_of(text: str) -> list[Block]:
    """Return the user types and data blocks of a source, which may hold other blocks as well.

    Raises:
        SettingsError: a declaration that can't be read, with its line.
    """
    return _Source(text).blocks()


class _Source:
    """A cursor over the tokens; comments are kept by their lines."""

    def __init__(self, text: str) -> None:
        self._tokens: list[Token] = []
        self._comments: dict[int, str] = {}
        self._at = 0
        line = 1
        for found in _TOKEN.finditer(text):
            kind, piece = found.lastgroup or "", found[found.lastgroup or 0]
            if kind == "comment":
                self._comments[line] = piece.strip()
            elif kind not in ("space", "block"):
                self._tokens.append(Token(kind, piece, line))
            line += found[0].count("\n")
        self._end = Token("end", "", line)

    def blocks(self) -> list[Block]:
        found: list[Block] = []
        while (token := self._next()).kind != "end":
            if token.says("DATA_BLOCK", "TYPE"):
                found.append(self._block(is_type=token.says("TYPE")))
        return found

    def _peek(self) -> Token:
        return self._tokens[self._at] if self._at < len(self._tokens) else self._end

    def _next(self) -> Token:
        token = self._peek()
        self._at += 1
        return token

    def _block(self, *, is_type: bool) -> Block:
        """From its name up to the end of its declarations."""
        name = self._next()
        block = Block(name.text, name.line, is_type)
        before = name
        while not (token := self._next()).says("BEGIN", "END_DATA_BLOCK", "END_TYPE"):
            if token.kind == "end":
                raise SettingsError([f"{name.line}: {name.text} has no end"])
            if token.kind == "attributes":
                block.optimized |= bool(re.search(r"S7_Optimized_Access\s*:=\s*'TRUE'", token.text, re.IGNORECASE))
            elif token.says("STRUCT", "VAR"):
                block.members += self._members("END_STRUCT" if token.says("STRUCT") else "END_VAR", 0)
            before = token
        if not block.members and before is not name:
            block.like = before.text
        return block

    def _members(self, end: str, depth: int) -> list[Member]:
        found: list[Member] = []
        if depth > _MAX_DEPTH:
            raise SettingsError([f"{self._peek().line}: structures over {_MAX_DEPTH} deep"])
        while self._peek().says("RETAIN", "NON_RETAIN", "CONSTANT"):
            self._next()
        while not self._peek().says(end):
            found += self._member(depth)
        self._next()
        return found

    def _member(self, depth: int) -> list[Member]:
        """Return what one declaration declares: `a, b : Int := 0;`."""
        names = [self._name()]
        while not (token := self._next()).says(":"):
            if token.says(","):
                names.append(self._name())
            elif token.kind != "attributes":
                raise SettingsError([f"{token.line}: {token.text!r} where a type should follow {names[-1].text!r}"])
        kind, members = self._kind(depth)
        line = self._peek().line
        while not (token := self._next()).says(";"):
            if token.kind == "end":
                raise SettingsError([f"{line}: {names[-1].text!r} has no end"])
            line = token.line
        comment = self._comments.get(token.line, "")
        return [Member(name.text, kind, name.line, members, comment) for name in names]

    def _name(self) -> Token:
        token = self._next()
        if token.kind not in ("word", "quoted"):
            raise SettingsError([f"{token.line}: {token.text or 'the end'!r} where a name should stand"])
        return token

    def _kind(self, depth: int) -> tuple[str, list[Member]]:
        """Return a type as text, and its members where it (or its elements) is a structure of its own."""
        words: list[str] = []
        while not self._peek().says(";", ":=") and self._peek().kind != "end":
            token = self._next()
            if token.says("STRUCT"):
                return " ".join([*words, "Struct"]), self._members("END_STRUCT", depth + 1)
            if token.kind != "attributes":
                words.append(token.text)
        return " ".join(words), []
