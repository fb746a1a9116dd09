"""`./run bench [NAME [ARGS]]`: runs one benchmark, or each in turn.

A benchmark is a file `tests/bench/NAME.py` that runs itself; its last line on stdout is JSON.
"""

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


def names() -> list[str]:
    """The benchmarks: files that end by running themselves."""
    return sorted(
        path.stem
        for path in HERE.glob("[!_]*.py")
        if '\nif __name__ == "__main__":' in path.read_text(encoding="utf-8")
    )


def main() -> int:
    """Run what is asked for; the exit status is the first that is not 0."""
    wanted, arguments = sys.argv[1:2], sys.argv[2:]
    if wanted in (["-h"], ["--help"]) or (wanted and wanted[0] not in names()):
        print(f"{__doc__}\nThere are: {', '.join(names())}", file=sys.stderr)
        return 0 if wanted[0].startswith("-") else 2
    status = 0
    for name in wanted or names():
        found = subprocess.call([sys.executable, "-m", f"tests.bench.{name}", *arguments], cwd=HERE.parent.parent)
        status = status or found
    return status


if __name__ == "__main__":
    sys.exit(main())
