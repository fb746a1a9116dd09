"""An RTSP server of GStreamer (gst-rtsp-server; it shares no code with FFmpeg's client), for Debian's own Python.

Usage: /usr/bin/python3 rtsp_server.py PORT [USER PASSWORD]. Prints its port; serves /line, 96 x 64 at 25 pictures/s.
"""

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

PIPELINE = (
    "( videotestsrc is-live=true pattern=ball ! video/x-raw,format=I420,width=96,height=64,framerate=25/1"
    " ! jpegenc ! rtpjpegpay name=pay0 pt=26 )"
)


def guarded(server, factory, user, password):
    auth, token = GstRtspServer.RTSPAuth(), GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "viewer")
    auth.add_basic(GstRtspServer.RTSPAuth.make_basic(user, password), token)
    server.set_auth(auth)
    permissions = GstRtspServer.RTSPPermissions()
    permissions.add_role("viewer")
    for what in ("access", "construct"):
        permissions.add_permission_for_role("viewer", f"media.factory.{what}", True)
    factory.set_permissions(permissions)


def main():
    Gst.init(None)
    server, factory = GstRtspServer.RTSPServer(), GstRtspServer.RTSPMediaFactory()
    server.set_address("127.0.0.1")
    server.set_service(sys.argv[1])
    factory.set_launch(PIPELINE)
    factory.set_shared(True)
    if len(sys.argv) > 2:
        guarded(server, factory, sys.argv[2], sys.argv[3])
    server.get_mount_points().add_factory("/line", factory)
    server.attach(None)
    print(server.get_bound_port(), flush=True)
    GLib.MainLoop().run()


main()
