"""XML as a tree that knows its lines, as the standard library's does not. A document's own entities are refused."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from xml.parsers import expat

from schemas.errors import SettingsError


@dataclass
class Element:
    """An element; `text` is its own, without that of its children."""

    tag: str
    attributes: dict[str, str]
    line: int
    children: list[Element] = field(default_factory=list["Element"])
    text: str = ""

    def child(self, tag: str) -> Element | None:
        """Return the first child of a tag."""
        return next((one for one in self.children if one.tag == tag), None)

    def all(self, tag: str) -> Iterator[Element]:
        """Yield the children of a tag."""
        return (one for one in self.children if one.tag == tag)

    def below(self, tag: str) -> Iterator[Element]:
        """Yield every element of a tag, however deep."""
        for one in self.children:
            if one.tag == tag:
                yield one
            yield from one.below(tag)

    def text_at(self, *way: str) -> str:
        """Return the text of a child, or of a child's child; "" if there is none."""
        found: Element | None = self
        for tag in way:
            found = found.child(tag) if found else None
        return found.text.strip() if found else ""


def parse(text: str) -> Element:
    """Return the root of a document.

    Raises:
        SettingsError: it is no XML, or declares entities.
    """
    root = Element("", {}, 0)
    open_elements = [root]
    parser = expat.ParserCreate("utf-8")  # whatever the declaration says: it is text already

    def start(tag: str, attributes: dict[str, str]) -> None:
        element = Element(tag, attributes, parser.CurrentLineNumber)
        open_elements[-1].children.append(element)
        open_elements.append(element)

    def end(_: str) -> None:
        open_elements.pop()

    def data(piece: str) -> None:
        open_elements[-1].text += piece

    def entity(*_: object) -> None:
        raise SettingsError([f"{parser.CurrentLineNumber}: declares an entity, which no export does"])

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler, parser.EntityDeclHandler = data, entity
    parser.buffer_text = True
    try:
        parser.Parse(text.encode(), True)
    except expat.ExpatError as error:
        raise SettingsError([f"{error.lineno}: not XML ({expat.ErrorString(error.code)})"]) from error
    return root.children[0]
