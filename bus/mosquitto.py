"""A broker as a child process: started, waited for until it answers, reloaded, stopped. Synchronous on purpose.

`find_broker` (bus/broker_ladder.py) says which program; `bus.broker_config` writes what it is started with.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import random
import resource
import secrets
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from bus import Address
from bus.broker_ladder import find_broker
from bus.broker_program import BrokerProgram
from schemas.errors import StartError

__all__ = ["BrokerProcess", "BrokerProgram", "find_broker", "free_port", "probe"]

log = logging.getLogger(__name__)

_CONNACK = 0x20
_PORTS = range(20_000, 32_000)  # below the range that outgoing connections take theirs from
_taken: set[int] = set()


def free_port() -> int:
    """Return a TCP port that nothing listens on, never the same one twice in a process.

    Another program may still take it before its user binds it: `BrokerProcess.start` then says so.

    Raises:
        StartError: no port is free.
    """
    for port in random.sample(_PORTS, 200):
        if port in _taken:
            continue
        with socket.socket() as candidate:
            candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                candidate.bind(("0.0.0.0", port))  # noqa: S104 - bound for a moment, to see that every address is free
            except OSError:
                continue
        _taken.add(port)
        return port
    raise StartError(f"no free TCP port among 200 tried in {_PORTS.start}-{_PORTS.stop}; see `ss -ltn`")


def probe(address: Address, timeout_s: float = 2.0) -> None:
    """Connect to a broker with `address.mqtt` and say goodbye.

    Without user, password and certificate an answer of "not authorised" will do: the broker is up.

    Raises:
        StartError: the broker refuses this account.
        OSError: no connection, or no MQTT broker.
    """
    with _connect(address, timeout_s) as link:
        link.sendall(_connect_packet(address))
        answer = link.recv(4)
        if len(answer) < 4 or answer[0] != _CONNACK:
            raise ConnectionError(f"{_where(address)} does not answer as an MQTT broker")
        if answer[3] and (address.username or address.tls):
            who = (
                repr(address.username) if address.username else f"certificate {address.tls and address.tls.certificate}"
            )
            raise StartError(
                f"the broker at {_where(address)} refuses {who} (reason {answer[3]:#x}); check its password file"
            )
        link.sendall(b"\xe0\x00")


def _where(address: Address) -> str:
    return address.socket or f"{address.host}:{address.port}"


def _connect(address: Address, timeout_s: float) -> socket.socket:
    if address.socket:
        link = socket.socket(socket.AF_UNIX)
        link.settimeout(timeout_s)
        link.connect(address.socket)
        return link
    plain = socket.create_connection((address.host, address.port), timeout_s)
    if not address.tls:
        return plain
    context = ssl.create_default_context(cafile=str(address.tls.ca))
    if address.tls.certificate:
        context.load_cert_chain(address.tls.certificate, address.tls.key)
    return context.wrap_socket(plain, server_hostname=address.host)


def _connect_packet(address: Address) -> bytes:
    flags = 0x02 | (0x80 if address.username else 0) | (0x40 if address.password else 0)
    client_id = f"probe-{secrets.token_hex(4)}"
    level = bytes([5, flags, 0, 10, 0]) if address.mqtt == "5" else bytes([4, flags, 0, 10])  # 5: and no properties
    body = _text("MQTT") + level + _text(client_id)
    for field in filter(None, (address.username, address.password)):
        body += _text(field)
    length = len(body)  # two bytes of length: names and passwords are well below 16 kB
    return bytes([0x10, 0x80 | length & 0x7F, length >> 7]) + body


def _text(text: str) -> bytes:
    data = text.encode()
    return len(data).to_bytes(2, "big") + data


class BrokerProcess:
    """One broker of ours, of a device or of a fleet. Use it as a context manager, or call `stop`.

    It runs in its own process group (a Ctrl-C reaches us, not it) and ends when our main thread does, however that
    ends. `folder` gets its configuration, its log and `data/`.
    """

    def __init__(self, program: BrokerProgram) -> None:
        """Nothing is started yet."""
        self.program = program
        self._child: subprocess.Popen[bytes] | None = None
        self._log = Path()
        self._where = Address()

    @property
    def pid(self) -> int:
        """Its process id, 0 while it does not run."""
        return self._child.pid if self.running and self._child else 0

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self._child is not None and self._child.poll() is None

    @property
    def log_file(self) -> Path:
        """What it printed."""
        return self._log

    def start(self, config_text: str, folder: Path, address: Address, *, timeout_s: float = 10.0) -> Self:
        """Start it with this configuration and return once a CONNECT at `address` is accepted.

        Raises:
            StartError: it ended, refused `address`, or did not answer in time; with the end of its log.
        """
        if self.running:
            raise StartError(f"the broker of {self._log.parent} already runs (pid {self.pid})")
        _refuse_if_taken(address)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "data").mkdir(mode=0o700, exist_ok=True)
        config = folder / f"{self.program.kind}.conf"
        config.write_text(config_text)
        self._log, self._where = folder / "broker.log", address
        with self._log.open("ab") as out:
            self._child = subprocess.Popen(
                [*_dies_with_us(), str(self.program.path), "-c", str(config)],
                stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                env=os.environ | dict(self.program.env), start_new_session=True,
            )  # fmt: skip
        _allow_many_connections(self._child.pid)
        try:
            self._wait_until_it_answers(time.monotonic() + timeout_s)
        except BaseException:
            self.stop()
            raise
        log.info("broker %s answers at %s (pid %d)", self.program, _where(address), self.pid)
        return self

    def _wait_until_it_answers(self, until: float) -> None:
        last = ""
        while time.monotonic() < until:
            if not self.running:
                raise StartError(f"the broker ended at its start: {self._last_words()}")
            try:
                probe(self._where)
            except OSError as error:
                last = str(error)
                time.sleep(0.02)
            else:
                return
        raise StartError(f"the broker does not answer at {_where(self._where)}: {last}; {self._last_words()}")

    def _last_words(self) -> str:
        lines = self._log.read_text(errors="replace").splitlines()[-4:] if self._log.is_file() else []
        return " | ".join(lines) + f" (all of it in {self._log})"

    def reload(self) -> None:
        """Let it read passwords, ACL and CRL again (SIGHUP). Live connections stay, with their new rights."""
        if self._child and self.running:
            self._child.send_signal(signal.SIGHUP)

    def stop(self, timeout_s: float = 5.0) -> None:
        """End it: it saves what it holds. Killed if it has not ended in time. Without effect if it does not run."""
        if self._child is None:
            return
        self._child.terminate()
        try:
            self._child.wait(timeout_s)
        except subprocess.TimeoutExpired:
            log.warning("the broker (pid %d) did not end within %g s and is killed", self._child.pid, timeout_s)
            self._child.kill()
            self._child.wait(timeout_s)

    def __enter__(self) -> Self:
        """Nothing to do: `start` starts it."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Stop it."""
        self.stop()


def _dies_with_us() -> list[str]:
    """Return a prefix that lets the kernel end the child with us.

    The signal comes when the *thread* ends that started the child, so only the main thread may ask for it.
    """
    setpriv = shutil.which("setpriv")
    if setpriv is None or threading.current_thread() is not threading.main_thread():
        return []
    return [setpriv, "--pdeathsig", "TERM"]


def _refuse_if_taken(address: Address) -> None:
    """Ours would end with "address in use", but only after the other one has answered in its place."""
    try:
        _connect(dataclasses.replace(address, tls=None), timeout_s=1.0).close()
    except OSError:
        return
    raise StartError(f"{_where(address)} is already in use by another program; see `ss -ltnp` and choose another port")


def _allow_many_connections(pid: int) -> None:
    """Raise the soft limit of open files, often 1024, to the hard one."""
    try:
        _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (hard, hard))
    except (ProcessLookupError, PermissionError) as error:  # it ended already, which start() reports
        log.debug("limit of open files of pid %d not raised: %s", pid, error)
