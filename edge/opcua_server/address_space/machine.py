"""The machine's nameplate under Machines, as OPC 40001-1 (Machinery) and OPC 10000-100 (DI) have it.

Only the types that the nameplate uses are here, with the NodeIds and browse names that those standards gave them: a
client that knows Machinery finds the machine. The rest of their information models is not.
"""

from __future__ import annotations

from typing import Final

from asyncua import ua

from edge.opcua_server.address_space.nodes import (
    COMPONENT,
    FOLDER,
    ORGANIZES,
    SUBTYPE,
    Ids,
    New,
    Nodes,
    numeric,
    standard,
    string_id,
)
from edge.settings import Machine

DI: Final = "http://opcfoundation.org/UA/DI/"
MACHINERY: Final = "http://opcfoundation.org/UA/Machinery/"
# (NodeId in its namespace, browse name): OPC 10000-100 and OPC 40001-1, tables of their NodeIds.
FUNCTIONAL_GROUP: Final = (1005, "FunctionalGroupType")  # DI
ITEM_IDENTIFICATION: Final = (1004, "MachineryItemIdentificationType")
MACHINE_IDENTIFICATION: Final = (1012, "MachineIdentificationType")
MACHINES: Final = (1001, "Machines")


def add_machine(nodes: Nodes, index: int, indices: tuple[int, int], machine: Machine, default_uri: str) -> None:
    """Add Machines and the machine below it. `indices`: of DI and Machinery; `default_uri`: where it has none."""
    di, machinery = indices
    kind = _types(nodes, di, machinery)
    machines = nodes.object(
        New(
            numeric(MACHINES[0], machinery),
            _name(MACHINES[1], machinery),
            standard(Ids.ObjectsFolder),
            ORGANIZES,
            FOLDER,
        )
    )
    path = f"Machines/{machine.name}"
    base = standard(Ids.BaseObjectType)
    found = nodes.object(New(string_id(path, index), _name(machine.name, index), machines, ORGANIZES, base))
    plate = f"{path}/Identification"
    group = nodes.object(New(string_id(plate, index), _name("Identification", di), found, COMPONENT, kind))
    for name, owner, value in _plate(machine, di, machinery, default_uri):
        nodes.property(string_id(f"{plate}/{name}", index), _name(name, owner), group, value)


def _types(nodes: Nodes, di: int, machinery: int) -> ua.NodeId:
    """Add the types from FolderType down; return the lowest."""
    above = FOLDER
    for (identifier, name), owner in (
        (FUNCTIONAL_GROUP, di), (ITEM_IDENTIFICATION, machinery), (MACHINE_IDENTIFICATION, machinery),
    ):  # fmt: skip
        abstract = (identifier, name) == ITEM_IDENTIFICATION
        new = New(numeric(identifier, owner), _name(name, owner), above, SUBTYPE, None)
        above = nodes.object_type(new, abstract=abstract)
    return above


def _plate(machine: Machine, di: int, machinery: int, default_uri: str) -> list[tuple[str, int, ua.Variant]]:
    text, localized = ua.VariantType.String, ua.VariantType.LocalizedText
    found = [
        ("Manufacturer", di, ua.Variant(ua.LocalizedText(machine.manufacturer), localized)),
        ("SerialNumber", di, ua.Variant(machine.serial_number, text)),
        ("ProductInstanceUri", di, ua.Variant(machine.product_instance_uri or default_uri, text)),
    ]
    if machine.model:
        found.append(("Model", di, ua.Variant(ua.LocalizedText(machine.model), localized)))
    if machine.year_of_construction is not None:
        year = ua.Variant(machine.year_of_construction, ua.VariantType.UInt16)
        found.append(("YearOfConstruction", machinery, year))
    if machine.location:
        found.append(("Location", machinery, ua.Variant(machine.location, text)))
    return found


def _name(name: str, index: int) -> ua.QualifiedName:
    return ua.QualifiedName(name, ua.UInt16(index))
