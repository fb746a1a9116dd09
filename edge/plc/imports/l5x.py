"""A controller of Studio 5000 as L5X: its tags and its programs', with the members of user types and instructions.

Source: Rockwell Automation, "Logix 5000 Controllers Import/Export" (1756-RM014), L5X.
"""

from __future__ import annotations

from collections.abc import Iterator

from edge.plc.imports import Export
from edge.plc.imports.logix_types import Expansion, Member, Structure
from edge.plc.imports.xml_lines import Element, parse
from schemas.errors import SettingsError

_MISSING = "the export does not declare it: a module's, or of a protected instruction; add its members by hand"


def read(text: str, export: Export) -> None:
    """Read the tags of a controller.

    Raises:
        SettingsError: it is no L5X.
    """
    root = parse(text)
    controller = root.child("Controller")
    if root.tag != "RSLogix5000Content" or controller is None:
        raise SettingsError(["1: no L5X: the root is not RSLogix5000Content with a Controller"])
    expansion = Expansion(export, dict(_types(controller)), _MISSING)
    scopes = [("", tags) for tags in controller.all("Tags")] + [
        (program.attributes.get("Name", ""), tags)
        for programs in controller.all("Programs")
        for program in programs.all("Program")
        for tags in program.all("Tags")
    ]
    known = {(scope, tag.attributes.get("Name", "").upper()): tag for scope, tags in scopes for tag in tags.all("Tag")}
    for scope, tags in scopes:
        for tag in tags.all("Tag"):
            _take(tag, scope, known, expansion)


def _take(tag: Element, scope: str, known: dict[tuple[str, str], Element], expansion: Expansion) -> None:
    name, base = tag.attributes.get("Name", ""), tag
    if tag.attributes.get("ExternalAccess") == "None":
        expansion.export.leave_out(tag.line, name, "its external access is None, so the controller shows it to nobody")
        return
    if tag.attributes.get("TagType") == "Alias":
        wanted = tag.attributes.get("AliasFor", "")
        found = known.get((scope, wanted.upper())) or known.get(("", wanted.upper()))
        if found is None or not found.attributes.get("DataType"):
            reason = f"stands for {wanted}, which is no whole tag of this export; add it by hand with its type"
            expansion.export.leave_out(tag.line, name, reason)
            return
        base = found
    kind = base.attributes.get("DataType", "")
    expansion.take(Member(name, kind, _sizes(base.attributes.get("Dimensions", "")), _told(tag)), scope, tag.line)


def _types(controller: Element) -> Iterator[tuple[str, Structure]]:
    """User types, and the parameters of add-on instructions that are values."""
    for kind in (one for types in controller.all("DataTypes") for one in types.all("DataType")):
        members = [one for held in kind.all("Members") for one in held.all("Member")]
        yield kind.attributes.get("Name", "").upper(), _structure(kind, members)
    for held in controller.all("AddOnInstructionDefinitions"):
        for kind in held.all("AddOnInstructionDefinition"):
            parameters = [one for all_ in kind.all("Parameters") for one in all_.all("Parameter")]
            values = [one for one in parameters if one.attributes.get("Usage") != "InOut"]
            yield kind.attributes.get("Name", "").upper(), _structure(kind, values)


def _structure(kind: Element, members: list[Element]) -> Structure:
    if kind.attributes.get("Family") == "StringFamily":
        sizes = [_sizes(one.attributes.get("Dimension", "")) for one in members if one.attributes.get("Name") == "DATA"]
        return Structure(characters=sizes[0][0] if sizes and sizes[0] else 82)
    return Structure(
        tuple(
            Member(
                one.attributes.get("Name", ""),
                one.attributes.get("DataType", ""),
                _sizes(one.attributes.get("Dimension") or one.attributes.get("Dimensions", "")),
                _told(one),
            )
            for one in members
            if one.attributes.get("Hidden") != "true" and one.attributes.get("ExternalAccess") != "None"
        )
    )


def _sizes(text: str) -> tuple[int, ...]:
    """Return dimensions: `4 8`, or of a member `4`; 0 is none."""
    return tuple(int(size) for size in text.replace(",", " ").split() if size.isdecimal() and int(size))


def _told(element: Element) -> str:
    """Return a description; with several languages it stands deeper, the first counts."""
    described = element.child("Description")
    if described is None:
        return ""
    deeper = next(described.below("LocalizedDescription"), None)
    return " ".join((described.text.strip() or (deeper.text if deeper else "")).split())
