"""An S7 server of libsnap7, the C library: prints its port, then holds I0, Q0, M0 and DB1, DB2 until it is killed.

Usage: s7_server.py LIBRARY PDU. M and the blocks hold 0, 1, 2 ... 255, 0, 1 ...; DB1 has 100 bytes, DB2 8192.
"""

import ctypes
import signal
import socket
import sys

INPUT, OUTPUT, FLAGS, BLOCK = 0, 1, 2, 5
LOCAL_PORT, PDU_REQUEST = 1, 10


def counted(size: int) -> ctypes.Array[ctypes.c_char]:
    return (ctypes.c_char * size).from_buffer(bytearray(index % 256 for index in range(size)))


def main() -> None:
    library, pdu = ctypes.CDLL(sys.argv[1]), int(sys.argv[2])
    library.Srv_Create.restype = ctypes.c_void_p
    server = ctypes.c_void_p(library.Srv_Create())
    areas = [(INPUT, 0, 128), (OUTPUT, 0, 128), (FLAGS, 0, 256), (BLOCK, 1, 100), (BLOCK, 2, 8192)]
    held = [(kind, number, counted(size)) for kind, number, size in areas]
    for kind, number, data in held:
        assert library.Srv_RegisterArea(server, kind, number, data, len(data)) == 0
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert library.Srv_SetParam(server, LOCAL_PORT, ctypes.byref(ctypes.c_uint16(port))) == 0
    assert library.Srv_SetParam(server, PDU_REQUEST, ctypes.byref(ctypes.c_int32(pdu))) == 0
    assert library.Srv_StartTo(server, b"127.0.0.1") == 0
    print(port, flush=True)
    signal.pause()


main()
