"""Whether `edge`, `bus`, `cloud` and `schemas` are ours: names so general that another distribution may have them too.

Source: the RECORD file of an installed distribution (PEP 376, PEP 427), `direct_url.json` of an editable one (PEP 660).
"""

from __future__ import annotations

import base64
import csv
import hashlib
import importlib.metadata
import importlib.util
from pathlib import Path

DISTRIBUTION = "plantedge"
PACKAGES = ("edge", "bus", "cloud", "schemas")
_REMEDY = "install plantedge into an environment of its own: python3 -m venv ENV && ENV/bin/pip install plantedge"


def installation_problems() -> list[str]:
    """Return which of the four packages are not the ones that were installed with us, and what to do; [] if all are.

    Nothing of them is imported here: a foreign `schemas` must be told, not tripped over.
    """
    ours = Path(__file__).resolve().parent.parent.parent
    recorded = _recorded(ours)
    problems = [text for package in PACKAGES if (text := _problem(package, ours, recorded))]
    return [*problems, _REMEDY] if problems else []


def _problem(package: str, ours: Path, recorded: dict[str, str]) -> str:
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        return f"package {package} is missing"
    file = Path(spec.origin).resolve()
    if file.parent.parent != ours:
        return f"package {package} comes from {file.parent}, not from {ours}"
    wanted = recorded.get(f"{package}/__init__.py", "")
    if wanted and wanted != _digest(file):
        return f"{file} is not the file that {DISTRIBUTION} installed: another distribution has overwritten it"
    return ""


def _recorded(ours: Path) -> dict[str, str]:
    """Return file -> digest of the distribution installed where we are; nothing for a checkout, whose files change."""
    try:
        distribution = importlib.metadata.distribution(DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        return {}
    if Path(str(distribution.locate_file("edge"))).resolve().parent != ours:
        return {}
    rows = csv.reader((distribution.read_text("RECORD") or "").splitlines())
    return {row[0]: row[1] for row in rows if len(row) > 1 and row[0].endswith("/__init__.py")}


def _digest(file: Path) -> str:
    digest = hashlib.sha256(file.read_bytes()).digest()
    return "sha256=" + base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
