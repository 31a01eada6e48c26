"""One byte pipe for every VISA address: TCP sockets and serial ports, through pyvisa-py.

pyvisa-py opens the port and writes to it; what comes is read from the port itself. pyvisa-py's own reads have
deadlines on the wall clock, lose the part of a line that came before a timeout, take a closed peer for a slow
one, and fetch from serial ports byte by byte.
"""

from __future__ import annotations

import socket
import threading
from functools import cache
from typing import Any

import pyvisa
from pyvisa.constants import Parity, ResourceAttribute, SerialTermination, StopBits

from ssblab.clock import Clock
from ssblab.links.errors import LinkClosed

__all__ = ["SerialSettings", "Transport"]

_OPEN_LOCK = threading.Lock()
_READ_BYTES = 65536
_PARITY = {"N": Parity.none, "E": Parity.even, "O": Parity.odd}
_STOP_BITS = {1: StopBits.one, 2: StopBits.two}


class SerialSettings:
    """Framing of a serial port, written as users write it: "9600 8N1"."""

    def __init__(self, text: str) -> None:
        try:
            baud, frame = text.split()
            self.baud_rate = int(baud)
            self.data_bits = int(frame[0])
            self.parity = _PARITY[frame[1].upper()]
            self.stop_bits = _STOP_BITS[int(frame[2:])]
        except (ValueError, KeyError, IndexError):
            raise ValueError(f"serial settings {text!r}: write them as '9600 8N1'") from None


@cache
def _manager() -> Any:
    return pyvisa.ResourceManager("@py")


class Transport:
    """An open VISA resource, read without ever blocking on anything but the clock.

    Parameters
    ----------
    address : str
        VISA resource name, such as "TCPIP::192.168.1.20::502::SOCKET" or "ASRL/dev/ttyUSB0::INSTR".
    serial : SerialSettings
        Used for ASRL addresses only.
    open_timeout_s : float
        Real seconds to wait for a TCP connection.

    Raises
    ------
    LinkClosed
        If the resource can't be opened, or nobody listens there.
    """

    def __init__(
        self, address: str, clock: Clock, serial: SerialSettings, open_timeout_s: float = 5.0
    ) -> None:
        self._clock = clock
        self._resource: Any = None
        try:
            with _OPEN_LOCK:
                self._resource = _manager().open_resource(address, open_timeout=int(1000 * open_timeout_s))
                self._interface = self._resource.visalib.sessions[self._resource.session].interface
            self._is_socket = isinstance(self._interface, socket.socket)
            if self._is_socket:
                self._interface.getpeername()  # pyvisa-py opens refused connections without an error
                self._interface.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            else:
                self._set_up_serial(serial)
        except (OSError, pyvisa.errors.Error, ValueError, RuntimeError) as error:
            self.close()
            raise LinkClosed(f"can't be opened ({_first_line(error)})") from error
        except Exception as error:  # pyvisa-py raises bare Exception for a connection that timed out
            self.close()
            raise LinkClosed(f"can't be opened ({_first_line(error)})") from error

    def _set_up_serial(self, serial: SerialSettings) -> None:
        self._resource.baud_rate = serial.baud_rate
        self._resource.data_bits = serial.data_bits
        self._resource.parity = serial.parity
        self._resource.stop_bits = serial.stop_bits
        self._resource.set_visa_attribute(ResourceAttribute.asrl_end_in, SerialTermination.none)
        self._resource.set_visa_attribute(ResourceAttribute.asrl_end_out, SerialTermination.none)

    def write(self, data: bytes) -> None:
        """Send all of `data`."""
        try:
            self._resource.write_raw(data)
        except (OSError, pyvisa.errors.Error) as error:
            raise LinkClosed(f"can't be written to ({_first_line(error)})") from error

    def read(self, timeout_s: float) -> bytes:
        """Read what is there, waiting at most `timeout_s` of laboratory time for a first byte; may be empty.

        Raises
        ------
        LinkClosed
            If the other end has closed or reset the connection, or the port is gone.
        """
        try:
            if not self._wait(timeout_s):
                return b""
            data = bytes(self._read_waiting())
            if not data:
                raise LinkClosed("the other end closed the connection")
            return data
        except (OSError, pyvisa.errors.Error) as error:
            raise LinkClosed(f"can't be read ({_first_line(error)})") from error

    def _wait(self, timeout_s: float) -> bool:
        if self._is_socket or hasattr(self._interface, "fd"):
            return self._clock.wait_readable(self._interface.fileno(), timeout_s)
        deadline = self._clock.monotonic() + timeout_s  # a Windows serial port has no descriptor to select on
        while not self._interface.in_waiting:
            if self._clock.monotonic() >= deadline:
                return False
            self._clock.sleep(0.005)
        return True

    def _read_waiting(self) -> Any:
        if self._is_socket:
            return self._interface.recv(_READ_BYTES)
        return self._interface.read(self._interface.in_waiting)

    def close(self) -> None:
        """Close the resource; never fails."""
        if self._resource is not None:
            try:
                self._resource.close()
            except (OSError, pyvisa.errors.Error):
                pass
            self._resource = None


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
