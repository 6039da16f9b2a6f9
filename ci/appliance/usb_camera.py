"""A USB camera that is a program: it speaks usbredir to QEMU, which plugs it into the emulated board's USB.

In: the socket of QEMU's ``usb-redir`` device. Out: a high-speed camera of the USB Video Class with a bulk endpoint, which offers YUYV at
low rates, MJPEG and H.264 as webcams do; what it was asked to stream, and how much it has sent. Never: a picture before it was asked
for one; a request passed over (what it does not know it stalls, as a device does; what only QEMU could get wrong is a fault).

Sources: usbredirproto.h of usbredir 0.7 for the packets; USB 2.0 and the USB Video Class 1.1 for the requests.
"""

from __future__ import annotations

import select
import socket
import struct
import threading
import time
from pathlib import Path

from moving_bar import MAKERS, STEPS
from uvc import CLOCK, ENDPOINT, PACKET, PAYLOAD, PROCESSING, PRODUCT, VENDOR, VERSION, WEBCAM, Asked, Format, descriptor, interval

# --- usbredir ---------------------------------------------------------------------------------------------------------------
HELLO, DEVICE_CONNECT, RESET, INTERFACE_INFO, EP_INFO = 0, 1, 3, 4, 5
SET_CONFIGURATION, GET_CONFIGURATION, CONFIGURATION_STATUS, SET_ALT, GET_ALT, ALT_STATUS = 6, 7, 8, 9, 10, 11
CANCEL, CONTROL, BULK = 21, 100, 101
SUCCESS, CANCELLED, STALL = 0, 1, 4
#: What QEMU needs behind xHCI: the device's version, packet sizes of endpoints, IDs of 64 bits, bulk lengths of 32 bits.
CAPABILITIES = 1 << 1 | 1 << 4 | 1 << 5 | 1 << 6
HIGH_SPEED = 2
CONTROL_PACKET, BULK_PACKET = struct.Struct("<BBBBHHH"), struct.Struct("<BBHIH")

# --- requests and payloads of the video class -----------------------------------------------------------------------------
SET_CUR, GET_CUR, GET_MIN, GET_MAX, GET_RES, GET_LEN, GET_INFO, GET_DEF = 0x01, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87
PROBE, COMMIT, BRIGHTNESS = 1, 2, 2
HEADER = 2
END_OF_HEADER, END_OF_FRAME = 0x80, 0x02


# --- the camera -------------------------------------------------------------------------------------------------------------
class UsbCamera:
    """A camera that can be plugged into a socket of QEMU's, and pulled."""

    def __init__(self, formats: tuple[Format, ...] = WEBCAM):
        self.formats = formats
        #: All that it was told to stream, in order.
        self.asked: list[Asked] = []
        #: Pictures that went out since it was made.
        self.sent = 0
        self.brightness = 0
        self.fault: BaseException | None = None
        self._pictures: dict[tuple[str, int, int], list[bytes]] = {}
        self._socket: socket.socket | None = None
        self._thread: threading.Thread | None = None

    def plug(self, path: Path) -> None:
        """Plugs it in: the socket is that of a ``usb-redir`` device."""
        assert self._socket is None, "it is plugged in"
        plug = socket.socket(socket.AF_UNIX)
        try:
            plug.connect(str(path))
        except OSError:
            plug.close()
            raise
        self._socket = plug
        self._wide, self._inbox = False, b""
        self._probed, self._format, self._configured = (1, 1, interval(self.formats[0].sizes[0].rates[0])), (1, 1, 0), 0
        # IDs and sizes of what the driver waits for; the rest of the picture that is on its way; when the next is due.
        self._waiting: dict[int, int] = {}
        self._left: bytes | None = None
        self._due, self._frame_id = 0.0, 0
        self._send(HELLO, 0, b"a camera of the tests".ljust(64, b"\0") + struct.pack("<I", CAPABILITIES))
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def pull(self) -> None:
        """Pulls it out, in the middle of whatever it does."""
        if self._socket and self._thread:
            try:
                self._socket.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # QEMU ended first
            self._thread.join(30)
            self._socket.close()
            self._socket = None
        if self.fault:
            raise AssertionError("the emulated camera broke") from self.fault

    def _serve(self) -> None:
        try:
            while self._read():
                self._stream()
        except (BrokenPipeError, ConnectionResetError):
            pass  # it is unplugged at the other end
        except BaseException as error:
            self.fault = error
            raise

    def _read(self) -> bool:
        """Takes what has come, at the latest when a picture is due; whether it is still plugged in."""
        assert self._socket
        wait = max(0.0, self._due - time.monotonic()) if self._waiting and self._format[2] else None
        if select.select([self._socket], [], [], wait)[0]:
            got = self._socket.recv(1 << 16)
            if not got:
                return False
            self._inbox += got
        while True:
            head = struct.Struct("<IIQ" if self._wide else "<III")
            if len(self._inbox) < head.size:
                return True
            kind, length, number = head.unpack_from(self._inbox)
            if len(self._inbox) < head.size + length:
                return True
            body, self._inbox = self._inbox[head.size:head.size + length], self._inbox[head.size + length:]
            self._take(kind, number, body)

    def _send(self, kind: int, number: int, body: bytes) -> None:
        assert self._socket
        self._socket.sendall(struct.pack("<IIQ" if self._wide else "<III", kind, len(body), number) + body)

    def _take(self, kind: int, number: int, body: bytes) -> None:
        if kind == HELLO:
            offered = int.from_bytes(body[64:68], "little")
            assert offered & CAPABILITIES == CAPABILITIES, f"QEMU offers but {offered:#x}"
            self._wide = True
            self._introduce()
            self._send(DEVICE_CONNECT, 0, struct.pack("<BBBBHHH", HIGH_SPEED, 0xEF, 2, 1, VENDOR, PRODUCT, VERSION))
        elif kind == RESET:
            self._waiting.clear()
        elif kind == SET_CONFIGURATION:
            self._configured = body[0]
            self._introduce()
            self._send(CONFIGURATION_STATUS, number, bytes((SUCCESS, self._configured)))
        elif kind == GET_CONFIGURATION:
            self._send(CONFIGURATION_STATUS, number, bytes((SUCCESS, self._configured)))
        elif kind in (SET_ALT, GET_ALT):
            alt = body[1] if kind == SET_ALT else 0
            self._send(ALT_STATUS, number, bytes((STALL if alt else SUCCESS, body[0], 0)))
        elif kind == CANCEL:
            if self._waiting.pop(number, None) is not None:
                self._send(BULK, number, BULK_PACKET.pack(ENDPOINT, CANCELLED, 0, 0, 0))
        elif kind == CONTROL:
            self._control(number, body)
        elif kind == BULK:
            endpoint, _, low, _, high = BULK_PACKET.unpack(body)
            assert endpoint == ENDPOINT, f"there is no endpoint {endpoint:#x}"
            self._waiting[number] = high << 16 | low
        else:
            raise AssertionError(f"a packet that a camera does not expect: type {kind}")

    def _introduce(self) -> None:
        """Its endpoints (control, and one for bulk) and its interfaces (control and streaming), as QEMU wants to know them."""
        types, sizes = [255] * 32, [0] * 32
        for at, kind, size in ((0, 0, 64), (16, 0, 64), (16 + (ENDPOINT & 15), 2, PACKET)):
            types[at], sizes[at] = kind, size
        interfaces = [0] * 16 + [0] + [1] * 15
        self._send(EP_INFO, 0, bytes(types) + bytes(32) + bytes(interfaces) + struct.pack("<32H", *sizes))
        columns = ((0, 1), (0x0E, 0x0E), (1, 2), (0, 0))
        self._send(INTERFACE_INFO, 0, struct.pack("<I", 2) + b"".join(bytes(column).ljust(32, b"\0") for column in columns))

    # --- requests ---------------------------------------------------------------------------------------------------------
    def _control(self, number: int, body: bytes) -> None:
        endpoint, request, kind, _, value, index, length = CONTROL_PACKET.unpack_from(body)
        data = body[CONTROL_PACKET.size:]
        if kind & 0x60:
            answer = self._video(request, value >> 8, index, data)
        else:
            answer = self._standard(kind, request, value, data)
        status, answer = (STALL, b"") if answer is None else (SUCCESS, answer[:length])
        done = len(answer) if kind & 0x80 else (0 if status else len(data))
        self._send(CONTROL, number, CONTROL_PACKET.pack(endpoint, request, kind, status, value, index, done) + answer)

    def _standard(self, kind: int, request: int, value: int, _data: bytes) -> bytes | None:
        if (kind, request) == (0x80, 6):
            return descriptor(self.formats, value >> 8, value & 255)
        if request == 0 and kind & 0x80:
            return b"\0\0"  # GET_STATUS
        if request in (1, 3):
            # Linux ends a bulk stream by CLEAR_FEATURE(HALT) to its endpoint: what was half sent is no matter.
            self._left = None
            return b""
        return None

    def _video(self, request: int, selector: int, index: int, data: bytes) -> bytes | None:
        """Requests of the video class; ``None`` is a stall."""
        unit, interface = index >> 8, index & 255
        if interface == 1 and selector in (PROBE, COMMIT):
            if request == SET_CUR:
                chosen = self._nearest(*struct.unpack_from("<BBI", data, 2))
                if selector == PROBE:
                    self._probed = chosen
                else:
                    self._commit(chosen)
                return b""
            if request in (GET_CUR, GET_MIN, GET_MAX, GET_DEF):
                return self._negotiated(self._format if selector == COMMIT else self._probed)
            return {GET_LEN: b"\x22\0", GET_INFO: b"\x03"}.get(request)
        if interface == 0 and unit == PROCESSING and selector == BRIGHTNESS:
            if request == SET_CUR:
                self.brightness = int.from_bytes(data[:2], "little", signed=True)
                return b""
            known = {GET_CUR: self.brightness, GET_MIN: -64, GET_MAX: 64, GET_RES: 1, GET_DEF: 0}.get(request)
            return {GET_LEN: b"\x02\0", GET_INFO: b"\x03"}.get(request) if known is None else struct.pack("<h", known)
        if interface == 0 and unit == 0 and selector == 2 and request == GET_CUR:
            return b"\x06"  # why the last request stalled: there is no such control
        return None

    def _nearest(self, format_index: int, frame_index: int, wanted: int) -> tuple[int, int, int]:
        """What it has of what is wanted: a device mends what it is asked for."""
        format_index = min(max(format_index, 1), len(self.formats))
        sizes = self.formats[format_index - 1].sizes
        frame_index = min(max(frame_index, 1), len(sizes))
        rates = sizes[frame_index - 1].rates
        return format_index, frame_index, min((interval(rate) for rate in rates), key=lambda one: abs(one - wanted))

    def _negotiated(self, chosen: tuple[int, int, int]) -> bytes:
        size = self.formats[chosen[0] - 1].sizes[chosen[1] - 1]
        return struct.pack("<HBBIHHHHHIIIBBBB", 1, *chosen, 0, 0, 0, 0, 0, size.width * size.height * 2, PAYLOAD, CLOCK, 3, 0, 0, 0)

    # --- pictures -----------------------------------------------------------------------------------------------------------
    def _commit(self, chosen: tuple[int, int, int]) -> None:
        self._format, self._left = chosen, None
        one = self.formats[chosen[0] - 1]
        size = one.sizes[chosen[1] - 1]
        self.asked.append(Asked(one.fourcc, size.width, size.height, round(10_000_000 / chosen[2])))
        key = (one.fourcc, size.width, size.height)
        if one.fourcc in MAKERS and key not in self._pictures:
            self._pictures[key] = [MAKERS[one.fourcc](size.width, size.height, step) for step in range(STEPS)]

    def _stream(self) -> None:
        """Gives the driver what it waits for, as far as it is due."""
        while self._waiting and self._format[2]:
            if self._left is None:
                if time.monotonic() < self._due:
                    return
                self._left = self._next()
            number, size = next(iter(self._waiting.items()))
            room = min(size, PAYLOAD) - HEADER
            part, rest = self._left[:room], self._left[room:]
            flags = END_OF_HEADER | self._frame_id | (0 if rest else END_OF_FRAME)
            body = bytes((HEADER, flags)) + part
            del self._waiting[number]
            self._send(BULK, number, BULK_PACKET.pack(ENDPOINT, SUCCESS, len(body), 0, 0) + body)
            if rest:
                self._left = rest
            else:
                self._left, self.sent, self._frame_id = None, self.sent + 1, self._frame_id ^ 1

    def _next(self) -> bytes:
        """The picture that is due, as the clock says: who takes them late misses some."""
        now, asked = time.monotonic(), self.asked[-1]
        self._due = max(self._due, now - 1 / asked.rate) + 1 / asked.rate
        pictures = self._pictures.get(asked[:3])
        # It does not make H.264: who asks for it gets nothing that is a picture.
        return pictures[int(now * asked.rate) % STEPS] if pictures else b"\0\0\0\1"
