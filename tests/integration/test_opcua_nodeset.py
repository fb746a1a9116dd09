"""node-opcua loads an exported address space, as an engineering tool would: what it finds is what the device has."""

import asyncio
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge.commands.opcua_export import export
from edge.opcua_server.reference import DEMO_SET
from tests.device import ROOT

pytestmark = pytest.mark.slow
LOADER = ROOT / "tests/peers/opcua_nodeset.js"
OURS, CELSIUS = "urn:plantedge:device", [4408652, "°C"]
# (type in the tag list, further columns) -> data type, type definition, value rank, access level, range, unit
TAGS: dict[str, tuple[str, list[Any]]] = {
    "Speed": ("float32,rw,1/min,0,1200", ["Float", "AnalogUnitRangeType", -1, 7, [0, 1200], [4405556, "1/min"]]),
    "Warm & <dry>": ("int32,r,°C,,", ["Int32", "AnalogUnitType", -1, 5, None, CELSIUS]),
    "Level": ("uint16,r,,-5,5.5", ["UInt16", "AnalogItemType", -1, 5, [-5, 5.5], None]),
    "Crates": ("uint64,r,bottles,,", ["UInt64", "AnalogUnitType", -1, 5, None, [-1, "bottles"]]),
    "Curve": ("float64[16],rw,,,", ["Double", "BaseDataVariableType", 1, 3, None, None]),
    "Größe": ("string:8,rw,,,", ["String", "BaseDataVariableType", -1, 7, None, None]),
    "Since": ("datetime:dtl,r,,,", ["String", "BaseDataVariableType", -1, 5, None, None]),
    "On": ("bool,rw,,,", ["Boolean", "BaseDataVariableType", -1, 7, None, None]),
    "Tiny": ("int8,r,,,", ["SByte", "BaseDataVariableType", -1, 5, None, None]),
}
SETTINGS = """
[device]
site = "s"
line = "l"
node = "n"
[sources.plc]
driver = "s7"
host = "127.0.0.1"
tags = "plc.csv"
groups = { fast = 20 }
[cameras.cam1]
driver = "folder"
address = "images"
[pipelines.caps]
model = "caps"
input = { frames = "cam1" }
deadline_ms = 50
recipe = { source = "plc", tag = "Größe", choices = { small = {}, large = {} } }
[pipelines.lids]
model = "caps"
input = { frames = "cam1" }
deadline_ms = 50
recipe = { source = "plc", tag = "Level", choices = { "1" = {} } }
[opcua]
endpoint = "opc.tcp://127.0.0.1:4840"
"""


async def load(file: Path, modules: Path, home: Path) -> dict[str, Any]:
    loading = await asyncio.create_subprocess_exec(
        "node", str(LOADER), str(file), OURS, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env=os.environ | {"NODE_PATH": str(modules), "HOME": str(home)},
    )  # fmt: skip
    out, err = await asyncio.wait_for(loading.communicate(), 120)
    assert loading.returncode == 0 and not err, err.decode()[-3000:]
    found: dict[str, Any] = json.loads(out)
    return found


async def test_types_ranges_units_and_methods_are_found(tmp_path: Path, node_module: Callable[[str], Path]) -> None:
    modules = node_module("node-opcua-address-space").parent
    (tmp_path / "device.toml").write_text(SETTINGS)
    rows = [f"{name},DB1.{10 * n}.0,{one[0]},fast" for n, (name, one) in enumerate(TAGS.items())]
    (tmp_path / "plc.csv").write_text("name,address,type,access,unit,min,max,group\n" + "\n".join(rows) + "\n")
    out = tmp_path / "device.xml"
    assert await asyncio.to_thread(export, tmp_path, out) == 0
    found = await load(out, modules, tmp_path)
    assert found["namespaces"] == ["http://opcfoundation.org/UA/", OURS]
    variables, keys = found["variables"], ("type", "kind", "rank", "access", "range", "unit")
    held = {name: variables[f"s/l/n/Sources/plc/{name}"] for name in TAGS}
    assert {name: [one[key] for key in keys] for name, one in held.items()} == {n: t[1] for n, t in TAGS.items()}
    score = variables["s/l/n/Pipelines/caps/Score"]
    assert (score["type"], score["description"]) == ("Double", "how sure it was, 0 to 1")
    assert variables["s/l/n/Pipelines/caps/LatencyMs"]["unit"] == [4403766, "ms"]
    assert {"SelectRecipe", "Score", "Verdict"} <= set(found["objects"]["s/l/n/Pipelines/caps"])
    recipe = found["methods"]["s/l/n/Pipelines/caps/SelectRecipe"]
    assert recipe["inputs"] == [["Recipe", 12, -1, "one of the pipeline's recipes, as its settings name it"]]
    assert (recipe["outputs"], recipe["parent"]) == ([], "s/l/n/Pipelines/caps")
    (fixed,) = [line for line in out.read_text().splitlines() if 'Executable="false"' in line]
    assert "Pipelines/lids/SelectRecipe" in fixed, "its tag is read only"
    assert [one[:2] for one in found["methods"]["s/l/n/Models/caps/SelfTest"]["outputs"]][:3] == [
        ["Passed", 1], ["Vectors", 7], ["LargestDeviation", 11],
    ]  # fmt: skip
    assert found["types"] == {
        "Types/DeviceEventType": "SystemEventType", "Types/DeviceAuditEventType": "AuditEventType",
        "Types/ResultEventType": "BaseEventType",
    }  # fmt: skip


async def test_the_demos_export_is_loaded_with_its_nameplate(
    tmp_path: Path, node_module: Callable[[str], Path]
) -> None:
    modules = node_module("node-opcua-address-space").parent
    found = await load(ROOT / DEMO_SET, modules, tmp_path)
    assert found["namespaces"][1:] == [
        OURS,
        "http://opcfoundation.org/UA/DI/",
        "http://opcfoundation.org/UA/Machinery/",
    ]
    setpoint = found["variables"]["demo/line1/edge1/Sources/plant/Line.SpeedSetpoint"]
    assert (setpoint["type"], setpoint["range"], setpoint["unit"]) == ("Float", [60, 900], [4405556, "1/min"])
    assert "Identification" in found["objects"]["Machines/Filler"]
