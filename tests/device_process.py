"""One process of a device, as `python -m edge.process` runs it, for tests that hang a part of it or start it at once.

`python -m tests.device_process [--spare] [--stuck FILE] PROCESS --home DIR`. SIGUSR1 stops its main thread, and with it
its event loop, until SIGUSR2; its other threads go on. While FILE exists, the Modbus driver's calls don't return. A
spare loads what it will need, and starts once it is told a line on stdin.
"""

import argparse
import importlib
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from edge import process, processes
from edge.connectors import Connector, modbus
from edge.plc.tags.lists import Native, Tag
from edge.settings import Source
from schemas.messages import Sample

HANG, WAKE = signal.SIGUSR1, signal.SIGUSR2
HANGS_S = 60.0
LATER = {"runtime": ("edge.engines.cpu",), "camera": ("edge.cameras.plant",)}


class Stuck:
    """A connector that stands still at the next call, and between two requests of a scan."""

    def __init__(self, inner: Connector, file: Path) -> None:
        self._inner = inner
        self._file = file

    def _wait(self) -> None:
        while self._file.exists():
            time.sleep(0.005)

    def connect(self) -> None:
        self._wait()
        self._inner.connect()

    def read(self, tags: Sequence[Tag]) -> Iterator[dict[str, Sample]]:
        self._wait()
        for part in self._inner.read(tags):
            yield part
            self._wait()

    def write(self, tag: Tag, value: Native) -> None:
        self._wait()
        self._inner.write(tag, value)

    def close(self) -> None:
        self._inner.close()


def _stuck(opened: Callable[[Source], Connector], file: Path) -> Callable[[Source], Stuck]:
    return lambda source: Stuck(opened(source), file)


def _load(name: str) -> None:
    for module in ("uvloop", "bus.hot", processes.row(name).module, *LATER.get(name, ())):
        importlib.import_module(module)


def main() -> int:
    """Run it until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--spare", action="store_true")
    parser.add_argument("--stuck", type=Path)
    told, sys.argv[1:] = parser.parse_known_args()
    signal.pthread_sigmask(signal.SIG_BLOCK, {WAKE})  # before there are threads: none of them takes it
    signal.signal(HANG, lambda *_: signal.sigtimedwait({WAKE}, HANGS_S))
    if told.stuck:
        modbus.open_connector = _stuck(modbus.open_connector, told.stuck)  # type: ignore[assignment]
    if told.spare:
        _load(sys.argv[1].partition("@")[0])
        if not sys.stdin.readline():
            return 0  # who would have told it is gone
    return process.main()


if __name__ == "__main__":
    sys.exit(main())
