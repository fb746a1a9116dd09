"""Tag exports of engineering tools as tag lists: TIA Portal (CSV, SimaticML, block sources), Studio 5000 (CSV, L5X).

`read_export` reads one file by the driver that will read the PLC and the file's ending. What can't be a tag is left out
with its line and the reason; nothing is lost silently. Every tag comes as read only: what may be written is for a
person to say.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, cast

from schemas.errors import SettingsError

READERS: Final[Mapping[str, Mapping[str, str]]] = {
    "s7": {".csv": "tia", ".xml": "tia_xml", ".db": "tia_blocks", ".scl": "tia_blocks", ".udt": "tia_blocks"},
    "ethernetip": {".csv": "studio5000", ".l5x": "l5x"},
}


@dataclass(frozen=True, kw_only=True)
class Found:
    """One tag of an export, in the words of a tag list; `line` is where it stands in the export."""

    name: str
    address: str
    type: str
    line: int
    scale: float = 1.0
    unit: str = ""
    description: str = ""


@dataclass(frozen=True)
class LeftOut:
    """What an export holds and a tag list can't."""

    line: int
    name: str
    reason: str


@dataclass
class Export:
    """What was read; `blocks` are numbers of data blocks by their names, where the export doesn't tell them."""

    blocks: Mapping[str, int] = field(default_factory=dict[str, int])
    found: list[Found] = field(default_factory=list[Found])
    left_out: list[LeftOut] = field(default_factory=list[LeftOut])

    def leave_out(self, line: int, name: str, reason: str) -> None:
        """Say what is not taken, and why."""
        self.left_out.append(LeftOut(line, name, reason))


def read_export(path: Path, driver: str, blocks: Mapping[str, int]) -> Export:
    """Read an export for a driver.

    Raises:
        SettingsError: the file can't be read, or is no export of this kind.
    """
    readers = READERS.get(driver)
    if readers is None:
        raise SettingsError([f"{path}: there is no import for driver {driver!r}, only for {' and '.join(READERS)}"])
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise SettingsError([f"{path}: for {driver} the file ends with {', '.join(readers)}; export one of these"])
    read = cast(Callable[[str, Export], None], importlib.import_module(f"{__name__}.{reader}").read)
    export = Export(blocks)
    try:
        read(text_of(path.read_bytes()), export)
    except OSError as error:
        raise SettingsError([f"{path}: {error.strerror}; mend the path"]) from error
    except SettingsError as error:
        raise SettingsError([f"{path}:{problem}" for problem in error.problems]) from error
    return export


def text_of(data: bytes) -> str:
    """Return a file's text: by its byte order mark, else UTF-8, else Windows' Western European."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16", errors="replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace")
