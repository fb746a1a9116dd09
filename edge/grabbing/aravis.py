"""Aravis, the C library for GenICam cameras (LGPL; Debian: libaravis-0.8-0), as far as a camera driver needs it.

By ctypes and not by PyGObject, for reasons in docs/decisions/0010. Every call that can fail gets a GError, whose text
becomes a ConnectorError. A camera is addressed, never looked for: nothing here sends a broadcast.
"""

from __future__ import annotations

import contextlib
import ctypes
import ipaddress
import socket
from ctypes import POINTER, byref, c_char_p, c_double, c_int, c_size_t, c_uint, c_uint64, c_void_p
from functools import cache
from typing import Final, NamedTuple

from schemas.errors import ConnectorError

LIBRARY: Final = "libaravis-0.8.so.0"
_GVCP_PORT: Final = 3956
_BUFFERS: Final = 4
_NO_PACKET_SOCKET: Final = 1  # ARV_GV_STREAM_OPTION_PACKET_SOCKET_DISABLED: raw sockets need a capability
_SUCCESS: Final = 0  # ARV_BUFFER_STATUS_SUCCESS
_TEXT: Final = c_char_p


class _GError(ctypes.Structure):
    _fields_ = (("domain", ctypes.c_uint32), ("code", c_int), ("message", c_char_p))


class Taken(NamedTuple):
    """A picture as it came. `whole`: no packet of it is lost. `format`: PFNC's 32-bit number."""

    frame_id: int
    whole: bool
    width: int
    height: int
    format: int
    data: bytes


# name -> result, arguments; a trailing GError** is added where `fails` holds it
_FAILS: Final = {
    "arv_gv_device_new": (c_void_p, (c_void_p, c_void_p)),
    "arv_camera_new_with_device": (c_void_p, (c_void_p,)),
    "arv_camera_new": (c_void_p, (_TEXT,)),
    "arv_camera_set_integer": (None, (c_void_p, _TEXT, ctypes.c_int64)),
    "arv_camera_set_float": (None, (c_void_p, _TEXT, c_double)),
    "arv_camera_set_string": (None, (c_void_p, _TEXT, _TEXT)),
    "arv_camera_set_exposure_time": (None, (c_void_p, c_double)),
    "arv_camera_set_gain": (None, (c_void_p, c_double)),
    "arv_camera_set_frame_rate": (None, (c_void_p, c_double)),
    "arv_camera_set_pixel_format_from_string": (None, (c_void_p, _TEXT)),
    "arv_camera_set_trigger": (None, (c_void_p, _TEXT)),
    "arv_camera_clear_triggers": (None, (c_void_p,)),
    "arv_camera_software_trigger": (None, (c_void_p,)),
    "arv_camera_get_payload": (c_uint, (c_void_p,)),
    "arv_camera_create_stream": (c_void_p, (c_void_p, c_void_p, c_void_p)),
    "arv_camera_start_acquisition": (None, (c_void_p,)),
    "arv_camera_stop_acquisition": (None, (c_void_p,)),
}
_SAFE: Final = {
    "arv_camera_get_device": (c_void_p, (c_void_p,)),
    "arv_camera_is_gv_device": (c_int, (c_void_p,)),
    "arv_camera_gv_set_stream_options": (None, (c_void_p, c_int)),
    "arv_gv_device_is_controller": (c_int, (c_void_p,)),
    "arv_disable_interface": (None, (_TEXT,)),
    "arv_buffer_new_allocate": (c_void_p, (c_size_t,)),
    "arv_stream_push_buffer": (None, (c_void_p, c_void_p)),
    "arv_stream_timeout_pop_buffer": (c_void_p, (c_void_p, c_uint64)),
    "arv_stream_try_pop_buffer": (c_void_p, (c_void_p,)),
    "arv_buffer_get_status": (c_int, (c_void_p,)),
    "arv_buffer_get_frame_id": (c_uint64, (c_void_p,)),
    "arv_buffer_get_image_width": (c_int, (c_void_p,)),
    "arv_buffer_get_image_height": (c_int, (c_void_p,)),
    "arv_buffer_get_image_pixel_format": (ctypes.c_uint32, (c_void_p,)),
    "arv_buffer_get_image_data": (c_void_p, (c_void_p, POINTER(c_size_t))),
    "g_inet_address_new_from_string": (c_void_p, (_TEXT,)),
    "g_object_unref": (None, (c_void_p,)),
    "g_error_free": (None, (c_void_p,)),
}


class Library:
    """The library with the types of what is called."""

    def __init__(self) -> None:
        """Load it.

        Raises:
            ConnectorError: it is not installed.
        """
        try:
            self._lib = ctypes.CDLL(LIBRARY)
        except OSError as error:
            raise ConnectorError(f"genicam needs {LIBRARY}: install Debian's libaravis-0.8-0 ({error})") from error
        for table, extra in ((_FAILS, (POINTER(POINTER(_GError)),)), (_SAFE, ())):
            for name, (result, arguments) in table.items():
                function = getattr(self._lib, name)
                function.restype, function.argtypes = result, (*arguments, *extra)

    def call(self, name: str, *arguments: object) -> int:
        """Call what can't fail; return its result, 0 for none."""
        return int(getattr(self._lib, name)(*arguments) or 0)

    def ask(self, what: str, name: str, *arguments: object) -> int:
        """Call what can fail.

        Raises:
            ConnectorError: `what` failed; with Aravis' own words.
        """
        error = POINTER(_GError)()
        result = getattr(self._lib, name)(*arguments, byref(error))
        if error:
            text = (error.contents.message or b"no reason given").decode(errors="replace")
            self.call("g_error_free", ctypes.cast(error, c_void_p))
            raise ConnectorError(f"{what}: {text}")
        return int(result or 0)

    def data(self, buffer: int) -> bytes:
        """Return a copy of a buffer's picture."""
        size = c_size_t()
        at = self.call("arv_buffer_get_image_data", buffer, byref(size))
        return ctypes.string_at(at, size.value) if at else b""


@cache
def library() -> Library:
    """Return the library, loaded once.

    Raises:
        ConnectorError: it is not installed.
    """
    return Library()


class Camera:
    """One open camera. Called from one thread, but for `shoot`."""

    def __init__(self, address: str) -> None:
        """Open `address`: the IPv4 address of a GigE Vision camera, or `usb:` and the name that Aravis gives it.

        Raises:
            ConnectorError: here and in every method: no such camera, or it refused; the message says what to do.
        """
        self._lib, self._what = library(), f"camera {address}"
        self._stream = self._camera = 0
        self._camera = self._by_usb(address[4:]) if address.startswith("usb:") else self._by_gige(address)
        if not self._camera:
            raise ConnectorError(f"{self._what} is not there; is it on, is the address right?")
        self._gige = bool(self._lib.call("arv_camera_is_gv_device", self._camera))

    def _by_usb(self, name: str) -> int:
        self._lib.call("arv_disable_interface", b"GigEVision")  # it would look for cameras by broadcast
        return self._lib.ask(self._what, "arv_camera_new", name.encode())

    def _by_gige(self, address: str) -> int:
        ours = self._lib.call("g_inet_address_new_from_string", _our_end(address).encode())
        theirs = self._lib.call("g_inet_address_new_from_string", address.encode())
        try:
            device = self._lib.ask(
                f"{self._what} does not answer; is it on, is another program its master?",
                "arv_gv_device_new",
                ours,
                theirs,
            )
        finally:
            self._lib.call("g_object_unref", ours)
            self._lib.call("g_object_unref", theirs)
        try:
            return self._lib.ask(self._what, "arv_camera_new_with_device", device)
        finally:
            self._lib.call("g_object_unref", device)

    def set(self, option: str, function: str, *values: object) -> None:
        """Call one of Aravis' setters for an option of ours."""
        self._lib.ask(f"{self._what}: option {option} was refused", function, self._camera, *values)

    def start(self) -> None:
        """Let pictures come."""
        if self._gige:
            self._lib.call("arv_camera_gv_set_stream_options", self._camera, _NO_PACKET_SOCKET)
        size = self._lib.ask(self._what, "arv_camera_get_payload", self._camera)
        self._stream = self._lib.ask(self._what, "arv_camera_create_stream", self._camera, None, None)
        if not self._stream:
            raise ConnectorError(f"{self._what} gives no stream")
        for _ in range(_BUFFERS):
            self._lib.call("arv_stream_push_buffer", self._stream, self._lib.call("arv_buffer_new_allocate", size))
        self._lib.ask(self._what, "arv_camera_start_acquisition", self._camera)

    def shoot(self) -> None:
        """Trigger by software."""
        self._lib.ask(self._what, "arv_camera_software_trigger", self._camera)

    def take(self, timeout_s: float) -> Taken | None:
        """Return the newest picture, None if none comes."""
        found = self._lib.call("arv_stream_timeout_pop_buffer", self._stream, int(timeout_s * 1e6))
        if not found:
            return None
        while newer := self._lib.call("arv_stream_try_pop_buffer", self._stream):
            self._lib.call("arv_stream_push_buffer", self._stream, found)
            found = newer
        try:
            return self._taken(found)
        finally:
            self._lib.call("arv_stream_push_buffer", self._stream, found)

    def _taken(self, buffer: int) -> Taken:
        call = self._lib.call
        whole = call("arv_buffer_get_status", buffer) == _SUCCESS
        if not whole:  # its size and format are not to be believed
            return Taken(call("arv_buffer_get_frame_id", buffer), False, 0, 0, 0, b"")
        return Taken(
            call("arv_buffer_get_frame_id", buffer), True, call("arv_buffer_get_image_width", buffer),
            call("arv_buffer_get_image_height", buffer), call("arv_buffer_get_image_pixel_format", buffer),
            self._lib.data(buffer),
        )  # fmt: skip

    @property
    def lost(self) -> bool:
        """Whether the camera no longer answers our heartbeat (GigE Vision)."""
        device = self._lib.call("arv_camera_get_device", self._camera)
        return self._gige and not self._lib.call("arv_gv_device_is_controller", device)

    def close(self) -> None:
        """Stop it and let go of it."""
        if self._stream:
            with contextlib.suppress(ConnectorError):  # it is lost: there is nobody to stop
                self._lib.ask(self._what, "arv_camera_stop_acquisition", self._camera)
            self._lib.call("g_object_unref", self._stream)
        if self._camera:
            self._lib.call("g_object_unref", self._camera)
        self._stream = self._camera = 0


def _our_end(address: str) -> str:
    """Return the address of ours that a camera is reached from. Nothing is sent for it."""
    try:
        ipaddress.IPv4Address(address)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((address, _GVCP_PORT))
            return str(probe.getsockname()[0])
    except (ValueError, OSError) as error:
        raise ConnectorError(f"camera address {address!r}: write its IPv4 address, or usb:NAME ({error})") from error
