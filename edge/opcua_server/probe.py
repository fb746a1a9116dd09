"""Asks a device's OPC UA server as a SCADA client would, over a secure channel: has a result arrived?

`python -m edge.opcua_server.probe ENDPOINT NODE_PATH --folder DIR` prints the value of a node once it is Good, and
ends. A process of its own, because asyncua is large and slow to import. `DIR` holds the client's certificate.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import socket
import sys
import urllib.parse
from pathlib import Path
from typing import cast

from asyncua import ua
from asyncua.client.client import Client
from asyncua.crypto.cert_gen import setup_self_signed_certificate
from asyncua.crypto.security_policies import SecurityPolicyBasic256Sha256
from asyncua.ua.uaerrors import UaError
from cryptography.x509.oid import ExtendedKeyUsageOID

from edge.opcua_server.address_space.nodes import NAMESPACE

_URI = "urn:plantedge:probe"
_AGAIN_S = 0.1


async def read_once(endpoint: str, path: str, folder: Path) -> str | None:
    """Return the value of the node at a path below our namespace, None while it is not Good.

    Raises:
        OSError: nobody listens there.
        UaError: the server refused us.
    """
    at = urllib.parse.urlsplit(endpoint)
    _, knock = await asyncio.open_connection(at.hostname, at.port)  # cheap while nobody listens yet
    knock.close()
    client = Client(endpoint, timeout=5.0)
    client.application_uri = _URI
    key, certificate = await _identity(folder)
    await client.set_security(SecurityPolicyBasic256Sha256, str(certificate), str(key))
    async with client:
        index = await client.get_namespace_index(NAMESPACE)
        node = client.get_node(ua.NodeId(ua.String(path), ua.Int16(index)))
        found = await node.read_data_value(raise_on_bad_status=False)
        status = found.StatusCode
        if status is None or not status.is_good() or found.Value is None:
            return None
        return str(found.Value.Value)


async def _identity(folder: Path) -> tuple[Path, Path]:
    key, certificate = folder / "key.pem", folder / "certificate.der"
    await setup_self_signed_certificate(
        key, certificate, _URI, socket.gethostname(), [ExtendedKeyUsageOID.CLIENT_AUTH], {"commonName": "PlantEdge"}
    )
    return key, certificate


async def _until_good(endpoint: str, path: str, folder: Path, timeout_s: float) -> str:
    last = "no value yet"
    try:
        async with asyncio.timeout(timeout_s):
            while True:
                try:
                    value = await read_once(endpoint, path, folder)
                except (OSError, UaError, TimeoutError) as error:
                    last, value = str(error) or type(error).__name__, None
                if value is not None:
                    return value
                await asyncio.sleep(_AGAIN_S)
    except TimeoutError:
        raise SystemExit(f"{endpoint}: {path}: {last}") from None


def main() -> int:
    """Entry point of `python -m edge.opcua_server.probe`."""
    parser = argparse.ArgumentParser(prog="python -m edge.opcua_server.probe", description="Wait for a value.")
    parser.add_argument("endpoint")
    parser.add_argument("path", help="of a node in our namespace, such as demo/line1/edge1/Pipelines/p/ResultId")
    parser.add_argument("--folder", type=Path, required=True, help="where the client's certificate is kept")
    parser.add_argument("--timeout", type=float, default=60.0)
    given = parser.parse_args()
    logging.getLogger("asyncua").setLevel(logging.CRITICAL)  # each refusal is told by us, once
    folder, timeout_s = cast(Path, given.folder), cast(float, given.timeout)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    print(asyncio.run(_until_good(str(given.endpoint), str(given.path), folder, timeout_s)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
