"""The Logix simulator run as a process; tests/edge/sim/test_logix.py holds it to two clients that are not ours."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@contextlib.contextmanager
def logix_peer(host: str = "127.0.0.1", port: int = 0, *words: str) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    """A running controller: its port and process."""
    program = [sys.executable, "-m", "tests.peers.logix_server", host, str(port), *words]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True, cwd=ROOT) as child:
        try:
            assert child.stdout is not None
            yield int(child.stdout.readline()), child
        finally:
            child.kill()
