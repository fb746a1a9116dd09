"""Tag tables of TIA Portal as SimaticML, which Openness and the Version Control Interface write.

Source: Siemens, "TIA Portal Openness: API for automation of engineering workflows", Export of PLC tag tables.
"""

from __future__ import annotations

from edge.plc.imports import Export
from edge.plc.imports.tia import take
from edge.plc.imports.xml_lines import Element, parse
from schemas.errors import SettingsError


def read(text: str, export: Export) -> None:
    """Read every table of a document.

    Raises:
        SettingsError: it is no SimaticML, or has no tag table.
    """
    document = parse(text)
    tables = list(document.below("SW.Tags.PlcTagTable"))
    if document.tag != "Document" or not tables:
        raise SettingsError(["1: no SimaticML with a PLC tag table (SW.Tags.PlcTagTable)"])
    for table in tables:
        for tag in table.below("SW.Tags.PlcTag"):
            name, kind, address = (
                tag.text_at("AttributeList", key) for key in ("Name", "DataTypeName", "LogicalAddress")
            )
            take(export, tag.line, name, kind.strip('"'), address, _comment(tag))
        for kind in ("SW.Tags.PlcUserConstant", "SW.Tags.PlcSystemConstant"):
            for constant in table.below(kind):
                name = constant.text_at("AttributeList", "Name")
                export.leave_out(constant.line, name, "a constant of the project, which is not in the PLC's memory")


def _comment(tag: Element) -> str:
    """Return the comment, the English one where there are several languages."""
    items = [
        (one.text_at("AttributeList", "Culture"), one.text_at("AttributeList", "Text"))
        for text in tag.below("MultilingualText")
        if text.attributes.get("CompositionName") == "Comment"
        for one in text.below("MultilingualTextItem")
    ]
    told = sorted((not culture.startswith("en"), text) for culture, text in items if text)
    return told[0][1] if told else ""
