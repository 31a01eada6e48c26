"""Zaber linear actuator of the X series, ASCII protocol, firmware 7.38.

Source: message format, commands and settings as the maker's own client sends them (zaber-motion 10.2.0) and
as its mock ports print them; warning flags of that client's documentation. Velocities are in microsteps per
second times 1.6384 (the maker's Micro-Manager adapter). Acceleration is a setting here, but motions start and
end at once. The behaviour before homing (`pos` counts from where power came on) is not verified.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from sim_devices.line import LineInstrument
from ssblab.clock import Clock

__all__ = ["Ram", "SimulatedZaber"]

_VELOCITY_UNIT = 1.6384  # data per microstep/s

#: Warning flags, the gravest first.
_PRIORITY = ("FF", "FO", "FS", "FE", "WR", "NC", "NI")

_DEVICE_SETTINGS = {
    "comm.address": 1,
    "comm.alert": 0,
    "comm.checksum": 0,
    "comm.packet.size.max": 80,
    "comm.word.size.max": 50,
    "comm.command.packets.max": 1,
    "device.id": 50871,
    "deviceid": 50871,
    "knob.enable": 1,
    "system.access": 1,
    "system.axiscount": 1,
    "system.voltage": 48.1,
}
_READ_ONLY = {"comm.packet.size.max", "comm.word.size.max", "comm.command.packets.max", "device.id"} | {
    "deviceid", "system.axiscount", "system.voltage", "system.serial", "version", "vel", "motion.busy",
}  # fmt: skip


class Ram(Protocol):
    """What the actuator moves."""

    travel_mm: float

    def drive(self, target_mm: float, speed_mm_s: float) -> None:
        """Go to a position at a speed, from now on."""

    def halt(self) -> None:
        """Stand still from now on."""

    def position_mm(self) -> float:
        """Where it is."""

    def arrives_s(self) -> float | None:
        """Monotonic time at which the motion ends, or None while it stands still."""

    def stalled(self) -> bool:
        """Whether the last motion ended in a stall."""


class _Rejected(Exception):
    """A reason word of a rejected command."""


class SimulatedZaber(LineInstrument):
    """Answers home, move abs|rel|vel|min|max, stop, estop, get, set, warnings, parking, driver, renumber.

    Parameters
    ----------
    ram : Ram
        What it moves.
    microstep_um : float
        Travel per microstep.
    serial : int
        Its serial number.
    max_speed_mm_s : float
        Factory value of `maxspeed`, and the highest that can be set.
    """

    latency_s = 0.005
    terminator = b"\n"
    breakdowns = ("busy", "error")

    def __init__(
        self,
        clock: Clock,
        ram: Ram,
        *,
        microstep_um: float = 0.047625,
        serial: int = 63017,
        max_speed_mm_s: float = 5.0,
    ) -> None:
        super().__init__(clock)
        self._ram = ram
        self._microstep_um = microstep_um
        self._fastest = self._velocity_data(max_speed_mm_s)
        self._settings: dict[str, float] = dict(_DEVICE_SETTINGS)  # kept without power
        self._settings |= {
            "system.serial": serial,
            "maxspeed": self._fastest,
            "accel": 205,
            "limit.min": 0,
            "limit.max": self._steps(ram.travel_mm),
            "resolution": 64,
        }
        self._origin = 0  # what `pos` shows is the ram's steps less this
        self._parked = False
        self.power_on()

    def power_on(self) -> None:
        """Stand still, without reference unless parked; `pos` counts from where the ram is."""
        self._ram.halt()
        self._homing = self._under_way = self._interrupted = False
        self._velocity = 0
        self._driver_on = True
        self._latched: set[str] = set()
        self._referenced = self._parked
        if not self._parked:
            self._origin = self._steps(self._ram.position_mm())

    def unsolicited(self) -> Iterator[bytes]:
        """Tell the end of a motion, if alerts are on."""
        was_under_way = self._under_way
        self._settle()
        if was_under_way and not self._under_way and self._settings["comm.alert"]:
            yield self._sent(f"!{self._address():02d} 1 IDLE {self._flag()}")

    def next_unsolicited(self) -> float | None:
        """When the motion under way ends, if alerts are on."""
        return self._ram.arrives_s() if self._settings["comm.alert"] and self._under_way else None

    def answer(self, line: str) -> bytes:
        """Give the reply to one command line."""
        text = line.strip("\r\n\x00")
        start = text.find("/")
        if start < 0:
            return b""
        text = text[start + 1 :]
        if ":" in text:
            text, _, checksum = text.rpartition(":")
            if checksum.upper() != _checksum(text):
                return b""  # a damaged command is ignored
        words = text.split()
        address, axis, number, command = _parsed(words)
        if address not in (0, self._address()):
            return b""
        self._settle()
        try:
            if axis not in (0, 1):
                raise _Rejected("BADAXIS")
            if self.broken("busy"):
                raise _Rejected("AGAIN")
            flag, data = "OK", self._obey(command)
        except _Rejected as reason:
            flag, data = "RJ", str(reason)
        if number == "--":
            return b""
        ident = f" {number}" if number else ""
        state = "BUSY" if self._under_way or self.broken("busy") else "IDLE"
        return self._sent(f"@{self._address():02d} {axis}{ident} {flag} {state} {self._flag()} {data}")

    def _obey(self, words: list[str]) -> str:
        match words:
            case []:
                return "0"
            case ["get", name]:
                return self._get(name)
            case ["set", name, value]:
                return self._set(name, value)
            case ["home"]:
                self._may_move()
                self._homing = True
                self._start(-self._steps(self._ram.travel_mm) * 2, self._settings["maxspeed"])
            case ["move", kind, *arguments]:
                self._move(kind, arguments)
            case ["stop"] | ["estop"]:
                self._stop()
            case ["warnings"]:
                return self._warnings()
            case ["warnings", "clear"]:
                told = self._warnings()
                self._latched.clear()
                self._interrupted = False
                return told
            case ["renumber", number]:
                self._settings["comm.address"] = self._renumbered(number)
            case ["tools", "parking", "park"]:
                if self._under_way:
                    raise _Rejected("STATUSBUSY")
                self._parked = True
            case ["tools", "parking", "unpark"]:
                self._parked = False
            case ["driver", "disable"]:
                self._stop()
                self._driver_on = False
            case ["driver", "enable"]:
                self._driver_on = True
            case ["system", "reset"]:
                self.power_on()
            case _:
                raise _Rejected("BADCOMMAND")
        return "0"

    def _get(self, name: str) -> str:
        if name == "pos":
            return str(self._position())
        if name == "vel":
            return str(self._velocity if self._under_way else 0)
        if name == "motion.busy":
            return str(int(self._under_way))
        if name == "parking.state":
            return str(int(self._parked))
        if name == "version":
            return "7.38"
        if name not in self._settings:
            raise _Rejected("BADCOMMAND")
        return f"{self._settings[name]:g}" if name == "system.voltage" else str(int(self._settings[name]))

    @staticmethod
    def _renumbered(text: str) -> int:
        number = _integer(text)
        if not 1 <= number <= 99:
            raise _Rejected("BADDATA")
        return number

    def _set(self, name: str, text: str) -> str:
        if name != "pos" and (name not in self._settings or name in _READ_ONLY):
            raise _Rejected("BADCOMMAND")
        value = _integer(text)
        if name == "pos":
            self._origin = self._steps(self._ram.position_mm()) - value
            self._referenced = True
            return "0"
        highest = {"comm.checksum": 1, "comm.alert": 1, "knob.enable": 1, "maxspeed": self._fastest}
        if name in highest and not (name == "maxspeed") <= value <= highest[name]:
            raise _Rejected("BADDATA")
        self._settings[name] = value
        return "0"

    def _move(self, kind: str, arguments: list[str]) -> None:
        numbers = [_integer(text) for text in arguments]
        limits = int(self._settings["limit.min"]), int(self._settings["limit.max"])
        self._may_move()
        if kind == "vel" and 1 <= len(numbers) <= 2:
            if abs(numbers[0]) > self._fastest:
                raise _Rejected("BADDATA")
            if numbers[0] == 0:
                self._stop()
            else:
                self._start(limits[numbers[0] > 0], abs(numbers[0]))
            return
        if kind in ("min", "max"):
            target, rest = limits[kind == "max"], numbers
        elif kind in ("abs", "rel") and numbers:
            target, rest = numbers[0] + (self._position() if kind == "rel" else 0), numbers[1:]
        else:
            raise _Rejected("BADCOMMAND")
        speed = (rest[0] if rest else 0) or self._settings["maxspeed"]
        if len(rest) > 2 or not limits[0] <= target <= limits[1] or not 0 < speed <= self._fastest:
            raise _Rejected("BADDATA")
        self._start(target, speed)

    def _may_move(self) -> None:
        if self._parked:
            raise _Rejected("PARKED")
        if not self._driver_on:
            raise _Rejected("DRIVERDISABLED")
        self._interrupted = self._under_way
        self._latched -= {"FS", "FE"}

    def _start(self, target: int, speed: float) -> None:
        here = self._position()
        self._velocity = int(speed) if target > here else -int(speed)
        self._ram.drive(
            (target + self._origin) * self._microstep_um / 1000.0,
            speed / _VELOCITY_UNIT * self._microstep_um / 1000.0,
        )
        self._under_way = True
        self._settle()

    def _stop(self) -> None:
        self._interrupted = self._under_way
        self._homing = False
        self._ram.halt()
        self._settle()

    def _settle(self) -> None:
        """Take notice of a motion that has ended since."""
        if not self._under_way or self._ram.arrives_s() is not None:
            return
        self._under_way = False
        if self._homing and self._ram.position_mm() <= 1e-6:
            self._referenced, self._origin = True, 0
        elif self._ram.stalled():
            self._latched.add("FS")
        self._homing = False

    def _warnings(self) -> str:
        flags = self._flags()
        return " ".join([f"{len(flags):02d}", *flags])

    def _flag(self) -> str:
        return (self._flags() or ["--"])[0]

    def _flags(self) -> list[str]:
        flags = set(self._latched)
        flags |= {"FF"} if self.broken("error") else set()
        flags |= set() if self._driver_on else {"FO"}
        flags |= set() if self._referenced else {"WR"}
        flags |= {"NI"} if self._interrupted else set()
        return [flag for flag in _PRIORITY if flag in flags]

    def _sent(self, text: str) -> bytes:
        checksum = f":{_checksum(text[1:])}" if self._settings["comm.checksum"] else ""
        return f"{text}{checksum}\r\n".encode("ascii")

    def _address(self) -> int:
        return int(self._settings["comm.address"])

    def _position(self) -> int:
        return self._steps(self._ram.position_mm()) - self._origin

    def _steps(self, position_mm: float) -> int:
        return round(position_mm * 1000.0 / self._microstep_um)

    def _velocity_data(self, speed_mm_s: float) -> int:
        return round(speed_mm_s * 1000.0 / self._microstep_um * _VELOCITY_UNIT)


def _checksum(text: str) -> str:
    """Two's complement of the sum of all bytes between the first character and the colon."""
    return f"{-sum(text.encode('latin-1')) & 0xFF:02X}"


def _parsed(words: list[str]) -> tuple[int, int, str, list[str]]:
    """Address, axis, message number ("" if none) and command of a line; address and axis may be left out."""
    numbers: list[str] = []
    while words and len(numbers) < 3 and (words[0].isdigit() or (words[0] == "--" and len(numbers) == 2)):
        numbers.append(words.pop(0))
    address, axis, number = [*numbers, "0", "0", ""][:3] if len(numbers) < 3 else numbers
    return int(address), int(axis), "" if len(numbers) < 3 else number, words


def _integer(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise _Rejected("BADDATA") from None
