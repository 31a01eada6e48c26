"""Zaber linear actuators, ASCII protocol, firmware 7.25 and later.

Source: message format, commands, settings and reasons of rejection as the maker's client zaber-motion 10.2.0
sends and explains them; meaning of the warning flags from its documentation; velocities are in microsteps per
second times 1.6384 (the maker's adapter for Micro-Manager). Commands are `/1 1 07 get pos:XX`, replies
`@01 1 07 OK IDLE -- 2000:XX`; the message number ties a reply to its question, and checksums are switched on.
Linear motion per microstep is not told by the instrument: it is on its data sheet.

Not verified: how the instrument itself treats motions before it is homed; this driver refuses them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from devices.families.actuator import LinearActuator, Motion
from devices.instrument import About, Identity
from ssblab.links import LinkSettings, ProtocolError, Refusal, line

__all__ = ["Reply", "Zaber", "decode_integer", "decode_reply", "encode"]

_REPLY_END = line(b"\n")
_OLDEST = (7, 25)  # the first firmware that takes a speed with `move abs`
_VELOCITY_UNIT = 1.6384
_REPLY = re.compile(
    r"@(?P<address>\d\d) (?P<axis>\d) (?P<number>\d\d) (?P<flag>OK|RJ) (?P<state>BUSY|IDLE) "
    r"(?P<warning>--|[A-Z]{2}) (?P<data>[ -9;-~]+)"
)
_NO_REFERENCE = {"WR", "WH"}
_FAULTS = {
    "FF": "critical system error",
    "FN": "peripheral not supported",
    "FZ": "peripheral inactive",
    "FH": "emergency stop, driver disabled",
    "FV": "voltage out of range, driver disabled",
    "FO": "driver disabled",
    "FC": "current inrush error",
    "FM": "motor temperature error",
    "FD": "driver disabled",
    "FQ": "encoder error",
    "FI": "index error",
    "FA": "analog encoder sync error",
    "FR": "overdrive limit exceeded",
    "FS": "stalled and stopped",
    "FB": "stream bounds error",
    "FP": "interpolated path deviation",
    "FE": "limit error",
    "FT": "excessive twist",
}


@dataclass(frozen=True)
class Reply:
    """What stands in a reply that was not a rejection."""

    axis: int
    busy: bool
    warning: str
    data: str


def checksum(text: str) -> str:
    """Two's complement of the sum of the bytes of a message between its first character and the colon."""
    return f"{-sum(text.encode('ascii')) & 0xFF:02X}"


def encode(address: int, axis: int, number: int, command: str) -> bytes:
    """Message to a device (1-99) and axis (0: the device) with a number (0-99), with checksum."""
    text = f"{address} {axis} {number:02d} {command}".rstrip()
    return f"/{text}:{checksum(text)}\n".encode("ascii")


def decode_reply(reply: bytes, address: int, axis: int, number: int, *, checked: bool = True) -> Reply:
    """Decode the reply to the message of that number.

    Parameters
    ----------
    checked : bool
        Whether a reply without checksum is refused.
    """
    try:
        text = reply.decode("ascii").rstrip("\r\n")
    except UnicodeDecodeError:
        raise ProtocolError("not ASCII") from None
    body, colon, told = text.rpartition(":")
    if colon and told != checksum(body[1:]):
        raise ProtocolError(f"checksum {told!r}, not {checksum(body[1:])!r}")
    if checked and not colon:
        raise ProtocolError("no checksum")
    found = _REPLY.fullmatch(body if colon else text)
    if not found:
        raise ProtocolError("not a reply")
    if (int(found["address"]), int(found["axis"]), int(found["number"])) != (address, axis, number):
        raise ProtocolError(f"not the reply of axis {axis} of device {address} to message {number}")
    if found["flag"] == "RJ":
        raise Refusal(f"the command was rejected: {found['data']}")
    return Reply(axis, found["state"] == "BUSY", found["warning"], found["data"])


def decode_integer(data: str) -> int:
    """Decode a setting that is an integer."""
    if not re.fullmatch(r"-?\d+", data):
        raise ProtocolError(f"{data!r} is no integer")
    return int(data)


def decode_warnings(data: str) -> tuple[str, ...]:
    """Decode the data of a reply to `warnings`: how many, then each."""
    count, *flags = data.split() or [""]
    if not re.fullmatch(r"\d\d", count) or int(count) != len(flags):
        raise ProtocolError(f"{data!r} is no list of warnings")
    return tuple(flags)


class Zaber(LinearActuator):
    """Zaber actuator of one axis.

    Parameters
    ----------
    microstep_um : float
        Linear motion per microstep at the default resolution, from the data sheet.
    device : int
        Its number in the chain.
    axis : int
        Its axis.
    """

    model = "Zaber actuator with firmware 7.25 or later"
    about = About(
        maker="Zaber",
        models="X series linear actuators, one axis, firmware 7.25 and later",
        protocol="Zaber ASCII with message numbers and checksums",
        transport="RS-232/USB 115200 8N1, or TCP 55550",
        verified=("zaber-motion 10.2.0 drives the simulated actuator",),
        unsupported="streams, triggers, lockstep, rotary axes; behaviour before homing is not verified",
    )
    settings: ClassVar[LinkSettings] = LinkSettings(timeout_s=0.5, serial="115200 8N1")

    def __init__(self, *, microstep_um: float, device: int = 1, axis: int = 1, **kwargs: Any) -> None:
        self._microstep_mm = microstep_um / 1000.0
        self._device = device
        self._axis = axis
        self._number = 0
        super().__init__(**kwargs)
        self.tolerance_mm = 2.0 * self._microstep_mm

    def identify(self) -> Identity:
        """Ask for model, serial number and firmware; checksums on and alerts off from here.

        Raises
        ------
        WrongInstrument
            If its firmware is older than 7.25.
        """
        self._tell("set comm.checksum 1", axis=0, checked=False)
        self._tell("set comm.alert 0", axis=0)
        device_id = self._integer("device.id", axis=0)
        firmware = self._tell("get version", axis=0).data
        if not re.fullmatch(r"\d+\.\d+", firmware) or tuple(map(int, firmware.split("."))) < _OLDEST:
            raise self.wrong(f"device {device_id} with firmware {firmware}")
        serial = self._integer("system.serial", axis=0)
        return Identity("Zaber", f"device {device_id}", serial=str(serial), firmware=firmware)

    def upload_limits(self) -> None:
        """Bring travel and speed into the instrument, where narrower than there, and take its own over."""
        low_mm, high_mm = self.target.limits
        fastest_mm_s = self.velocity.limits[1]
        lowest, highest, fastest = map(self._integer, ("limit.min", "limit.max", "maxspeed"))
        if low_mm > lowest * self._microstep_mm:
            self._upload("limit.min", round(low_mm / self._microstep_mm))
        if high_mm < highest * self._microstep_mm:
            self._upload("limit.max", round(high_mm / self._microstep_mm))
        if fastest_mm_s < self._speed_mm_s(fastest):
            self._upload("maxspeed", math.floor(self._velocity_data(fastest_mm_s)))
        self.target.narrow(lowest * self._microstep_mm, highest * self._microstep_mm)
        self.velocity.narrow(0.0, self._speed_mm_s(fastest))

    def read_motion(self) -> Motion:
        """Ask for the position, and for the list of warnings if there are any."""
        reply = self._tell("get pos", axis=self._axis, form=decode_integer)
        warnings = () if reply.warning == "--" else self._warnings()
        faults = [f"{flag} ({_FAULTS.get(flag, 'unknown fault')})" for flag in warnings if flag[0] == "F"]
        return Motion(
            counter_mm=decode_integer(reply.data) * self._microstep_mm,
            moving=reply.busy,
            referenced=not _NO_REFERENCE.intersection(warnings),
            warnings=warnings,
            fault=", ".join(faults),
        )

    def write_move_to(self, position_mm: float, speed_mm_s: float) -> None:
        """Tell it where to go and how fast; its reply says whether it obeys."""
        steps = round(position_mm / self._microstep_mm)
        speed = max(1, math.floor(self._velocity_data(speed_mm_s)))
        self._order(f"move abs {steps} {speed}")
        self.record(target=steps * self._microstep_mm, velocity=self._speed_mm_s(speed), moving=1)

    def write_move_at(self, velocity_mm_s: float) -> None:
        """Tell it to move; it stops at its own limits."""
        speed = max(1, math.floor(self._velocity_data(abs(velocity_mm_s))))
        self._order(f"move vel {speed if velocity_mm_s > 0 else -speed}")
        limit_mm = self.target.limits[velocity_mm_s > 0]
        self.record(target=limit_mm, velocity=self._speed_mm_s(speed), moving=1)

    def write_home(self) -> None:
        """Tell it to find its reference."""
        self._order("home")

    def write_stop(self) -> None:
        """Tell it to stop, again after a recovery: a second stop changes nothing."""
        self._tell("stop", axis=self._axis)

    def clear_warnings(self) -> None:
        """Clear the warnings that last until they are seen, such as a stall; on the worker."""
        self._order("warnings clear")
        self.poll()

    def _warnings(self) -> tuple[str, ...]:
        return decode_warnings(self._tell("warnings", axis=self._axis, form=decode_warnings).data)

    def _upload(self, name: str, value: int) -> None:
        self._order(f"set {name} {value}")
        held = self._integer(name)
        if held != value:
            raise self.refused(f"holds {name} {held}, told {value}")

    def _integer(self, name: str, axis: int | None = None) -> int:
        axis = self._axis if axis is None else axis
        return decode_integer(self._tell(f"get {name}", axis=axis, form=decode_integer).data)

    def _order(self, command: str) -> None:
        """Send what must not be repeated."""
        number = self._next_number()
        self.link.order(
            encode(self._device, self._axis, number, command),
            _REPLY_END,
            lambda r: decode_reply(r, self._device, self._axis, number),
        )

    def _tell(
        self, command: str, *, axis: int, form: Callable[[str], object] = str, checked: bool = True
    ) -> Reply:
        """Send what may be repeated; `form` raises ProtocolError for data of another form."""
        number = self._next_number()

        def decode(frame: bytes) -> Reply:
            reply = decode_reply(frame, self._device, axis, number, checked=checked)
            form(reply.data)
            return reply

        return self.link.ask(encode(self._device, axis, number, command), _REPLY_END, decode)

    def _next_number(self) -> int:
        self._number = (self._number + 1) % 100
        return self._number

    def _velocity_data(self, speed_mm_s: float) -> float:
        return speed_mm_s / self._microstep_mm * _VELOCITY_UNIT

    def _speed_mm_s(self, data: int) -> float:
        return data / _VELOCITY_UNIT * self._microstep_mm
