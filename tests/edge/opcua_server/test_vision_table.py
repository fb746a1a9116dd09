"""Each row of the companion types' table against the NodeSet that node-opcua ships: the standard's own facts."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

import pytest
from asyncua import ua
from asyncua.server.address_space import AddressSpace
from asyncua.server.server import Server
from asyncua.ua.object_ids import ObjectIds

from edge.config.files import read_settings
from edge.opcua_server.address_space.picture import fill
from edge.opcua_server.vision.structures import type_id
from edge.opcua_server.vision.table import (
    EVENT_TYPES,
    OBJECT_TYPES,
    RESULT_PARTS,
    RESULT_TYPE,
    RESULT_TYPE_ID,
    SIMPLE,
    STRUCTURES,
    TRISTATE,
    TRISTATE_ID,
    TRISTATE_VALUES,
    TRISTATE_VALUES_ID,
    URI,
    Arguments,
    Kind,
    Member,
    Method,
    ObjectType,
    Part,
)

SETS = "{http://opcfoundation.org/UA/2011/03/UANodeSet.xsd}"
VALUES = "{http://opcfoundation.org/UA/2008/02/Types.xsd}"
INDEX = 1  # of the standard's namespace in its own file
ALL_TYPES = OBJECT_TYPES | EVENT_TYPES


@dataclass
class Peer:
    """One node of the NodeSet: its element, and what it refers to by the kinds of its references."""

    element: ElementTree.Element
    refers: dict[str, list[str]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.element.get("BrowseName", "")

    def of(self, reference: str) -> str:
        return next(iter(self.refers.get(reference, [])), "")

    def text(self, path: str) -> str:
        return "".join(self.element.find(path).itertext()).strip()  # type: ignore[union-attr]  # it fails the test


class NodeSet:
    """The standard's file, with all references in both directions."""

    def __init__(self, path: Path) -> None:
        root = ElementTree.parse(path).getroot()
        self.uri = root.find(f"{SETS}NamespaceUris/{SETS}Uri").text  # type: ignore[union-attr]  # it fails the test
        aliases = {one.get("Alias", ""): one.text or "" for one in root.iter(f"{SETS}Alias")}
        self._aliases = aliases
        self.nodes = {one.get("NodeId", ""): Peer(one) for one in root if one.get("NodeId")}
        for node, peer in self.nodes.items():
            for one in peer.element.iter(f"{SETS}Reference"):
                kind, target = self.id(one.get("ReferenceType")), self.id(one.text)
                forward = one.get("IsForward", "true") == "true"
                self._refer(node, kind if forward else f"<{kind}", target)
                self._refer(target, f"<{kind}" if forward else kind, node)

    def _refer(self, node: str, kind: str, target: str) -> None:
        found = self.nodes.get(node)
        if found is not None and target not in found.refers.setdefault(kind, []):
            found.refers[kind].append(target)

    def id(self, text: str | None) -> str:
        return self._aliases.get(text or "", text or "")

    def ours(self, number: int) -> Peer:
        return self.nodes[f"ns={INDEX};i={number}"]

    def data_type(self, peer: ElementTree.Element) -> str:
        return self.id(peer.get("DataType", "i=24"))


@pytest.fixture(scope="module")
def peers(node_module: Callable[[str], Path]) -> NodeSet:
    return NodeSet(node_module("node-opcua-nodesets") / "nodesets" / "Opc.Ua.MachineVision.NodeSet2.xml")


def standard(name: str) -> str:
    return f"i={getattr(ObjectIds, name)}"


def own(number: int) -> str:
    return f"ns={INDEX};i={number}"


def of_type(name: str) -> str:
    """The id of an object type's name, ours or OPC UA's own."""
    return own(ALL_TYPES[name].id) if name in ALL_TYPES else standard(name)


def shown(node: ua.NodeId) -> str:
    return own(int(node.Identifier)) if node.NamespaceIndex else f"i={node.Identifier}"


def data_type(name: str) -> str:
    return shown(type_id(name, INDEX))


RULES = {False: standard("ModellingRule_Mandatory"), True: standard("ModellingRule_Optional")}
SUBTYPE, PROPERTY, COMPONENT = f"<{standard('HasSubtype')}", standard("HasProperty"), standard("HasComponent")
TYPED, RULE = standard("HasTypeDefinition"), standard("HasModellingRule")


def test_the_namespace_is_the_standards(peers: NodeSet) -> None:
    assert peers.uri == URI


@pytest.mark.parametrize("name", STRUCTURES)
def test_a_structure_has_the_standards_fields_and_encoding(name: str, peers: NodeSet) -> None:
    ours = STRUCTURES[name]
    peer = peers.ours(ours.id)
    assert (peer.name, peer.of(SUBTYPE)) == (f"1:{name}", data_type(ours.base))
    assert (peer.element.get("IsAbstract") == "true") is ours.abstract
    fields = [
        (one.get("Name"), peers.data_type(one), one.get("IsOptional") == "true", one.get("ValueRank") == "1")
        for one in peer.element.iter(f"{SETS}Field")
    ]
    assert [(one.name, data_type(one.type), one.optional, one.many) for one in ours.members] == fields
    encoding = peers.ours(ours.binary)
    assert (encoding.name, encoding.of(f"<{standard('HasEncoding')}")) == ("Default Binary", own(ours.id))


def test_simple_types_and_the_enumeration_are_the_standards(peers: NodeSet) -> None:
    for name, (number, base) in SIMPLE.items():
        assert (peers.ours(number).name, peers.ours(number).of(SUBTYPE)) == (f"1:{name}", standard(base))
    tristate = peers.ours(TRISTATE_ID)
    assert (tristate.name, tristate.of(SUBTYPE)) == (f"1:{TRISTATE}", standard("Enumeration"))
    values = [(one.get("Name"), int(one.get("Value", ""))) for one in tristate.element.iter(f"{SETS}Field")]
    assert values == [(text, number) for number, text in enumerate(TRISTATE_VALUES)]
    assert own(TRISTATE_VALUES_ID) in tristate.refers[PROPERTY] and peers.ours(TRISTATE_VALUES_ID).name == "EnumValues"


def check_part(part: Part, above: int, peers: NodeSet) -> None:
    peer = peers.ours(part.id)
    reference = PROPERTY if part.kind is Kind.PROPERTY else COMPONENT
    assert part.name in peer.name and peer.name == f"1:{part.name}"
    assert peer.of(f"<{reference}") == own(above), part.name
    assert peer.of(RULE) == RULES[part.optional], part.name
    if part.kind is Kind.OBJECT:
        assert peer.of(TYPED) == of_type(part.type)
        return
    kind = "PropertyType" if part.kind is Kind.PROPERTY else "BaseDataVariableType"
    assert peer.of(TYPED) == standard(kind)
    assert (peers.data_type(peer.element), peer.element.get("ValueRank") == "1") == (data_type(part.type), part.many)


def check_arguments(name: str, ours: Arguments | None, method: Method, peers: NodeSet) -> None:
    found = [one for one in peers.ours(method.id).refers[PROPERTY] if peers.nodes[one].name == name]
    assert found == ([] if ours is None else [own(ours.id)]), method.name
    if ours is not None:
        told = [
            Member(
                one.findtext(f"{VALUES}Name", ""), one.findtext(f"{VALUES}DataType/{VALUES}Identifier", "")
            )._replace(many=one.findtext(f"{VALUES}ValueRank") == "1")
            for one in peers.ours(ours.id).element.iter(f"{VALUES}Argument")
        ]
        assert [(one.name, data_type(one.type), one.many) for one in ours.members] == [
            (one.name, one.type, one.many) for one in told
        ], method.name


@pytest.mark.parametrize("name", ALL_TYPES)
def test_a_type_has_the_standards_parts_and_methods(name: str, peers: NodeSet) -> None:
    ours = ALL_TYPES[name]
    peer = peers.ours(ours.id)
    assert (peer.name, peer.of(SUBTYPE)) == (f"1:{name}", of_type(ours.base))
    for part in ours.parts:
        check_part(part, ours.id, peers)
    for method in ours.methods:
        found = peers.ours(method.id)
        assert (found.name, found.of(f"<{COMPONENT}")) == (f"1:{method.name}", own(ours.id))
        assert found.of(RULE) == RULES[method.optional], method.name
        check_arguments("InputArguments", method.inputs, method, peers)
        check_arguments("OutputArguments", method.outputs, method, peers)


@pytest.mark.parametrize("name", [name for name, one in OBJECT_TYPES.items() if one.stages])
def test_a_state_machine_has_all_of_the_standards_states_and_transitions(name: str, peers: NodeSet) -> None:
    ours = OBJECT_TYPES[name]
    stages = {one.name: one.id for kind in OBJECT_TYPES.values() for one in kind.stages}
    for stage in ours.stages:
        assert peers.ours(stage.id).of(TYPED) == standard("StateType")
        assert check_number(stage.id, stage.number_id, "StateNumber", peers) == (f"1:{stage.name}", stage.number)
    for one in ours.transitions:
        peer = peers.ours(one.id)
        assert peer.of(TYPED) == standard("TransitionType")
        assert check_number(one.id, one.number_id, "TransitionNumber", peers) == (f"1:{one.name}", one.number)
        assert peer.of(standard("FromState")) == own(stages[one.source]), one.name
        assert peer.of(standard("ToState")) == own(stages[one.target]), one.name
    kinds = {standard("StateType"), standard("TransitionType")}
    theirs = {one for one in peers.ours(ours.id).refers[COMPONENT] if peers.nodes[one].of(TYPED) in kinds}
    assert {own(one.id) for one in (*ours.stages, *ours.transitions)} == theirs


def check_number(above: int, number: int, name: str, peers: NodeSet) -> tuple[str, int]:
    assert peers.ours(number).name == name
    assert peers.ours(number).of(f"<{PROPERTY}") == own(above)
    return peers.ours(above).name, int(peers.ours(number).text(f"{SETS}Value"))


def test_the_variable_of_a_result_is_the_standards(peers: NodeSet) -> None:
    peer = peers.ours(RESULT_TYPE_ID)
    assert (peer.name, peer.of(SUBTYPE)) == (f"1:{RESULT_TYPE}", standard("BaseDataVariableType"))
    assert peers.data_type(peer.element) == data_type("ResultDataType")
    for part in RESULT_PARTS:
        check_part(part, RESULT_TYPE_ID, peers)
    assert {own(one.id) for one in RESULT_PARTS} == set(peer.refers[COMPONENT])


TOML = """
[device]
site = "s"
line = "l"
node = "n"
[sources.plc]
driver = "modbus"
tags = "plc.csv"
groups = { fast = 20 }
[cameras.cam1]
driver = "folder"
address = "images"
[pipelines.caps]
model = "caps"
input = { frames = "cam1" }
deadline_ms = 50
recipe = { source = "plc", tag = "Recipe", choices = { 1 = {} } }
[opcua]
endpoint = "opc.tcp://127.0.0.1:4840"
"""


def demanded(node: str, peers: NodeSet, having: set[str], above: str = "") -> Iterator[str]:
    """The browse paths below a node that each instance must have; below what is optional only where it has that."""
    refers = peers.nodes[node].refers if node in peers.nodes else {}
    for one in (*refers.get(COMPONENT, []), *refers.get(PROPERTY, [])):
        path = f"{above}/{peers.nodes[one].name.removeprefix('1:')}"
        rule = peers.nodes[one].of(RULE)
        if rule == RULES[False]:
            yield path
        if rule == RULES[False] or (rule == RULES[True] and path in having):
            yield from demanded(one, peers, having, path)


def built(space: AddressSpace, node: ua.NodeId, above: str = "") -> Iterator[str]:
    """The browse paths below a node of our address space."""
    for one in space[node].references:
        if one.IsForward and one.ReferenceTypeId.Identifier in (ObjectIds.HasComponent, ObjectIds.HasProperty):
            path = f"{above}/{one.BrowseName.Name}"
            yield path
            yield from built(space, one.NodeId, path)


async def test_an_instance_has_all_that_the_standard_demands_of_one(peers: NodeSet, tmp_path: Path) -> None:
    (tmp_path / "device.toml").write_text(TOML)
    (tmp_path / "plc.csv").write_text("name,address,type,access,group\nRecipe,hr:0,uint16,rw,fast\n")
    server = Server()
    await server.init()
    picture = await fill(server, read_settings(tmp_path), tmp_path)
    assert picture.vision is not None
    node = picture.vision.systems["caps"].instance.node
    ours = set(built(server.iserver.aspace, node))
    assert {"/ResultManagement/Results", "/RecipeManagement/Recipes/1/IsPrepared"} <= ours
    wanted = set(demanded(own(OBJECT_TYPES["VisionSystemType"].id), peers, ours))
    assert {"/VisionStateMachine/Halt/InputArguments", "/ResultManagement/GetResultById"} <= wanted
    assert wanted <= ours, sorted(wanted - ours)
    for path, kind in (("RecipeManagement/Recipes/1", "RecipeType"), ("ResultManagement/Results/Result1", RESULT_TYPE)):
        below = set(built(server.iserver.aspace, picture.vision.systems["caps"].instance.at(path)))
        number = RESULT_TYPE_ID if kind == RESULT_TYPE else OBJECT_TYPES[kind].id
        assert set(demanded(own(number), peers, below)) <= below


def mandatory(kind: ObjectType, peers: NodeSet) -> Iterator[str]:
    peer = peers.ours(kind.id)
    for one in (*peer.refers.get(COMPONENT, []), *peer.refers.get(PROPERTY, [])):
        if peers.nodes[one].of(RULE) == RULES[False]:
            yield one


@pytest.mark.parametrize("name", ALL_TYPES)
def test_nothing_that_the_standard_demands_is_left_out(name: str, peers: NodeSet) -> None:
    ours = ALL_TYPES[name]
    assert set(mandatory(ours, peers)) <= {own(one.id) for one in (*ours.parts, *ours.methods)}
