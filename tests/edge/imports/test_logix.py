"""Studio 5000's exports: CSV without user types, L5X with them."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.connectors import load_driver
from edge.plc.imports import Export, l5x, read_export
from edge.plc.tags.tag import Tag
from schemas.errors import SettingsError

CSV = """remark,"CSV-Import-Export"
remark,"Date = Mon Mar 02 08:00:00 2026"
0.3
TYPE,SCOPE,NAME,DESCRIPTION,DATATYPE,SPECIFIER,ATTRIBUTES
TAG,,Speed,"Line$Nspeed $Qset$Q $$ $00B0",REAL,"","(RADIX := Float, Constant := false, ExternalAccess := Read/Write)"
TAG,,Counts,"","DINT[10]","","(RADIX := Decimal)"
TAG,,Grid,"","INT[2,3]","","(RADIX := Decimal)"
TAG,MainProgram,Wait,"","TIMER","","(Constant := false)"
TAG,,Recipe,"","STRING","",""
TAG,,Pump1,"","Pump_UDT","",""
TAG,,Secret,"","DINT","","(ExternalAccess := None)"
TAG,,Odd,"","DINT[0]","",""
ALIAS,,Velocity,"","","Speed","(RADIX := Float)"
ALIAS,,FirstBit,"","","Flags.3",""
TAG,,Flags,"","DINT","",""
ALIAS,,Valve,"","","Local:1:O.Data.0",""
COMMENT,,Pump1,"a comment","","Pump1.Speed",""
RCOMMENT,MainProgram,Main,"rung",0,"",""
STRANGE,,X,"","","",""
"""
CONTROLLER = """<?xml version="1.0" encoding="UTF-8" standalone="yes"?>
<RSLogix5000Content SchemaRevision="1.0" SoftwareRevision="33.00" TargetName="Line1" TargetType="Controller">
<Controller Use="Target" Name="Line1">
<DataTypes>
<DataType Name="Pump" Family="NoFamily" Class="User">
<Members>
<Member Name="ZZZZZZZZZZPump0" DataType="SINT" Dimension="0" Hidden="true" ExternalAccess="Read/Write"/>
<Member Name="Running" DataType="BIT" Dimension="0" Hidden="false" Target="ZZZZZZZZZZPump0" BitNumber="0">
<Description><![CDATA[It
turns]]></Description>
</Member>
<Member Name="Speed" DataType="REAL" Dimension="0" Hidden="false" ExternalAccess="Read/Write"/>
<Member Name="History" DataType="INT" Dimension="8" Hidden="false"/>
<Member Name="Label" DataType="STR20" Dimension="0" Hidden="false"/>
<Member Name="Key" DataType="DINT" Dimension="0" Hidden="false" ExternalAccess="None"/>
</Members>
</DataType>
<DataType Name="STR20" Family="StringFamily" Class="User">
<Members>
<Member Name="LEN" DataType="DINT" Dimension="0" Hidden="false"/>
<Member Name="DATA" DataType="SINT" Dimension="20" Hidden="false"/>
</Members>
</DataType>
</DataTypes>
<AddOnInstructionDefinitions>
<AddOnInstructionDefinition Name="Scale_AOI">
<Parameters>
<Parameter Name="In" TagType="Base" DataType="DINT" Usage="Input"/>
<Parameter Name="Block" TagType="Base" DataType="Pump" Usage="InOut"/>
<Parameter Name="Out" TagType="Base" DataType="REAL" Usage="Output"/>
</Parameters>
</AddOnInstructionDefinition>
</AddOnInstructionDefinitions>
<Tags>
<Tag Name="Pumps" TagType="Base" DataType="Pump" Dimensions="2" ExternalAccess="Read/Write"/>
<Tag Name="Matrix" TagType="Base" DataType="REAL" Dimensions="2 3"/>
<Tag Name="Cycle" TagType="Base" DataType="DINT"><Description><![CDATA[Cycles]]></Description></Tag>
<Tag Name="Same" TagType="Alias" AliasFor="Cycle"/>
<Tag Name="Input" TagType="Alias" AliasFor="Local:1:I.Data.0"/>
<Tag Name="Hidden" TagType="Base" DataType="DINT" ExternalAccess="None"/>
<Tag Name="Axis" TagType="Base" DataType="AXIS_CIP_DRIVE"/>
</Tags>
<Programs>
<Program Name="Main">
<Tags><Tag Name="Scaling" TagType="Base" DataType="Scale_AOI"/></Tags>
</Program>
</Programs>
</Controller>
</RSLogix5000Content>
"""
PUMP = [("Running", "bool"), ("Speed", "float32"), ("History", "int16[8]"), ("Label", "string:20")]
EXPANDED = [
    *((f"Pumps[{at}].{name}", f"Pumps[{at}].{name}", kind) for at in range(2) for name, kind in PUMP),
    ("Matrix[0]", "Matrix[0,0]", "float32[3]"), ("Matrix[1]", "Matrix[1,0]", "float32[3]"), ("Cycle", "Cycle", "int32"),
    ("Same", "Same", "int32"), ("Main.Scaling.In", "Program:Main.Scaling.In", "int32"),
    ("Main.Scaling.Out", "Program:Main.Scaling.Out", "float32"),
]  # fmt: skip


def read(path: Path, text: str) -> Export:
    path.write_text(text)
    return read_export(path, "ethernetip", {})


def test_a_csv_gives_each_tag_or_a_reason_with_its_line(tmp_path: Path) -> None:
    export = read(tmp_path / "tags.CSV", CSV)
    assert [(one.name, one.address, one.type) for one in export.found] == [
        ("Speed", "Speed", "float32"), ("Counts", "Counts", "int32[10]"), ("Grid[0]", "Grid[0,0]", "int16[3]"),
        ("Grid[1]", "Grid[1,0]", "int16[3]"), ("MainProgram.Wait.PRE", "Program:MainProgram.Wait.PRE", "int32"),
        ("MainProgram.Wait.ACC", "Program:MainProgram.Wait.ACC", "int32"),
        ("MainProgram.Wait.EN", "Program:MainProgram.Wait.EN", "bool"),
        ("MainProgram.Wait.TT", "Program:MainProgram.Wait.TT", "bool"),
        ("MainProgram.Wait.DN", "Program:MainProgram.Wait.DN", "bool"), ("Recipe", "Recipe", "string:82"),
        ("Velocity", "Velocity", "float32"), ("FirstBit", "FirstBit", "bool"), ("Flags", "Flags", "int32"),
    ]  # fmt: skip
    assert export.found[0].description == 'Line speed "set" $ °'
    assert [(one.line, one.name) for one in export.left_out] == [
        (10, "Pump1"), (11, "Secret"), (12, "Odd"), (16, "Valve"), (19, "X"),
    ]  # fmt: skip
    assert "as L5X" in export.left_out[0].reason and "Local:1:O.Data.0" in export.left_out[3].reason


def test_an_l5x_gives_members_of_user_types_and_instructions(tmp_path: Path) -> None:
    export = read(tmp_path / "line.L5X", CONTROLLER)
    assert [(one.name, one.address, one.type) for one in export.found] == EXPANDED
    assert [one.description for one in export.found if one.name in ("Cycle", "Pumps[1].Running")] == [
        "It turns", "Cycles",
    ]  # fmt: skip
    lines = CONTROLLER.splitlines()
    assert [one.name for one in export.left_out] == ["Input", "Hidden", "Axis"]
    assert all(f'<Tag Name="{one.name}"' in lines[one.line - 1] for one in export.left_out)


def test_a_type_that_holds_itself_ends(tmp_path: Path) -> None:
    text = CONTROLLER.replace('Name="Speed" DataType="REAL"', 'Name="Speed" DataType="Pump"')
    export = read(tmp_path / "line.L5X", text)
    assert sum("inside a Pump" in one.reason for one in export.left_out) == 2


@pytest.mark.parametrize(("name", "text", "said"), [
    ("a.csv", "Name,Type\n", "1: no tag export"), ("a.l5x", "<x/>", "no L5X"), ("a.l5x", "<x", "1: not XML"),
    ("a.db", "", "the file ends with .csv, .l5x"),
])  # fmt: skip
def test_what_is_no_export_is_said(tmp_path: Path, name: str, text: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        read(tmp_path / name, text)


def test_another_driver_has_no_import(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="only for s7 and ethernetip"):
        read_export(tmp_path / "a.csv", "modbus", {})


@given(st.integers(0, len(CONTROLLER)), st.text(st.sampled_from("<>/=\"' &;Name0"), max_size=4))
def test_a_spoilt_l5x_is_read_or_refused(at: int, spoilt: str) -> None:
    for text in (CONTROLLER[:at], CONTROLLER[:at] + spoilt + CONTROLLER[at + 1 :]):
        try:
            l5x.read(text, Export())
        except SettingsError as error:
            assert error.problems


def test_the_driver_takes_the_addresses() -> None:
    for name, address, kind in EXPANDED:
        load_driver("ethernetip").check_address(Tag(name=name, address=address, type=kind))
