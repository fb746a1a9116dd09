"""The folder of certificates that were refused: bounded, the oldest gives way; `opcua trust` takes from it."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from edge.opcua_server.access.trust import common_name, thumbprint

MOST: Final = 64  # whoever reaches the port can fill it: a person looks at it soon after a refusal
_UNFIT: Final = re.compile(r"[^A-Za-z0-9 _.-]")


def file_name(certificate: x509.Certificate) -> str:
    """Return a certificate's file name as OPC UA tools write it: its common name, then its thumbprint."""
    name = _UNFIT.sub("_", common_name(certificate))[:48].strip(" .") or "unnamed"
    return f"{name} [{thumbprint(certificate)}].der"


def keep(folder: Path, certificate: x509.Certificate) -> None:
    """Put a certificate that was refused where a person finds it; a full or unwritable disk changes nothing."""
    path = folder / file_name(certificate)
    with contextlib.suppress(OSError):
        if path.exists():
            path.touch()
            return
        aside = path.with_name(f".{thumbprint(certificate)}")
        aside.write_bytes(certificate.public_bytes(Encoding.DER))
        aside.replace(path)
        held = sorted(folder.glob("*.der"), key=lambda one: one.stat().st_mtime_ns)
        for old in held[: max(0, len(held) - MOST)]:
            old.unlink(missing_ok=True)
