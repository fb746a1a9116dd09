"""`modbus_server.c` built with the machine's own compiler and run as a process."""

import atexit
import contextlib
import functools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.conftest import absent, find_program

SOURCE = Path(__file__).with_name("modbus_server.c")
DEBIAN = "apt-get install gcc pkg-config libmodbus-dev"


@functools.cache
def server_program() -> Path:
    """Build the server once per test run; skips (fails under CI) without compiler or library."""
    compiler, config = find_program("gcc"), find_program("pkg-config")
    flags = subprocess.run([config, "--cflags", "--libs", "libmodbus"], capture_output=True, text=True, timeout=30)
    if flags.returncode:
        absent("libmodbus", DEBIAN)
    folder = Path(tempfile.mkdtemp(prefix="plantedge-modbus-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    program = folder / "modbus_server"
    words = [compiler, "-O1", "-Wall", "-Wextra", "-Werror", "-o", program, SOURCE, *flags.stdout.split()]
    subprocess.run(words, check=True, timeout=60)
    return program


@contextlib.contextmanager
def modbus_peer(*words: str, registers: int = 200) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    """A running server: its port and process. `words` are its arguments: a series to replay."""
    environment = os.environ | {"MODBUS_REGISTERS": str(registers)}
    with subprocess.Popen([server_program(), *words], stdout=subprocess.PIPE, text=True, env=environment) as child:
        try:
            assert child.stdout is not None
            yield int(child.stdout.readline()), child
        finally:
            child.kill()
