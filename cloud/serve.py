"""`plantedge-fleet serve`: the fleet's broker as a child, the service in this process, one ready line.

On standard output: `admin password (shown once): ...` at the very first start, then `ready URL mqtts://HOST:PORT login
LINK`. The link works once. `fleet.json` in the home says the same to other commands.
"""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import logging
import os
import signal
import urllib.parse
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from bus import Address, Tls
from bus.broker import fleet_acl
from bus.broker_config import FleetBroker, ServerTls, fleet_config
from bus.mosquitto import BrokerProcess, find_broker, free_port
from cloud.accounts import Role
from cloud.fleet_file import FleetFile, remove_fleet_file, write_fleet_file
from cloud.pki import Authority
from cloud.processes import BROKER
from cloud.service import FleetService, ServiceOptions
from schemas.errors import StartError

log = logging.getLogger(__name__)
BROKER_CHECK_S = 1.0


def run(arguments: argparse.Namespace) -> int:
    """Run broker and service until SIGTERM or SIGINT."""
    home = cast(Path, arguments.home).resolve()
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _only_one(home):
        authority = Authority.load_or_create(home / "pki")
        with BrokerProcess(find_broker(home / "tools")) as broker:
            address = start_broker(broker, home, authority, arguments.mqtt_port, arguments.mqtt_host)
            return asyncio.run(_serve(home, authority, broker, address, arguments))


@contextmanager
def _only_one(home: Path) -> Generator[None, None, None]:
    """Hold the home's lock: a store has one writer."""
    with (home / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StartError(f"a fleet service runs in {home} already; stop it, or choose another --home") from error
        yield


def start_broker(broker: BrokerProcess, home: Path, authority: Authority, port: int, host: str) -> Address:
    """Start the fleet's broker on `host` and return how the service reaches it."""
    folder = home / BROKER.folder
    folder.mkdir(exist_ok=True, mode=0o700)
    pair, own = authority.server_pair(_server_names(host)), authority.service_pair()
    (folder / "acl").write_text(fleet_acl())
    (folder / "acl").chmod(0o600)
    port = port or free_port()
    config = FleetBroker(
        tls=ServerTls(certificate=pair.certificate, key=pair.key, ca=authority.ca),
        acl=folder / "acl", data=folder / "data", host=host, port=port, user="root",
    )  # fmt: skip
    address = Address(host="localhost", port=port, tls=Tls(authority.ca, own.certificate, own.key))
    broker.start(fleet_config(config), folder, address)
    return address


def _server_names(host: str) -> list[str]:
    names = ["localhost", "127.0.0.1"]
    if host in ("", "0.0.0.0"):  # noqa: S104 - compared, not bound
        names.append(os.uname().nodename)
    elif host not in names:
        names.append(host)
    return names


async def _serve(
    home: Path, authority: Authority, broker: BrokerProcess, address: Address, arguments: argparse.Namespace
) -> int:
    stop = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    public = urllib.parse.urlsplit(cast(str, arguments.public_url))
    options = ServiceOptions(
        host=arguments.http_host, port=arguments.http_port, stale_after_s=arguments.offline_after,
        public_hosts=tuple(filter(None, (public.hostname,))), secure=public.scheme == "https",
    )  # fmt: skip
    service = FleetService(home, authority, address, options)
    running = asyncio.create_task(service.serve(stop))
    beside = [
        asyncio.create_task(_announce(service, home, address, arguments)),
        asyncio.create_task(keep_broker(broker, home, authority, address, arguments.mqtt_host)),
    ]
    try:
        await asyncio.wait([running, beside[0]], return_when=asyncio.FIRST_COMPLETED)
        if beside[0].done():
            beside[0].result()
        await running
    finally:
        for task in beside:
            task.cancel()
        remove_fleet_file(home)
    return 0


async def keep_broker(broker: BrokerProcess, home: Path, authority: Authority, address: Address, host: str) -> None:
    """Start the broker again whenever it has ended; devices and the service reconnect by themselves."""
    while True:
        await asyncio.sleep(BROKER_CHECK_S)
        if broker.running:
            continue
        log.warning("the fleet's broker has ended and is started again; see %s", broker.log_file)
        try:
            start_broker(broker, home, authority, address.port, host)
        except StartError as error:
            log.error("the fleet's broker does not start: %s", error)  # noqa: TRY400 - it says what to do


async def _announce(service: FleetService, home: Path, broker: Address, arguments: argparse.Namespace) -> None:
    await service.started.wait()
    if password := service.accounts.first_password():
        print(f"admin password (shown once): {password}", flush=True)
    url = f"http://{arguments.http_host}:{service.port}"
    file = FleetFile(
        url=url, login=f"{url}/login?once={await service.accounts.add_link()}",
        mqtt_host=arguments.mqtt_host or "localhost", mqtt_port=broker.port, ca=str(service.authority.ca),
        pid=os.getpid(), token=service.accounts.add_run_token("plantedge-fleet", Role.ADMIN),
    )  # fmt: skip
    write_fleet_file(home, file)
    print(f"ready {file.url} mqtts://{file.mqtt_host}:{file.mqtt_port} login {file.login}", flush=True)
