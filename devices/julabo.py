"""Julabo heating and refrigerating circulators, interface commands; RS-232 4800 7E1, or USB.

Source: the lists of commands and status messages in the manuals of SC 2500, Magnum 91, LC 6, FL 1201 and
Magio MX; version text and alarm codes from two public clients, which cite the manuals of Corio CD and CP,
Magio MS and Dyneo DD. Commands end with CR, answers with LF or CR LF.

`in_...` commands are answered. `out_...` commands are not: what was wrong with one is told by the next
`status`, and forgotten then. So after each the driver waits, asks for the status, and reads the parameter
back, which decides. The next command may come 250 ms after an `out_...` command and 10 ms after an answer.

Not verified: that a sensor which is not there reads as dashes; whether a model has `out_sp_03` and
`out_sp_04` (SC 2500 has). The high-temperature protection (`in_pv_04`) is set with a tool: it is read, and
bounds the set point.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, ClassVar

from devices.families.circulator import Circulator
from devices.instrument import About, Identity
from ssblab.links import LinkSettings, ProtocolError, line

__all__ = ["Julabo", "JulaboStatus", "decode_number", "decode_status", "decode_version", "encode_order"]

_REPLY = line(b"\n")
_AFTER_ORDER_S = 0.3  # 250 ms and a reserve
_AFTER_ANSWER_S = 0.02  # 10 ms and a reserve
_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?")
_NO_SENSOR = re.compile(r"-+\.?-*")
_STATUS = re.compile(r"(-\d{1,4}|\d{1,2})\s+(\S.*)")
_VERSION = re.compile(r"JULABO\s+(?P<model>\S.*?)\s+VERSION\s+(?P<version>\S+)", re.IGNORECASE)
_STATES = ("00 MANUAL STOP", "01 MANUAL START", "02 REMOTE STOP", "03 REMOTE START")
_COMMAND_ERRORS = {-8, -9, -10, -11, -13}
_TOLERANCE_K = 0.051  # models tell one decimal or two


@dataclass(frozen=True)
class JulaboStatus:
    """One answer to `status`.

    Attributes
    ----------
    code : int
        0 to 3: the mode; negative: an error of the last command, an alarm or a warning.
    text : str
        As the instrument says it, with the code.
    """

    code: int
    text: str

    @property
    def manual(self) -> bool:
        """Whether the instrument is known not to obey."""
        return self.code in (0, 1)

    @property
    def command_failed(self) -> bool:
        """Whether it tells what was wrong with the last command."""
        return self.code in _COMMAND_ERRORS

    @property
    def alarm(self) -> str:
        """The alarm or warning, if it is one."""
        return self.text if self.code < 0 and not self.command_failed else ""


def encode_order(command: str, value: float | int) -> bytes:
    """Command with a parameter, such as `out_sp_00 55.50`."""
    text = f"{value:d}" if isinstance(value, int) else f"{value:.2f}"
    return f"{command} {text}\r".encode("ascii")


def decode_number(reply: bytes) -> float:
    """Decode the answer to an `in_...` command; NaN for a sensor that is not there."""
    text = _text(reply)
    if _NO_SENSOR.fullmatch(text):
        return math.nan
    if not _NUMBER.fullmatch(text):
        raise ProtocolError(f"{text!r} is no number")
    return float(text)


def decode_switch(reply: bytes) -> bool:
    """Decode the answer to a question of yes (1) or no (0)."""
    text = _text(reply)
    if text not in ("0", "1"):
        raise ProtocolError(f"{text!r} is neither 0 nor 1")
    return text == "1"


def decode_status(reply: bytes) -> JulaboStatus:
    """Decode the answer to `status`, such as "03 REMOTE START"."""
    text = _text(reply)
    found = _STATUS.fullmatch(text)
    if not found or (int(found[1]) >= 0 and text not in _STATES):
        raise ProtocolError(f"{text!r} is no status")
    return JulaboStatus(int(found[1]), text)


def decode_version(reply: bytes) -> tuple[str, str]:
    """Decode the answer to `version`: model and version of its software.

    Raises
    ------
    ProtocolError
        If no Julabo says so.
    """
    found = _VERSION.fullmatch(_text(reply))
    if not found:
        raise ProtocolError("not the name of a Julabo")
    return found["model"], found["version"]


def _text(reply: bytes) -> str:
    try:
        text = reply.translate(None, b"\x11\x13").decode("ascii").strip()  # XON and XOFF may be in between
    except UnicodeDecodeError:
        raise ProtocolError("not ASCII") from None
    if not text or not text.isprintable():
        raise ProtocolError("not a line of text")
    return text


class Julabo(Circulator):
    """Julabo Magio, Dyneo, Corio and older models with the same commands.

    Remote control must be switched on at the instrument.

    Parameters
    ----------
    warning_limits : bool
        Whether the model has the temperature limits `in_sp_03` and `in_sp_04`; a Corio CD has not.
    external_sensor : bool
        Whether an external Pt100 is to be read; models without the socket do not know `in_pv_02`.
    """

    model = "Julabo circulator"
    settings: ClassVar[LinkSettings] = LinkSettings(timeout_s=1.0, serial="4800 7E1")
    about = About(
        maker="Julabo",
        models="Magio, Dyneo, Corio, older circulators with the same commands",
        protocol="Julabo interface commands",
        transport="RS-232 4800 7E1, USB; also through a serial server",
        verified=("julabo 2.3.0 against the simulated instrument", "status lines printed by the maker"),
        unsupported="FC and FL recirculating coolers (other meaning of in_sp_03). No programmer, pump stage, "
        "control parameters. Handshake RTS/CTS must be off or wired.",
    )

    def __init__(self, *, warning_limits: bool = True, external_sensor: bool = True, **kwargs: Any) -> None:
        self._warning_limits = warning_limits
        self._external_sensor = external_sensor
        super().__init__(**kwargs)

    def identify(self) -> Identity:
        """Ask for the version, in which a Julabo says its name."""
        text = self._ask("version", _text)
        try:
            model, version = decode_version(text.encode("ascii"))
        except ProtocolError as error:
            raise self.wrong(text) from error
        return Identity("Julabo", model, firmware=version)

    def upload_limits(self) -> None:
        """Make the instrument's temperature limits as narrow as the station's, and take its own over.

        The set point is bounded by the instrument's temperature limits, and by the high-temperature
        protection, which can only be set at the instrument.

        Raises
        ------
        InstrumentError
            If the instrument does not hold the limits, or is not in remote control.
        """
        if self._warning_limits:
            low_C, high_C = self.temperature_setpoint.limits
            if high_C < self._number("in_sp_03"):
                self._bring_to("sp_03", high_C, "high temperature limit")
            if low_C > self._number("in_sp_04"):
                self._bring_to("sp_04", low_C, "low temperature limit")
            self.temperature_setpoint.narrow(self._number("in_sp_04"), self._number("in_sp_03"))
        self.temperature_setpoint.narrow(-math.inf, self._number("in_pv_04"))

    def read_bath(self) -> None:
        """Read status, temperatures, set point and power.

        An alarm is a reading (`alarm`, `tripped`), and makes the quality "invalid".
        """
        status = self._status()
        temperature_C = self._number("in_pv_00")
        self.record(
            temperature=temperature_C,
            external_temperature=self._number("in_pv_02") if self._external_sensor else math.nan,
            temperature_setpoint=self._number("in_sp_00"),
            output=self._number("in_pv_01"),
            running=float(self._is_running()),
            alarm=status.alarm,
            quality="invalid" if status.alarm or math.isnan(temperature_C) else "ok",
        )

    def write_setpoint(self, temperature_C: float) -> None:
        """Tell the instrument the temperature and check that it holds it."""
        held_C = self._bring_to("sp_00", temperature_C, "set point")
        self.record(temperature_setpoint=held_C)

    def write_running(self, on: bool) -> None:
        """Start or stop, unless it is so already, and check that it did."""
        if self._is_running() != on:
            self._order("out_mode_05", int(on))
        running = self._is_running()
        self.record(running=float(running))
        if running != on:
            raise self.refused("does not start" if on else "does not stop")

    def make_safe(self) -> None:
        """Stop tempering and pumping, and read that back.

        After a fault of the link it looks how far it came and goes on, once.
        """
        self.insist(lambda: self.write_running(False))

    def _status(self) -> JulaboStatus:
        """Ask for the status; what was wrong with an old command, another client's perhaps, is let go."""
        status = self._ask("status", decode_status)
        return self._ask("status", decode_status) if status.command_failed else status

    def _is_running(self) -> bool:
        return self._ask("in_mode_05", decode_switch)

    def _number(self, command: str) -> float:
        return self._ask(command, decode_number)

    def _bring_to(self, parameter: str, value_C: float, what: str) -> float:
        """Tell a temperature, read it back, return what is held."""
        self._order(f"out_{parameter}", float(value_C))
        held_C = self._number(f"in_{parameter}")
        if not abs(held_C - value_C) <= _TOLERANCE_K:
            raise self.refused(f"{what}: holds {held_C:g}, told {value_C:g}")
        return held_C

    def _order(self, command: str, value: float | int) -> None:
        """Send a command that nothing answers, and ask what was wrong with it."""
        if self._status().manual:
            raise self.refused("is in manual mode: switch remote control on at the instrument")
        order = encode_order(command, value)
        self.link.send(order)
        self.link.receive_waiting(_REPLY)  # nothing answers: what came unasked is no answer to what follows
        self.clock.sleep(_AFTER_ORDER_S)
        status = self._ask("status", decode_status)
        if status.command_failed:
            raise self.refused(f"{order.decode().strip()}: {status.text}")

    def _ask(self, command: str, decode: Any) -> Any:
        answer = self.link.ask(f"{command}\r".encode("ascii"), _REPLY, decode)
        self.clock.sleep(_AFTER_ANSWER_S)
        return answer
