"""In which order the outputs are written and told: what is told stands in the PLC, unless the link failed."""

from collections.abc import Iterator, Sequence

import pytest

from edge.plc.outputs.machine import OutputsMachine
from edge.plc.outputs.tag_failsafes import TagFailsafes
from edge.plc.outputs.writer import OutputWriter
from edge.plc.tags.lists import Access, Native, Tag
from edge.plc.told import FailsafeChange, OutputRefused, Told
from edge.settings import Outputs
from schemas.errors import ConnectorError, TagError
from schemas.messages import Phase, Sample

TAGS = {name: Tag(name=name, address=name, type="bool", access=Access.WRITE) for name in ("reject", "armed")}
OUTPUTS = Outputs(source="plant", verdict="reject", part="", armed="armed")


class Journal:
    """A PLC whose writes, and what is told meanwhile, are kept in one list."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.entries: list[str] = []

    def connect(self) -> None:
        """Be there at once."""

    def read(self, tags: Sequence[Tag]) -> Iterator[dict[str, Sample]]:
        yield {}

    def write(self, tag: Tag, value: Native) -> None:
        if self.error:
            raise self.error
        self.entries.append(f"{tag.name}={value}")

    def close(self) -> None:
        """Have nothing to close."""

    def tell(self, told: Told) -> None:
        if isinstance(told, FailsafeChange):
            self.entries.append(f"fail-safe {told.change.phase.value}")
        elif isinstance(told, OutputRefused):
            self.entries.append(f"refused {told.tag}")


def writer(plc: Journal) -> OutputWriter:
    return OutputWriter({"caps": OutputsMachine(OUTPUTS, "b00t")}, {}, TAGS, plc.tell, TagFailsafes((), plc.tell))


def test_the_fail_safe_is_told_once_it_is_written() -> None:
    plc = Journal()
    writer(plc).begin(plc, "started")
    assert plc.entries == ["reject=True", "armed=False", f"fail-safe {Phase.NEW.value}"]


def test_a_fail_safe_that_the_plc_refuses_is_told_with_the_refusal() -> None:
    plc = Journal(TagError("read only"))
    writer(plc).begin(plc, "started")
    assert plc.entries == ["refused reject", f"fail-safe {Phase.NEW.value}"]


def test_a_fail_safe_whose_write_ends_the_link_is_told_once() -> None:
    plc = Journal(ConnectorError("gone"))
    outputs = writer(plc)
    with pytest.raises(ConnectorError):
        outputs.begin(plc, "started")
    outputs.lost("gone")
    assert plc.entries == [f"fail-safe {Phase.NEW.value}"]
