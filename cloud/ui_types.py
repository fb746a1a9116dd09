"""Writes the page's TypeScript types from the structs that REST speaks: `python -m cloud.ui_types`.

A test compares the file with what this makes, so that page and service can't drift apart.
"""

from __future__ import annotations

import sys
from pathlib import Path

from cloud.accounts import Role
from cloud.device import ConfigDesired, DeviceDetail, Matches, Request, Session, Snapshot
from schemas.typescript import declarations

TARGET = Path(__file__).parent / "ui" / "src" / "api.ts"
ROOTS: tuple[type, ...] = (Snapshot, Matches, DeviceDetail, Request, ConfigDesired, Session, Role)


def generate() -> str:
    """Return the text of `cloud/ui/src/api.ts`."""
    return declarations("// Generated from cloud/device.py by `python -m cloud.ui_types`; do not edit.", ROOTS)


def main() -> int:
    """Write the file."""
    TARGET.write_text(generate())
    return 0


if __name__ == "__main__":
    sys.exit(main())
