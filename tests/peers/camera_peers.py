"""Cameras that are not ours, as processes: GStreamer's RTSP server, Aravis' simulated GigE Vision camera."""

import contextlib
import ctypes
import fcntl
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.conftest import absent

HERE = Path(__file__).parent
DEBIAN_PYTHON = Path("/usr/bin/python3")
_NEEDS = "import gi; gi.require_version('Gst', '1.0'); gi.require_version('GstRtspServer', '1.0')"
_NEEDS += "; from gi.repository import Gst, GstRtspServer; Gst.init(None)"
_NEEDS += "; assert all(Gst.ElementFactory.find(e) for e in ('videotestsrc', 'jpegenc', 'rtpjpegpay'))"
_PORT_LOCK = Path(tempfile.gettempdir()) / "plantedge-gvcp.lock"


@contextlib.contextmanager
def _running(words: list[str | Path], what: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The process and the line that it says when it is ready."""
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as child:
        try:
            assert child.stdout is not None
            line = child.stdout.readline().strip()
            assert line, f"{what} does not start"
            yield line, child
        finally:
            child.kill()


@contextlib.contextmanager
def rtsp_server(port: int = 0, user: str = "", password: str = "") -> Iterator[tuple[int, subprocess.Popen[str]]]:
    """A running server of `/line`: its port and process."""
    if not DEBIAN_PYTHON.exists() or subprocess.run([DEBIAN_PYTHON, "-c", _NEEDS], capture_output=True).returncode:
        absent(
            "gst-rtsp-server with Python",
            "apt-get install python3-gi gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-base gstreamer1.0-plugins-good",
        )
    words: list[str | Path] = [DEBIAN_PYTHON, HERE / "rtsp_server.py", str(port)]
    with _running(words + ([user, password] if user else []), "the RTSP server") as (line, child):
        yield int(line), child


@contextlib.contextmanager
def gige_camera() -> Iterator[subprocess.Popen[str]]:
    """A running camera at 127.0.0.1. Test runs beside each other take turns: GigE Vision has one port."""
    try:
        ctypes.CDLL("libaravis-0.8.so.0")
    except OSError:
        absent("libaravis-0.8", "apt-get install libaravis-0.8-0")
    with _PORT_LOCK.open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        with _running([sys.executable, HERE / "gige_camera.py"], "the GigE camera") as (_, child):
            yield child
