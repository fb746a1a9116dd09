"""S7 servers run as processes: python-snap7's own, and libsnap7, which shares no code with it, where that is there."""

import contextlib
import ctypes.util
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.conftest import PEERS, absent

HERE = Path(__file__).parent


def libsnap7() -> str:
    """The C library: `SNAP7_LIBRARY`, or Debian 13's libsnap7-1, installed or unpacked; skips (fails in CI) without."""
    unpacked = map(str, PEERS.glob("debs/usr/lib/*/libsnap7.so.1"))
    found = os.environ.get("SNAP7_LIBRARY") or ctypes.util.find_library("snap7") or next(unpacked, "")
    if not found:
        absent("libsnap7", "./run test unpacks Debian 13's libsnap7-1 where the mirror has it; or set SNAP7_LIBRARY")
    return found


@contextlib.contextmanager
def s7_peer(library: str = "", pdu: int = 480) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    """A running server: its port and process; python-snap7's where no library is named."""
    program = HERE / ("s7_server.py" if library else "s7_python_server.py")
    words = [sys.executable, str(program), library or "-", str(pdu)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None
            yield int(child.stdout.readline()), child
        finally:
            child.kill()
