"""`plantedge opcua export`: the address space of a device folder as NodeSet2 XML, without the device."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from edge.settings import load_settings


def export(home: Path, out: Path | None) -> int:
    """Write it into a file, or on the terminal."""
    from edge.opcua_server.export import (
        nodeset,
    )  # asyncua is slow to load: not before the settings are known to be right

    settings = load_settings(home)
    text = asyncio.run(nodeset(settings, home))
    if out is None:
        sys.stdout.write(text)
    else:
        out.write_text(text, encoding="utf-8")
        counts = [f"{text.count(f'<UA{kind} ')} {kind.lower()}s" for kind in ("Variable", "Object", "Method")]
        print(f"{out}: {', '.join(counts)}")
    return 0
