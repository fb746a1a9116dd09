"""Aravis' simulated GigE Vision camera on the loopback, as `arv-fake-gv-camera` runs it (Debian does not package that).

Usage: gige_camera.py. Prints a line when it runs. GigE Vision has one port, 3956, so there is one of it per machine.
"""

import ctypes
import sys
import time

LIFE_S = 120


def main():
    aravis = ctypes.CDLL("libaravis-0.8.so.0")
    aravis.arv_gv_fake_camera_new.restype = ctypes.c_void_p
    aravis.arv_gv_fake_camera_is_running.argtypes = [ctypes.c_void_p]
    camera = aravis.arv_gv_fake_camera_new(b"127.0.0.1", b"PE01")
    if not camera or not aravis.arv_gv_fake_camera_is_running(camera):
        sys.exit("port 3956 of 127.0.0.1 is taken")
    print("ready", flush=True)
    time.sleep(LIFE_S)


main()
