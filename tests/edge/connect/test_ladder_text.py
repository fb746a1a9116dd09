"""The PLC's side as text: what it holds follows from the outputs' tags, and it reads first what is written last."""

import re

import pytest

from edge.plc.outputs.ladder_page import FILE, page
from edge.plc.outputs.ladder_text import ladder, scl, structured_text
from edge.plc.outputs.table import HOOKS, used
from edge.plc.tags.tag import Access, Tag
from edge.settings import Outputs
from tests.conftest import ROOT

ADDRESSES = {
    "verdict": ("bool", "DB1.DBX0.0"), "data_valid": ("bool", "DB1.DBX0.1"), "armed": ("bool", "DB1.DBX0.2"),
    "busy": ("bool", "DB1.DBX0.3"), "done": ("bool", "DB1.DBX0.4"), "error": ("bool", "DB1.DBX0.5"),
    "part": ("uint32", "DB1.DBD2"), "result_id": ("uint16", "DB1.DBW6"), "heartbeat": ("uint16", "DB1.DBW8"),
    "result_ack": ("uint16", "DB1.DBW10"), "rearm": ("bool", "DB1.DBX12.0"), "request": ("bool", "DB1.DBX12.1"),
    "manual": ("bool", "DB1.DBX12.2"),
}  # fmt: skip
TAGS = {
    f"T.{key}": Tag(name=f"T.{key}", address=address, type=kind, access=Access.WRITE)
    for key, (kind, address) in ADDRESSES.items()
}
EVERY = Outputs.model_validate({"source": "plc"} | {key: f"T.{key}" for key in ADDRESSES})
LEAST = Outputs(source="plc", verdict="T.verdict")
CHOICES = {
    "every": EVERY, "least": LEAST, "inverted": EVERY.model_copy(update={"failsafe": False}),
    "no handshake": EVERY.model_copy(update={"result_id": "", "result_ack": ""}),
    "no part": EVERY.model_copy(update={"part": ""}),
    "first": Outputs(source="plc", verdict="T.verdict", part="T.part", armed="T.armed", rearm="T.rearm"),
}  # fmt: skip


def code(text: str) -> str:
    """A text without its comments."""
    return re.sub(r"//.*", "", text)


@pytest.fixture(params=CHOICES)
def outputs(request: pytest.FixtureRequest) -> Outputs:
    return CHOICES[request.param]


def test_every_hook_has_an_example_here() -> None:
    assert set(ADDRESSES) == {hook.key for hook in HOOKS}


def test_what_is_used_is_declared_and_what_is_declared_is_used(outputs: Outputs) -> None:
    text = code(structured_text(outputs, TAGS))
    declared = re.findall(r"^    (\w+) : ", text, re.MULTILINE)
    assert len(declared) == len(set(declared)), "nothing twice"
    body = text.split("END_VAR")[-1]
    heard = {"Busy", "RequestFailed"}  # for the plant's own program
    assert {name for name in declared if not re.search(rf"\b{name}\b", body)} <= heard
    known = {*declared, "Edge", "END_FUNCTION_BLOCK", "CLK", "IN", "PT", "Q", "T"}
    words = set(re.findall(r"\b[A-Z][A-Za-z_]*\b", body))
    assert {word for word in words if not word.isupper() and not word.endswith("_TO_INT")} <= known


def test_every_block_of_the_text_is_closed(outputs: Outputs) -> None:
    for text in (code(structured_text(outputs, TAGS)), code(scl(outputs, TAGS))):
        for opening in ("IF", "FUNCTION_BLOCK", "DATA_BLOCK", "STRUCT"):
            begun = len(re.findall(rf"(?<![\w]){opening}\b", text))
            assert begun == len(re.findall(rf"\bEND_{opening}\b", text)), opening
        assert text.count("(") == text.count(")")


def test_each_tag_stands_beside_its_variable(outputs: Outputs) -> None:
    for text in (structured_text(outputs, TAGS), scl(outputs, TAGS)):
        for hook in used(outputs):
            name = hook.tag(outputs)
            assert f"// {name}, {TAGS[name].address}\n" in text


def test_the_number_is_read_before_what_belongs_to_it_and_answered_after() -> None:
    body = code(structured_text(EVERY, TAGS)).split("END_VAR")[-1]
    places = [
        body.index(word) for word in ("NewId := Edge.ResultId", "Edge.PartId", "Edge.Reject", "Edge.ResultAck := ")
    ]
    assert places == sorted(places)
    assert body.count("Edge.ResultId") == 1, "a number that changes meanwhile is the next one"


def test_without_a_handshake_the_parts_id_latches_and_is_read_first() -> None:
    body = code(structured_text(CHOICES["no handshake"], TAGS)).split("END_VAR")[-1]
    assert "ResultId" not in body and body.index("NewPart := Edge.PartId") < body.index("Edge.Reject")


def test_a_verdict_that_passes_by_true_is_turned_round() -> None:
    assert ":= NOT Edge.Pass OR NOT Edge.DataValid;" in structured_text(CHOICES["inverted"], TAGS)
    assert "Eject := LastReject" in structured_text(LEAST, TAGS)


def test_scl_is_the_same_program_with_the_cpus_names() -> None:
    body = code(structured_text(EVERY, TAGS)).split("END_VAR")[-1].replace("END_FUNCTION_BLOCK", "")
    siemens = code(scl(EVERY, TAGS)).split("BEGIN")[-1].split("END_FUNCTION_BLOCK")[0]
    assert siemens.replace('"DB_Edge".', "Edge.").replace("#", "").split() == body.replace("T#", "T").split()


def test_the_data_block_lies_in_the_order_of_the_addresses() -> None:
    block = scl(EVERY, TAGS).split("END_STRUCT")[0]
    assert re.findall(r"DB1\.\w+(?:\.\d)?$", block, re.MULTILINE) == [
        address
        for _, address in sorted(ADDRESSES.values(), key=lambda one: [int(n) for n in re.findall(r"\d+", one[1])])
    ]


def test_the_ladder_latches_by_the_same_change(outputs: Outputs) -> None:
    text = ladder(outputs, TAGS)
    assert ("[ResultId <> ResultAck]" in text) is bool(outputs.result_id)
    assert all(line.startswith(("//", "|")) for line in text.splitlines() if line)


def test_the_watchdog_waits_for_five_heartbeats_and_no_less_than_half_a_second() -> None:
    assert "T#500MS" in structured_text(EVERY, TAGS)
    slow = EVERY.model_copy(update={"heartbeat_ms": 300, "lease_ms": 1000})
    assert "T#1500MS" in structured_text(slow, TAGS)


def test_the_page_is_the_generated_one() -> None:
    assert (ROOT / FILE).read_text() == page(), "run: python -m edge.plc.outputs.ladder_page"
    assert all(f"| `{hook.key}` |" in page() for hook in HOOKS)
