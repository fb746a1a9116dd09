"""Writes the PLC's side of a device's outputs as text files, in the languages that fit each source's driver."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from edge.commissioning.identity import sha256
from edge.commissioning.record import Program
from edge.plc.outputs.ladder_text import ladder, scl, structured_text
from edge.plc.tags.tag import Tag
from edge.settings import Outputs, Settings

FOLDER: Final = "plc-programs"
_Text = Callable[[Outputs, Mapping[str, Tag]], str]
LANGUAGES: Final[Mapping[str, tuple[str, _Text]]] = {
    "SCL": ("scl", scl), "structured text": ("st", structured_text), "ladder": ("ladder.txt", ladder),
}  # fmt: skip
SIEMENS: Final = ("SCL", "ladder")
OTHERS: Final = ("structured text", "ladder")
_BY_DRIVER: Final = {"s7": SIEMENS, "opcua": tuple(LANGUAGES)}  # OPC UA is spoken by Siemens and by everyone else


def write_programs(folder: Path, settings: Settings, tags: Mapping[str, Mapping[str, Tag]]) -> list[Program]:
    """Write them below `folder`; return what was written, by pipeline."""
    (folder / FOLDER).mkdir(parents=True, exist_ok=True)
    found: list[Program] = []
    for pipeline, outputs in settings.outputs.items():
        for language in _BY_DRIVER.get(settings.sources[outputs.source].driver, OTHERS):
            ending, text_of = LANGUAGES[language]
            file = f"{FOLDER}/{pipeline}.{ending}"
            data = text_of(outputs, tags[outputs.source]).encode()
            (folder / file).write_bytes(data)
            found.append(Program(file=file, pipeline=pipeline, language=language, sha256=sha256(data)))
    return found
