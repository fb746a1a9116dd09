"""TIA Portal's exports: tag tables as CSV and SimaticML, data blocks as sources with the offsets of standard access."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.connectors import driver_names, load_driver
from edge.plc.imports import Export, read_export, tia_blocks
from edge.plc.tags.tag import Tag
from schemas.errors import SettingsError

TABLE = """Name,Path,Data Type,Logical Address,Comment,Hmi Visible,Hmi Accessible,Hmi Writeable,Typeobject ID,Version ID
Start,Default tag table,Bool,%I0.3,"Button, green",True,True,True,,
Level,Analog,Int,%IW64,,True,True,True,,
Speed,Analog,Real,%MD100,,True,True,True,,
Torque,Analog,LReal,%M120.0,,True,True,True,,
Runtime,Analog,Time,%MD132,,True,True,True,,
Lamp,Default tag table,Bool,%Q4.7,,True,True,True,,
Shift,Default tag table,Date_And_Time,%M200.0,,True,True,True,,
Delay,Default tag table,S5Time,%MW60,,True,True,True,,
Parts,Default tag table,Counter,%C1,,True,True,True,,
Wrong,Default tag table,Int,%MD140,,True,True,True,,
Direct,Default tag table,Int,%IW64:P,,True,True,True,,
Line,Default tag table,Array[0..3] of Int,%M300.0,,True,True,True,,
"""
GERMAN = """\ufeffName;Pfad;Datentyp;Logische Adresse;Kommentar
Taster;Standard;Bool;%E0.0;grün
Ventil;Standard;Bool;%A1.2;
"""
XML = """<?xml version="1.0" encoding="utf-8"?>
<Document>
  <Engineering version="V18" />
  <SW.Tags.PlcTagTable ID="0">
    <AttributeList><Name>IO</Name></AttributeList>
    <ObjectList>
      <SW.Tags.PlcTag ID="1" CompositionName="Tags">
        <AttributeList>
          <DataTypeName>Word</DataTypeName><LogicalAddress>%MW10</LogicalAddress><Name>Status</Name>
        </AttributeList>
        <ObjectList>
          <MultilingualText ID="2" CompositionName="Comment">
            <ObjectList>
              <MultilingualTextItem ID="3" CompositionName="Items">
                <AttributeList><Culture>de-DE</Culture><Text>Zustand</Text></AttributeList>
              </MultilingualTextItem>
              <MultilingualTextItem ID="4" CompositionName="Items">
                <AttributeList><Culture>en-US</Culture><Text>State &amp; faults</Text></AttributeList>
              </MultilingualTextItem>
            </ObjectList>
          </MultilingualText>
        </ObjectList>
      </SW.Tags.PlcTag>
      <SW.Tags.PlcTag ID="5" CompositionName="Tags">
        <AttributeList>
          <DataTypeName>"Pump"</DataTypeName><LogicalAddress>%M20.0</LogicalAddress><Name>P1</Name>
        </AttributeList>
      </SW.Tags.PlcTag>
      <SW.Tags.PlcUserConstant ID="6" CompositionName="UserConstants">
        <AttributeList><DataTypeName>Int</DataTypeName><Name>MAX</Name><Value>5</Value></AttributeList>
      </SW.Tags.PlcUserConstant>
    </ObjectList>
  </SW.Tags.PlcTagTable>
</Document>
"""
SOURCE = """TYPE "Pump"
VERSION : 0.1
   STRUCT
      Running : Bool;   // it turns
      Fault { ExternalWritable := 'False'} : Bool := FALSE;
      Speed : Real := 12.5;
   END_STRUCT;
END_TYPE

DATA_BLOCK "Line"
{ S7_Optimized_Access := 'FALSE' }
VERSION : 0.1
NON_RETAIN
   STRUCT
      A, B : Bool;
      Small : Byte;
      Number : Int := 16#7F;
      "With space" : Bool;
      Bits : Array[0..9] of Bool;
      Bytes : Array[1..3] of USInt;
      After : Word;
      Name : String[10] := 'a;b"c';
      Long : LReal;
      Started : Date_And_Time;
      Sub : Struct   (* a ; comment *)
         X : SInt;
         Y : DInt;
      END_STRUCT;
      Pumps : Array[-1..1] of "Pump";
      Grid : Array[0..1, 0..2] of Int;
      Texts : Array[0..1] of String[3];
      Last : DTL;
   END_STRUCT;
BEGIN
   Number := 5;
END_DATA_BLOCK
"""
PLACED = {
    "A": ("DB7.DBX0.0", "bool"), "B": ("DB7.DBX0.1", "bool"), "Small": ("DB7.DBB1", "uint8"),
    "Number": ("DB7.DBW2", "int16"), "With space": ("DB7.DBX4.0", "bool"), "Bits": ("DB7.DBX6.0", "bool[10]"),
    "Bytes": ("DB7.DBB8", "uint8[3]"), "After": ("DB7.DBW12", "uint16"), "Name": ("DB7.DBB14", "string:10"),
    "Long": ("DB7.DBB26", "float64"), "Started": ("DB7.DBB34", "datetime:dt"), "Sub.X": ("DB7.DBB42", "int8"),
    "Sub.Y": ("DB7.DBD44", "int32"), "Pumps[-1].Running": ("DB7.DBX48.0", "bool"),
    "Pumps[-1].Fault": ("DB7.DBX48.1", "bool"), "Pumps[-1].Speed": ("DB7.DBD50", "float32"),
    "Pumps[0].Running": ("DB7.DBX54.0", "bool"), "Pumps[0].Fault": ("DB7.DBX54.1", "bool"),
    "Pumps[0].Speed": ("DB7.DBD56", "float32"), "Pumps[1].Running": ("DB7.DBX60.0", "bool"),
    "Pumps[1].Fault": ("DB7.DBX60.1", "bool"), "Pumps[1].Speed": ("DB7.DBD62", "float32"),
    "Grid": ("DB7.DBW66", "int16[6]"), "Texts[0]": ("DB7.DBB78", "string:3"), "Texts[1]": ("DB7.DBB84", "string:3"),
    "Last": ("DB7.DBB90", "datetime:dtl"),
}  # fmt: skip


def block(members: str) -> str:
    return f"DATA_BLOCK DB3\nSTRUCT\n{members}\nEND_STRUCT;\nBEGIN\nEND_DATA_BLOCK\n"


def read(path: Path, text: str, **blocks: int) -> Export:
    path.write_bytes(text.encode())
    return read_export(path, "s7", blocks)


def test_a_table_as_csv_gives_each_tag_or_a_reason_with_its_line(tmp_path: Path) -> None:
    export = read(tmp_path / "tags.csv", TABLE)
    assert [(one.name, one.address, one.type, one.scale) for one in export.found] == [
        ("Start", "I0.3", "bool", 1.0), ("Level", "IW64", "int16", 1.0), ("Speed", "MD100", "float32", 1.0),
        ("Torque", "MB120", "float64", 1.0), ("Runtime", "MD132", "int32", 1e-3), ("Lamp", "Q4.7", "bool", 1.0),
        ("Shift", "MB200", "datetime:dt", 1.0),
    ]  # fmt: skip
    assert export.found[0].description == "Button, green" and export.found[4].unit == "s"
    said = {one.name: (one.line, one.reason) for one in export.left_out}
    assert {name: line for name, (line, _) in said.items()} == {
        "Delay": 9, "Parts": 10, "Wrong": 11, "Direct": 12, "Line": 13,
    }  # fmt: skip
    assert "S5Time" in said["Delay"][1] and "timer or counter" in said["Parts"][1] and "%MD140" in said["Wrong"][1]


def test_a_german_table_with_semicolons(tmp_path: Path) -> None:
    export = read(tmp_path / "tags.csv", GERMAN)
    assert [(one.name, one.address, one.description) for one in export.found] == [
        ("Taster", "I0.0", "grün"), ("Ventil", "Q1.2", ""),
    ]  # fmt: skip


def test_a_table_as_simatic_ml(tmp_path: Path) -> None:
    export = read(tmp_path / "tags.xml", XML)
    (tag,) = export.found
    assert (tag.name, tag.address, tag.type, tag.description, tag.line) == (
        "Status", "MW10", "uint16", "State & faults", 7,
    )  # fmt: skip
    assert {one.name for one in export.left_out} == {"P1", "MAX"}


def test_members_of_a_block_lie_where_standard_access_puts_them(tmp_path: Path) -> None:
    export = read(tmp_path / "line.db", SOURCE, Line=7)
    assert {one.name.removeprefix("Line."): (one.address, one.type) for one in export.found} == PLACED
    assert not export.left_out
    running = next(one for one in export.found if one.name == "Line.Pumps[0].Running")
    assert running.description == "it turns"


@pytest.mark.parametrize(("text", "found", "said"), [
    (SOURCE, 0, "its number is not in the source; say --db 'Line=NUMBER'"),
    (SOURCE.replace("'FALSE'", "'TRUE'"), 0, "optimized access"),
    ('DATA_BLOCK "DB3"\n"Pump"\nBEGIN\nEND_DATA_BLOCK\n', 0, "made of Pump, which this file does not declare"),
    (block("S : String[3]; B : Bool; W : Word;"), 1, "odd length"),
    (block("A : Int; T : TON; W : Word;"), 1, "DB3.T is a TON"),
    (block("A : Array[0..MAX] of Int;"), 0, "bounds"),
    (block("A : Array[0..1,0..2] of Bool;"), 0, "depends on the CPU"),
    ('TYPE "P"\nSTRUCT\nA : Int;\nB : "P";\nEND_STRUCT;\nEND_TYPE\n' + block('C : "P";'), 1, "holds itself"),
])  # fmt: skip
def test_what_can_not_be_placed_is_left_out_and_nothing_is_guessed(
    tmp_path: Path, text: str, found: int, said: str
) -> None:
    export = read(tmp_path / "line.db", text)
    assert len(export.found) == found
    assert [said in one.reason for one in export.left_out] == [True]


@pytest.mark.parametrize(("name", "text", "said"), [
    ("a.csv", "Tag;Type\n", "1: no table of PLC tags"), ("a.csv", "", "1: it is empty"),
    ("a.xml", "<Document>", "1: not XML"), ("a.xml", "<Document/>", "1: no SimaticML"),
    ("a.xml", '<!DOCTYPE d [<!ENTITY a "aaaa">]><Document>&a;</Document>', "declares an entity"),
    ("a.db", "FUNCTION x\n", "no DATA_BLOCK"), ("a.db", "DATA_BLOCK DB1\nSTRUCT\nA : Int;\n", "4: .*the end"),
    ("a.db", "DATA_BLOCK DB1\nSTRUCT\nA Int;\nEND_STRUCT;\nEND_DATA_BLOCK", "3: 'Int' where a type"),
    ("a.xlsx", "", "the file ends with .csv, .xml, .db"),
])  # fmt: skip
def test_what_is_no_export_is_said_with_the_line(tmp_path: Path, name: str, text: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        read(tmp_path / name, text)


@given(st.integers(0, len(SOURCE)), st.text(st.sampled_from(";:{}[]()'\"\n*/. AZ09"), max_size=4))
def test_a_spoilt_source_is_read_or_refused(at: int, spoilt: str) -> None:
    for text in (SOURCE[:at], SOURCE[:at] + spoilt + SOURCE[at + 1 :]):
        try:
            tia_blocks.read(text, Export({"Line": 7}))
        except SettingsError as error:
            assert all(problem.split(":")[0].isdecimal() for problem in error.problems)


@pytest.mark.skipif("s7" not in driver_names(), reason="there is no s7 driver")
def test_the_driver_takes_the_addresses() -> None:
    for address, kind in (
        *PLACED.values(),
        ("I0.3", "bool"),
        ("IW64", "int16"),
        ("MD100", "float32"),
        ("MB9", "float64"),
    ):
        load_driver("s7").check_address(Tag(name="T", address=address, type=kind))
