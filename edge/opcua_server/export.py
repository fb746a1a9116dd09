"""The address space as NodeSet2 XML (OPC 10000-6, Annex F): what an engineer imports before the device is there.

asyncua's own exporter leaves out access levels, descriptions and the values of properties, without which a range and a
unit say nothing. Values of variables are left out: they are the line's.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (asyncua's structures and calls carry no types there)

from __future__ import annotations

from pathlib import Path
from typing import Final, cast
from xml.etree import ElementTree

from asyncua import ua
from asyncua.server.address_space import NodeData
from asyncua.server.server import Server
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.object_ids import ObjectIds

from edge.opcua_server.nodes import PROPERTY_TYPE, TYPED, read, typed
from edge.opcua_server.picture import fill
from edge.settings import Settings

_SETS: Final = "http://opcfoundation.org/UA/2011/03/UANodeSet.xsd"
_TYPES: Final = "http://opcfoundation.org/UA/2008/02/Types.xsd"
_ELEMENTS: Final = {
    ua.NodeClass.Object: "UAObject", ua.NodeClass.Variable: "UAVariable", ua.NodeClass.ObjectType: "UAObjectType",
    ua.NodeClass.Method: "UAMethod",
}  # fmt: skip
_STRUCTURES: Final = {ua.Range: "Range", ua.EUInformation: "EUInformation", ua.Argument: "Argument"}
# In the order of the schema.
_FIELDS: Final = {
    "Range": ("Low", "High"), "EUInformation": ("NamespaceUri", "UnitId", "DisplayName", "Description"),
    "Argument": ("Name", "DataType", "ValueRank", "Description"),
}  # fmt: skip
_CORE: Final = "http://opcfoundation.org/UA/"
_FIRST: Final = 2  # namespaces below it are OPC UA's and the server's own


async def nodeset(settings: Settings, home: Path) -> str:
    """Return the nodes of our namespace and of the companion standards that it uses."""
    server = Server()
    await server.init()
    await fill(server, settings, home)
    uris = (await server.get_namespace_array())[_FIRST:]
    ElementTree.register_namespace("uax", _TYPES)
    root = ElementTree.Element("UANodeSet", {"xmlns": _SETS})
    names = ElementTree.SubElement(root, "NamespaceUris")
    models = ElementTree.SubElement(root, "Models")
    for uri in uris:
        ElementTree.SubElement(names, "Uri").text = uri
        model = ElementTree.SubElement(models, "Model", {"ModelUri": uri})
        for required in (_CORE, *(uris[1:] if uri == uris[0] else ())):
            ElementTree.SubElement(model, "RequiredModel", {"ModelUri": required})
    space = server.iserver.aspace
    for node in cast("list[ua.NodeId]", list(space.keys())):
        if node.NamespaceIndex >= _FIRST:
            _add(root, space[node])
    ElementTree.indent(root, " ")
    return f'<?xml version="1.0" encoding="utf-8"?>\n{ElementTree.tostring(root, encoding="unicode")}\n'


def _add(root: ElementTree.Element, data: NodeData) -> None:
    kind = cast(ua.NodeClass, read(data, AttributeIds.NodeClass))
    name = cast(ua.QualifiedName, read(data, AttributeIds.BrowseName))
    index = _index(name.NamespaceIndex)
    fixed = {"NodeId": _id(data.nodeid), "BrowseName": f"{index}:{name.Name}" if index else str(name.Name)}
    element = ElementTree.SubElement(root, _ELEMENTS[kind], fixed)
    ElementTree.SubElement(element, "DisplayName").text = str(name.Name)
    text = cast(ua.LocalizedText, read(data, AttributeIds.Description)).Text
    if text:
        ElementTree.SubElement(element, "Description").text = text
    references = ElementTree.SubElement(element, "References")
    for one in data.references:
        if not one.IsForward or one.ReferenceTypeId == TYPED:  # what lies below says so itself
            given = {"ReferenceType": _id(one.ReferenceTypeId)} | ({} if one.IsForward else {"IsForward": "false"})
            ElementTree.SubElement(references, "Reference", given).text = _id(one.NodeId)
    if kind is ua.NodeClass.Variable:
        _variable(element, data)
    elif kind is ua.NodeClass.ObjectType and read(data, AttributeIds.IsAbstract):
        element.set("IsAbstract", "true")
    elif kind is ua.NodeClass.Method and not read(data, AttributeIds.Executable):
        element.set("Executable", "false")


def _variable(element: ElementTree.Element, data: NodeData) -> None:
    element.set("DataType", _id(cast(ua.NodeId, read(data, AttributeIds.DataType))))
    rank = cast(int, read(data, AttributeIds.ValueRank))
    if rank != ua.ValueRank.Scalar:
        element.set("ValueRank", str(rank))
        sizes = cast("list[int]", read(data, AttributeIds.ArrayDimensions))
        element.set("ArrayDimensions", ",".join(str(one) for one in sizes))
    element.set("AccessLevel", str(read(data, AttributeIds.AccessLevel)))
    if typed(data) == PROPERTY_TYPE:
        _value(ElementTree.SubElement(element, "Value"), read(data, AttributeIds.Value), data)


def _value(parent: ElementTree.Element, value: object, data: NodeData) -> None:
    if isinstance(value, list):
        several = ElementTree.SubElement(parent, f"{{{_TYPES}}}ListOfExtensionObject")
        for one in cast("list[object]", value):
            _value(several, one, data)
        return
    kind = next((name for known, name in _STRUCTURES.items() if isinstance(value, known)), "")
    if kind:
        holder = ElementTree.SubElement(parent, f"{{{_TYPES}}}ExtensionObject")
        encoding = f"i={getattr(ObjectIds, f'{kind}_Encoding_DefaultXml')}"
        identifier = ElementTree.SubElement(holder, f"{{{_TYPES}}}TypeId")
        ElementTree.SubElement(identifier, f"{{{_TYPES}}}Identifier").text = encoding
        body = ElementTree.SubElement(ElementTree.SubElement(holder, f"{{{_TYPES}}}Body"), f"{{{_TYPES}}}{kind}")
        for field in _FIELDS[kind]:
            _scalar(body, field, getattr(value, field))
        return
    variant = data.attributes[AttributeIds.Value].value
    if variant is not None and variant.Value is not None:
        _scalar(parent, ua.VariantType(variant.Value.VariantType).name, value)


def _scalar(parent: ElementTree.Element, name: str, value: object) -> None:
    element = ElementTree.SubElement(parent, f"{{{_TYPES}}}{name}")
    if isinstance(value, ua.LocalizedText):
        ElementTree.SubElement(element, f"{{{_TYPES}}}Text").text = value.Text
    elif isinstance(value, ua.NodeId):
        ElementTree.SubElement(element, f"{{{_TYPES}}}Identifier").text = _id(value)
    else:
        element.text = "" if value is None else str(value)


def _index(index: int) -> int:
    return 0 if index == 0 else index - _FIRST + 1  # the file's own table begins with 1


def _id(node: ua.NodeId) -> str:
    index = _index(node.NamespaceIndex)
    kind = "s" if node.NodeIdType is ua.NodeIdType.String else "i"
    return (f"ns={index};" if index else "") + f"{kind}={cast(object, node.Identifier)}"
