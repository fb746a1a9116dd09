"""python-snap7's S7 server, with the same arguments and areas as `s7_server.py` (LIBRARY and PDU are ignored)."""

import signal
import socket

from snap7.server import Server
from snap7.type import SrvArea


def main() -> None:
    server = Server(log=False)
    server.host = "127.0.0.1"
    areas = [
        (SrvArea.PE, 0, 128),
        (SrvArea.PA, 0, 128),
        (SrvArea.MK, 0, 256),
        (SrvArea.DB, 1, 100),
        (SrvArea.DB, 2, 8192),
    ]
    for kind, number, size in areas:
        server.register_area(kind, number, bytearray(index % 256 for index in range(size)))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server.start(port)
    print(port, flush=True)
    signal.pause()


main()
