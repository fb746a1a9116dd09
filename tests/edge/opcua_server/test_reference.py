"""The generated pages, the demo's exported address space, and units: as they are committed."""

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from edge.opcua_server.address_space.units import CODES, information, unit_id
from edge.opcua_server.reference import DEMO_SET, REFERENCE, demo_set, reference
from edge.opcua_server.vision.table import METHODS, OBJECT_TYPES, RESULT_TYPE_ID, URI
from tests.device import ROOT

SETS = "{http://opcfoundation.org/UA/2011/03/UANodeSet.xsd}"


def test_the_reference_is_the_table() -> None:
    assert (ROOT / REFERENCE).read_text(encoding="utf-8") == reference(), "python -m edge.opcua_server.reference"


@pytest.mark.slow
def test_the_demos_export_is_what_is_committed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    made = demo_set()
    assert made == Path(DEMO_SET).read_text(encoding="utf-8"), "python -m edge.opcua_server.reference"
    root = ElementTree.fromstring(made.encode())  # ours
    nodes = [
        one.get("NodeId")
        for kind in ("UAObject", "UAVariable", "UAObjectType", "UAMethod")
        for one in root.iter(SETS + kind)
    ]
    assert len(nodes) == len(set(nodes))
    assert "ns=1;s=demo/line1/edge1/Sources/plant/Line.SpeedSetpoint/EURange" in nodes
    targets = {one.text for one in root.iter(SETS + "Reference")}
    uris = [one.text for one in root.iter(SETS + "Uri")]
    required = f"ns={uris.index(URI) + 1};i="  # the standard's own NodeSet has these
    assert not [one for one in nodes if one and one.startswith(required)]
    stages = [stage for one in OBJECT_TYPES.values() for stage in one.stages]
    shared = [*OBJECT_TYPES.values(), *(method for _, method in METHODS.values()), *stages]
    theirs = {f"{required}{one.id}" for one in shared}
    assert {one for one in targets if one and one.startswith("ns=")} <= {*nodes, *theirs, f"{required}{RESULT_TYPE_ID}"}


def test_a_unit_has_its_unece_code_and_a_strange_one_its_text() -> None:
    celsius = information("°C")
    assert (celsius.UnitId, celsius.DisplayName.Text) == (4408652, "°C")  # OPC 10000-8, 5.6.3: CEL
    assert information("bottles").UnitId == -1 and information("bottles").NamespaceUri is None
    assert all(re.fullmatch(r"[0-9A-Z]{2,3}", code) for code in CODES.values())
    assert len({unit_id(code) for code in CODES.values()}) == len(CODES)
