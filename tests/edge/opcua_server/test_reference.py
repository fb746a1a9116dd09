"""The generated pages, the demo's exported address space, and units: as they are committed."""

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from edge.opcua_server.reference import DEMO_SET, REFERENCE, demo_set, reference
from edge.opcua_server.units import CODES, information, unit_id
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
    assert {one for one in targets if one and one.startswith("ns=")} <= set(nodes), "each reference ends at a node"


def test_a_unit_has_its_unece_code_and_a_strange_one_its_text() -> None:
    celsius = information("°C")
    assert (celsius.UnitId, celsius.DisplayName.Text) == (4408652, "°C")  # OPC 10000-8, 5.6.3: CEL
    assert information("bottles").UnitId == -1 and information("bottles").NamespaceUri is None
    assert all(re.fullmatch(r"[0-9A-Z]{2,3}", code) for code in CODES.values())
    assert len({unit_id(code) for code in CODES.values()}) == len(CODES)
